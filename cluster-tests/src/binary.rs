//! The `outcrop` binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the binary is: `OUTCROP_BIN` if it is set (`cargo xtask test` sets it), else built here, once, so that the
/// tests never run against an old one.
///
/// # Panics
/// If it isn't there or can't be built, with what to do.
pub fn outcrop() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(find)
}

fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("OUTCROP_BIN").map(PathBuf::from) {
        assert!(path.is_file(), "OUTCROP_BIN names {}, which isn't a file: build it first", path.display());
        return path;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--package", "outcrop", "--bin", "outcrop"]).current_dir(root).status();
    let done = built.is_ok_and(|status| status.success());
    assert!(done, "the outcrop binary could not be built: run `cargo build -p outcrop`, or name one with OUTCROP_BIN");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug/outcrop")
}
