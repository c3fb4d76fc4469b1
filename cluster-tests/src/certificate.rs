//! A certificate for a node on this machine, made for one test.

use std::path::{Path, PathBuf};

/// Writes `cert.pem` and `key.pem` for `localhost` and the loopback addresses into a folder.
///
/// # Panics
/// If the folder can't be written.
pub fn write(folder: &Path) -> (PathBuf, PathBuf) {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("the test's folder can be written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the test's folder can be written");
    (certificate, key)
}
