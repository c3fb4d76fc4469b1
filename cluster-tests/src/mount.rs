//! File systems of a test's own: read-only, full, or standing still; unmounted and removed with the value.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    frozen: bool,
    /// Of its own, and not in the node's: that one may be removed first, and can't be while something is mounted there.
    _folder: TempDir,
}

/// An empty folder to mount on, in one that is removed with its value.
fn place() -> std::io::Result<(TempDir, PathBuf)> {
    let folder = tempfile::Builder::new().prefix("outcrop-").tempdir()?;
    let at = folder.path().join("mount");
    std::fs::create_dir(&at)?;
    Ok((folder, at))
}

/// Whether a command could be run and ended well.
fn ran(program: &str, arguments: &[&OsStr]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Mounted {
    /// A `tmpfs`; `None`: this user can't mount.
    pub fn tmpfs(options: &str) -> Option<Mounted> {
        let (folder, at) = place().ok()?;
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"].map(OsStr::new);
        let mounted = ran("mount", &[&arguments[..], &[at.as_os_str()]].concat());
        mounted.then(|| Mounted { at, frozen: false, _folder: folder })
    }

    /// An ext4 of `bytes` in a file; `None`: this user can't mount, or a program is missing.
    pub fn ext4(bytes: u64) -> Option<Mounted> {
        let (folder, at) = place().ok()?;
        let image = at.with_extension("img");
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).ok()?;
        let words =
            |words: &[&'static str]| -> Vec<&'static OsStr> { words.iter().map(|word| OsStr::new(*word)).collect() };
        let made = ran("mkfs.ext4", &[words(&["-q", "-F"]), vec![image.as_os_str()]].concat());
        let options = [words(&["-o", "loop,nodiscard"]), vec![image.as_os_str(), at.as_os_str()]].concat();
        (made && ran("mount", &options)).then(|| Mounted { at, frozen: false, _folder: folder })
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
