//! `outcrop udf keygen`, and signing with such a key: ed25519 over the BLAKE3 hash of a component.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use outcrop_client::Signature;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::failure::{Exit, Failure};
use crate::keys::print_hex;

const HELP: &str = "\
Examples:
  outcrop udf keygen release.key               the private key into a file, the public key to standard output
  outcrop udf deploy --sign release.key

A namespace whose configuration names public keys runs only modules that one of them signed.";

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
const KEY_BYTES_MAX: u64 = 16 << 10;

/// Make a key.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct KeygenArgs {
    /// Where to write the private key; it must not be there yet
    pub file: PathBuf,
}

/// Makes a key: the private one into the file (PKCS#8 as PEM, for its owner only), the public one printed.
pub fn run(args: &KeygenArgs) -> Result<Exit, Failure> {
    let broken = |_| Failure::local("the system gives no randomness", "Check this machine.");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(broken)?;
    let text = format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(pkcs8.as_ref()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| Failure::of_output(&args.file.display().to_string(), &error))?;
    println!("{}", print_hex(read(&args.file)?.public_key().as_ref()));
    Ok(Exit::Ok)
}

fn read(file: &Path) -> Result<Ed25519KeyPair, Failure> {
    let unreadable =
        |why: String| Failure::local(format!("{}: {why}", file.display()), "Name a key made by `outcrop udf keygen`.");
    let bytes = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if bytes > KEY_BYTES_MAX {
        return Err(unreadable(format!("{bytes} bytes are no key")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let inside = text.trim().strip_prefix(PEM_BEGIN).and_then(|text| text.strip_suffix(PEM_END));
    let encoded: String = inside.unwrap_or_default().split_whitespace().collect();
    let pkcs8 = STANDARD.decode(encoded).map_err(|error| unreadable(error.to_string()))?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|error| unreadable(format!("no ed25519 key: {error}")))
}

/// Signs a component with the key of a file.
pub fn sign(file: &Path, component: &[u8]) -> Result<Signature, Failure> {
    let key = read(file)?;
    let signed = key.sign(blake3::hash(component).as_bytes());
    let wrong =
        |_| Failure::local(format!("{}: an unusual key", file.display()), "Make one with `outcrop udf keygen`.");
    Ok(Signature {
        signature: signed.as_ref().try_into().map_err(wrong)?,
        public_key: key.public_key().as_ref().try_into().map_err(wrong)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_and_is_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let args = KeygenArgs { file: directory.path().join("release.key") };
        run(&args).unwrap();
        let mode = std::fs::metadata(&args.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "for its owner only");
        assert!(run(&args).is_err(), "a key that is there stays");
        let signature = sign(&args.file, b"component").unwrap();
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, signature.public_key);
        assert!(public.verify(blake3::hash(b"component").as_bytes(), &signature.signature).is_ok());
        assert!(public.verify(blake3::hash(b"other").as_bytes(), &signature.signature).is_err());
    }

    #[test]
    fn what_is_no_key_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "\u{1b}"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(sign(&file, b"x").unwrap_err().exit, Exit::Local);
        }
    }
}
