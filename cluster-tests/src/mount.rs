//! File systems of a test's own: read-only, full, or standing still; unmounted with the value.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    frozen: bool,
}

/// Whether a command could be run and ended well.
fn ran(program: &str, arguments: &[&OsStr]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Mounted {
    /// A `tmpfs` at `at`, which is made; `None`: this user can't mount.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Mounted> {
        std::fs::create_dir(at).ok()?;
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"].map(OsStr::new);
        let mounted = ran("mount", &[&arguments[..], &[at.as_os_str()]].concat());
        mounted.then(|| Mounted { at: at.to_owned(), frozen: false })
    }

    /// An ext4 of `bytes` in a file beside `at`, which is made; `None`: this user can't mount, or a program is missing.
    pub fn ext4(at: &Path, bytes: u64) -> Option<Mounted> {
        std::fs::create_dir(at).ok()?;
        let image = at.with_extension("img");
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).ok()?;
        let words =
            |words: &[&'static str]| -> Vec<&'static OsStr> { words.iter().map(|word| OsStr::new(*word)).collect() };
        let made = ran("mkfs.ext4", &[words(&["-q", "-F"]), vec![image.as_os_str()]].concat());
        let options = [words(&["-o", "loop,nodiscard"]), vec![image.as_os_str(), at.as_os_str()]].concat();
        (made && ran("mount", &options)).then(|| Mounted { at: at.to_owned(), frozen: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Writes stand still from now on, until [`Mounted::thaw`]; whether that could be done.
    pub fn freeze(&mut self) -> bool {
        self.frozen = ran("fsfreeze", &["--freeze".as_ref(), self.at.as_os_str()]);
        self.frozen
    }

    /// Writes go on.
    ///
    /// # Panics
    /// If they can't.
    pub fn thaw(&mut self) {
        assert!(ran("fsfreeze", &["--unfreeze".as_ref(), self.at.as_os_str()]), "{} stands still", self.at.display());
        self.frozen = false;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.frozen {
            ran("fsfreeze", &["--unfreeze".as_ref(), self.at.as_os_str()]);
        }
        // Lazily: the node under test may still be ending.
        ran("umount", &["--lazy".as_ref(), self.at.as_os_str()]);
    }
}
