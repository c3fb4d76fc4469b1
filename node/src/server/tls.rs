//! The node's certificate: read from PEM files, or made for `outcrop dev`; and the TLS settings that QUIC runs on.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outcrop_wire::hello::ALPN_CLIENT;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::options::TlsOptions;
use crate::world::Clock;

/// Bytes of a PEM file, at most.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Files of a self-made certificate in the data directory.
const DEV_CERTIFICATE: &str = "dev-cert.pem";
const DEV_KEY: &str = "dev-key.pem";

/// A self-made certificate holds from yesterday (clocks differ) for ten years.
const DEV_DAYS: u64 = 3_650;

/// Why TLS can't be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{what} {path}: {source}")]
    Unreadable {
        /// "certificate" or "private key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has the wrong content.
    #[error("{what} {path}: {reason}")]
    Content {
        /// "certificate" or "private key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Key and certificate don't belong together.
    #[error("the private key {key} doesn't fit the certificate {certificate}: {reason}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// How it was seen.
        reason: String,
    },
    /// A certificate can't be made.
    #[error("a self-signed certificate can't be made: {0}")]
    Make(String),
    /// A file can't be written.
    #[error("{path} can't be written: {source}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The library refuses the settings.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// A certificate with its key, ready to be served.
pub struct Identity {
    key: Arc<CertifiedKey>,
    pem: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Identity").field("chain", &self.key.cert.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// The identity that the options name; a self-signed one is kept in `data_dir`, if there is one, and read from there
    /// the next time.
    ///
    /// # Errors
    /// What is wrong, with the file's name.
    pub fn load(options: &TlsOptions, data_dir: Option<&Path>, clock: &dyn Clock) -> Result<Identity, TlsError> {
        match (options, data_dir) {
            (TlsOptions::Files { certificate, private_key }, _) => Identity::read(certificate, private_key),
            (TlsOptions::SelfSigned, None) => {
                let (certificate, key) = make(clock)?;
                Identity::of_pem(&certificate, &key, Path::new("(made)"), Path::new("(made)"))
            }
            (TlsOptions::SelfSigned, Some(dir)) => {
                let (certificate, key) = (dir.join(DEV_CERTIFICATE), dir.join(DEV_KEY));
                if !certificate.exists() || !key.exists() {
                    let (certificate_pem, key_pem) = make(clock)?;
                    // The key first: a certificate without its key would be taken for a damaged pair.
                    write(&key, &key_pem, 0o600)?;
                    write(&certificate, &certificate_pem, 0o644)?;
                    tracing::info!(certificate = %certificate.display(), "made a self-signed certificate");
                }
                Identity::read(&certificate, &key)
            }
        }
    }

    fn read(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
        let certificate_pem = read(certificate, "certificate")?;
        Identity::of_pem(&certificate_pem, &read(key, "private key")?, certificate, key)
    }

    fn of_pem(certificate_pem: &str, key_pem: &str, certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
        let wrong = |what, path: &Path, reason: String| TlsError::Content { what, path: path.to_path_buf(), reason };
        let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect();
        let chain = chain.map_err(|error| wrong("certificate", certificate, error.to_string()))?;
        if chain.is_empty() {
            let hint = if certificate_pem.contains("PRIVATE KEY") {
                "; it has a private key: are the two swapped?"
            } else {
                ""
            };
            return Err(wrong("certificate", certificate, format!("there is no PEM certificate in it{hint}")));
        }
        let private = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| match error {
            PemError::NoItemsFound if key_pem.contains("ENCRYPTED PRIVATE KEY") => wrong(
                "private key",
                key,
                "it is encrypted; decrypt it with `openssl pkey` and protect the file by its mode".into(),
            ),
            PemError::NoItemsFound if key_pem.contains("BEGIN CERTIFICATE") => {
                wrong("private key", key, "it has a certificate and no key: are the two swapped?".to_owned())
            }
            PemError::NoItemsFound => wrong("private key", key, "there is no PEM private key in it".to_owned()),
            other => wrong("private key", key, other.to_string()),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate: certificate.to_path_buf(),
                key: key.to_path_buf(),
                reason: "it belongs to another certificate".to_owned(),
            },
            rustls::Error::InvalidCertificate(_) => wrong("certificate", certificate, error.to_string()),
            _ => wrong("private key", key, error.to_string()),
        })?;
        let blocks = certificate_pem.find("-----BEGIN CERTIFICATE").map_or("", |start| &certificate_pem[start..]);
        Ok(Identity { key: Arc::new(certified), pem: blocks.to_owned() })
    }

    /// The chain as PEM: what a client of a self-signed node has to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// TLS 1.3 only, AES-128-GCM first, ALPN of clients, no early data.
    ///
    /// # Errors
    /// Only if the library changes its mind about these settings.
    pub fn server_config(&self, clock: Arc<dyn Clock>) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let builder = rustls::ServerConfig::builder_with_details(Arc::new(provider()), Arc::new(ClockTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let resolver = rustls::sign::SingleCertAndKey::from(self.key.clone());
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        config.ignore_client_order = true;
        // No 0-RTT: a replayed request could write twice.
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

/// ring, with the suites that hardware is fast at in front.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..default_provider()
    }
}

/// The node's clock as rustls wants it.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl rustls::time_provider::TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now_ms())))
    }
}

fn read(path: &Path, what: &'static str) -> Result<String, TlsError> {
    let unreadable = |source| TlsError::Unreadable { what, path: path.to_path_buf(), source };
    let content = |reason: &str| TlsError::Content { what, path: path.to_path_buf(), reason: reason.to_owned() };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(content("it is larger than any PEM file"));
    }
    String::from_utf8(bytes).map_err(|_| content("it isn't PEM text (DER is binary: convert it with `openssl`)"))
}

/// Writes a file whole or not at all.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), TlsError> {
    let unwritable = |source| TlsError::Unwritable { path: path.to_path_buf(), source };
    let part = path.with_extension("part");
    // A rest of an earlier attempt would keep its own mode.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(error)),
        _ => {}
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part);
    let mut file = file.map_err(unwritable)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    std::fs::rename(&part, path).map_err(unwritable)
}

/// A self-signed certificate for this machine: certificate and key as PEM.
fn make(clock: &dyn Clock) -> Result<(String, String), TlsError> {
    let failed = |error: rcgen::Error| TlsError::Make(error.to_string());
    let mut params = CertificateParams::default();
    let mut names = vec!["localhost".to_owned()];
    names.extend(hostname().filter(|name| name != "localhost"));
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(failed)?));
    }
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "outcrop dev");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = clock.now_ms() / 86_400_000;
    let date = |days: u64| {
        let (year, month, day) = civil(days);
        rcgen::date_time_ymd(year, month, day)
    };
    (params.not_before, params.not_after) = (date(today.saturating_sub(1)), date(today + DEV_DAYS));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// This machine's name, if it can stand in a certificate.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

/// Year, month and day of a day since 1970, by Howard Hinnant's `civil_from_days`; the year stays a certificate's.
fn civil(days: u64) -> (i32, u8, u8) {
    // 9998 is the last year whose following one still has four digits.
    let days = days.min(2_932_000) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as i32, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::world::SystemClock;

    fn files(dir: &Path, certificate: &str, key: &str) -> TlsOptions {
        let paths = (dir.join("c.pem"), dir.join("k.pem"));
        std::fs::write(&paths.0, certificate).expect("a temporary directory");
        std::fs::write(&paths.1, key).expect("a temporary directory");
        TlsOptions::Files { certificate: paths.0, private_key: paths.1 }
    }

    #[test]
    fn days_are_dates() {
        for (days, date) in [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_780, (2026, 11, 23))] {
            assert_eq!(civil(days), date);
        }
        assert!(civil(u64::MAX).0 < 10_000);
    }

    #[test]
    fn a_made_certificate_survives_a_restart_and_its_key_is_private() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let load = || Identity::load(&TlsOptions::SelfSigned, Some(dir.path()), &SystemClock).expect("it can be made");
        let first = load();
        assert_eq!(first.certificate_pem(), load().certificate_pem());
        let mode = std::fs::metadata(dir.path().join(DEV_KEY)).expect("the key is kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let fleeting = Identity::load(&TlsOptions::SelfSigned, None, &SystemClock).expect("it can be made");
        assert_ne!(first.certificate_pem(), fleeting.certificate_pem());
        assert!(!format!("{first:?}").contains("KEY"));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dir = dir.path();
        let (certificate, key) = make(&SystemClock).expect("it can be made");
        let (_, other_key) = make(&SystemClock).expect("it can be made");
        let error = |options: &TlsOptions| {
            let error = Identity::load(options, None, &SystemClock).expect_err("it can't be used");
            error.to_string()
        };
        let says = |told: String, words: &[&str]| {
            for word in words {
                assert!(told.contains(word), "{told:?} doesn't say {word:?}");
            }
        };
        says(error(&files(dir, &certificate, &other_key)), &["c.pem", "k.pem", "another certificate"]);
        says(error(&files(dir, &key, &certificate)), &["c.pem", "swapped"]);
        says(error(&files(dir, &certificate, &certificate)), &["k.pem", "swapped"]);
        says(error(&files(dir, "", &key)), &["c.pem", "no PEM certificate"]);
        says(error(&files(dir, &certificate, "hello")), &["k.pem", "no PEM private key"]);
        let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        says(error(&files(dir, &certificate, sealed)), &["k.pem", "encrypted"]);
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        says(error(&files(dir, nonsense, &key)), &["c.pem"]);
        std::fs::write(dir.join("c.pem"), [0x30, 0x82, 0xFF]).expect("a temporary directory");
        let binary = TlsOptions::Files { certificate: dir.join("c.pem"), private_key: dir.join("k.pem") };
        says(error(&binary), &["c.pem", "DER"]);
        let missing = TlsOptions::Files { certificate: dir.join("none.pem"), private_key: dir.join("k.pem") };
        says(error(&missing), &["none.pem", "certificate"]);
        let readable = Identity::load(&files(dir, &format!("subject=x\n{certificate}"), &key), None, &SystemClock);
        assert_eq!(readable.expect("text before the block is allowed").certificate_pem(), certificate);
    }
}
