//! Compiled modules on local disk: a file each, authenticated when it is read, the oldest removed when room is short.
//!
//! Everything here can be made anew: a file that is missing, damaged or another engine's costs a compilation.

use std::path::PathBuf;

use outcrop_wire::Code;
use wasmtime::Engine;

use super::artifact::{ArtifactKey, Loaded, hex, load_own};
use super::outcome::Refusal;

const EXTENSION: &str = "cwasm";

/// The directory of compiled modules.
pub(super) struct Cache {
    dir: PathBuf,
    key: ArtifactKey,
    bytes_max: u64,
}

impl Cache {
    /// Keeps at most `bytes_max` under `dir`, which exists.
    pub fn new(dir: PathBuf, key: ArtifactKey, bytes_max: u64) -> Self {
        Cache { dir, key, bytes_max }
    }

    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        self.dir.join(format!("{}-{}.{EXTENSION}", self.key.engine_tag(), hex(hash)))
    }

    /// The compiled form of a component, if it is here and is what this node wrote.
    pub async fn load(&self, engine: &Engine, hash: [u8; 32]) -> Option<Loaded> {
        let path = self.path(&hash);
        let sealed = match tokio::fs::read(&path).await {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled module can't be read; it is compiled anew");
                return None;
            }
        };
        let loaded = self.key.load(engine, &hash, &sealed);
        if loaded.is_none() {
            tracing::warn!(path = %path.display(), "a compiled module isn't what this node wrote; it is compiled anew");
            // It is overwritten in a moment; if not, it is refused again.
            let _ = tokio::fs::remove_file(&path).await;
        }
        loaded
    }

    /// Keeps what the compiler made, and loads it. Trouble with the disk only costs a compilation after a restart.
    pub async fn store_and_load(&self, engine: &Engine, hash: [u8; 32], artifact: Vec<u8>) -> Result<Loaded, Refusal> {
        let loaded = load_own(engine, &artifact)?;
        if artifact.len() as u64 > self.bytes_max {
            return Ok(loaded);
        }
        let path = self.path(&hash);
        if let Err(error) = self.write(&path, self.key.seal(&hash, &artifact)).await {
            tracing::warn!(path = %path.display(), %error, "a compiled module can't be kept");
        }
        Ok(loaded)
    }

    async fn write(&self, path: &std::path::Path, sealed: Vec<u8>) -> std::io::Result<()> {
        self.make_room(sealed.len() as u64).await?;
        // One compilation at a time, so one name is enough.
        let fresh = self.dir.join("artifact.new");
        tokio::fs::write(&fresh, sealed).await?;
        tokio::fs::rename(&fresh, path).await
    }

    /// Removes the oldest files until `needed` bytes fit.
    async fn make_room(&self, needed: u64) -> std::io::Result<()> {
        let mut files = Vec::new();
        let mut entries = tokio::fs::read_dir(&self.dir).await?;
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let meta = entry.metadata().await?;
                files.push((meta.modified()?, meta.len(), path));
            }
        }
        files.sort();
        let mut kept: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if kept + needed <= self.bytes_max {
                break;
            }
            tokio::fs::remove_file(path).await?;
            kept -= bytes;
        }
        Ok(())
    }
}

impl From<super::artifact::ArtifactError> for Refusal {
    fn from(error: super::artifact::ArtifactError) -> Self {
        Refusal::new(Code::Internal, error.to_string())
    }
}
