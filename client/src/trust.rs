//! Whom the client trusts: certificates from a file, from memory, those of a local `outcrop dev`, or the system's.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::ClientError;
use crate::url::Address;

/// Which certificates a node's own must descend from. The name that is checked is always the host of the URL.
///
/// ```
/// use outcrop_client::Trust;
/// let trust = Trust::PemFile("/etc/outcrop/ca.pem".into());
/// assert_ne!(trust, Trust::default());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// The file that `OUTCROP_CA` names; else, for a node on this machine, the certificate that `outcrop dev` left in
    /// the user's state directory ([`dev_certificate_path`]); else the system's roots.
    #[default]
    Automatic,
    /// The certificates of a PEM file.
    PemFile(PathBuf),
    /// The certificates of this PEM text.
    Pem(String),
    /// The system's roots.
    System,
}

/// Where `outcrop dev` on this port leaves its certificate, so that a client of the same user finds it:
/// `$XDG_STATE_HOME/outcrop/dev-PORT.pem`, or under `$HOME/.local/state`. `None` if the environment names neither.
///
/// ```
/// if let Some(path) = outcrop_client::dev_certificate_path(7420) {
///     assert!(path.ends_with("outcrop/dev-7420.pem"));
/// }
/// ```
pub fn dev_certificate_path(port: u16) -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("outcrop").join(format!("dev-{port}.pem")))
}

impl Trust {
    /// Reads the certificates.
    pub(crate) fn roots(&self, addresses: &[Address]) -> Result<RootCertStore, ClientError> {
        match self {
            Trust::Pem(text) => from_pem(text.as_bytes(), "the given PEM text"),
            Trust::PemFile(path) => from_file(path),
            Trust::System => from_system(),
            Trust::Automatic => {
                if let Some(path) = std::env::var_os("OUTCROP_CA").filter(|path| !path.is_empty()) {
                    return from_file(Path::new(&path));
                }
                let local = addresses.iter().filter(|address| address.is_loopback());
                let certificates = local.filter_map(|address| dev_certificate_path(address.port));
                match certificates.filter(|path| path.exists()).collect::<Vec<_>>().as_slice() {
                    [] => from_system(),
                    found => found.iter().try_fold(RootCertStore::empty(), |mut roots, path| {
                        roots.extend(from_file(path)?.roots);
                        Ok(roots)
                    }),
                }
            }
        }
    }
}

fn unusable(source: &str, message: impl std::fmt::Display) -> ClientError {
    ClientError::Trust(format!("no certificates from {source}: {message}"))
}

fn from_file(path: &Path) -> Result<RootCertStore, ClientError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| unusable(&name, error))?;
    from_pem(&bytes, &name)
}

fn from_pem(bytes: &[u8], source: &str) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|error| unusable(source, error))?;
        roots.add(certificate).map_err(|error| unusable(source, error))?;
    }
    if roots.is_empty() { Err(unusable(source, "there is none in it")) } else { Ok(roots) }
}

fn from_system() -> Result<RootCertStore, ClientError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store may hold certificates that this library refuses; the others still serve.
    roots.add_parsable_certificates(found.certs);
    match found.errors.first() {
        Some(error) if roots.is_empty() => Err(unusable("the system", error)),
        None if roots.is_empty() => Err(unusable("the system", "it has none; name a file with ?ca= or OUTCROP_CA")),
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named_in_the_error() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "no certificate").expect("write");
        let message = Trust::PemFile(path.clone()).roots(&[]).expect_err("nothing in it").to_string();
        assert!(message.contains("ca.pem") && message.contains("none in it"), "{message}");
        let missing = Trust::PemFile(directory.path().join("missing.pem")).roots(&[]).expect_err("missing");
        assert!(missing.to_string().contains("missing.pem"));
    }
}
