//! What makes a node itself: its number and its secret, kept in the data directory over restarts.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use thiserror::Error;

use crate::world::Entropy;

/// The file with the number and the secret, as two lines of hexadecimal digits.
const FILE: &str = "node-identity";

/// The data directory can't be used.
#[derive(Debug, Error)]
#[error("data directory {path}: {message}")]
pub struct DataDirError {
    /// Which.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// The file whose lock says that a node uses the directory.
const LOCK: &str = "node-lock";

/// A directory in use; free again when this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct DataDirLock(#[expect(dead_code, reason = "held for its lock")] fs::File);

/// Takes the directory, making it if it isn't there.
pub fn take(data_dir: Option<&Path>) -> Result<Option<DataDirLock>, DataDirError> {
    let Some(dir) = data_dir else { return Ok(None) };
    let failed = |message: String| DataDirError { path: dir.display().to_string(), message };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .map_err(|error| failed(format!("{error}; node.data_dir has to name a directory that this user may write")))?;
    let open = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(LOCK));
    let file = open.map_err(|error| failed(format!("{LOCK} can't be opened: {error}; the node has to write here")))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(DataDirLock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(failed("it is held by another node; stop that one, or give this one a directory of its own".to_owned()))
        }
        Err(error) => Err(failed(format!("{LOCK} can't be locked: {error}"))),
    }
}

/// Number and secret.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's number, random.
    pub node_id: u64,
    /// From this the endpoint's keys are derived.
    pub secret: [u8; 32],
}

impl NodeIdentity {
    fn draw(entropy: &dyn Entropy) -> Self {
        let mut secret = [0; 32];
        secret.chunks_mut(16).for_each(|half| half.copy_from_slice(&entropy.next_id()));
        NodeIdentity { node_id: entropy.next_u64(), secret }
    }

    fn render(&self) -> String {
        let secret: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:016x}\n{secret}\n", self.node_id)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let node_id = u64::from_str_radix(lines.next()?, 16).ok()?;
        let digits = lines.next()?;
        let mut secret = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        for (place, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(NodeIdentity { node_id, secret })
    }
}

/// Reads the identity, or draws one and keeps it. Without a directory it lasts as long as the process.
pub fn load(data_dir: Option<&Path>, entropy: &dyn Entropy) -> Result<NodeIdentity, DataDirError> {
    let Some(dir) = data_dir else { return Ok(NodeIdentity::draw(entropy)) };
    let failed = |message: String| DataDirError { path: dir.display().to_string(), message };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .map_err(|error| failed(format!("{error}; node.data_dir has to name a directory that this user may write")))?;
    let file = dir.join(FILE);
    match fs::read_to_string(&file) {
        Ok(text) => NodeIdentity::parse(&text).ok_or_else(|| {
            failed(format!("its file {FILE} is damaged; restore it, or remove it to give the node a new identity"))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let identity = NodeIdentity::draw(entropy);
            write(&file, &identity.render()).map_err(|error| failed(format!("{FILE} can't be written: {error}")))?;
            Ok(identity)
        }
        Err(error) => Err(failed(format!("{FILE} can't be read: {error}"))),
    }
}

/// Whole or not at all: a crash must not leave half of it.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut handle = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    std::io::Write::write_all(&mut handle, text.as_bytes())?;
    handle.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::SeededEntropy;

    #[test]
    fn is_the_same_after_a_restart_and_damage_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("data");
        let lock = take(Some(&inner)).expect("nobody has it");
        let entropy = SeededEntropy::new(1);
        let first = load(Some(&inner), &entropy).expect("drawn");
        assert!(load(Some(&inner), &entropy).expect("read") == first);
        assert!(load(None, &entropy).expect("drawn") != first);
        fs::write(inner.join(FILE), "zz").expect("written");
        let error = load(Some(&inner), &entropy).err().expect("damaged").to_string();
        assert!(error.contains("damaged"), "{error}");
        drop(lock);
    }

    #[test]
    fn a_directory_is_one_node_s() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = take(Some(dir.path())).expect("nobody has it");
        let error = take(Some(dir.path())).expect_err("it is taken").to_string();
        assert!(error.contains("another node"), "{error}");
        drop(first);
        take(Some(dir.path())).expect("it is free again");
    }

    #[test]
    fn a_directory_that_is_a_file_is_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(take(Some(file.path())).is_err());
    }
}
