//! Compiled modules as bytes: authenticated before they are loaded. The one room outside of `node/flash` with unsafe code.
//!
//! ```text
//!  0  8   magic "OCARTIF2"
//!  8  32  keyed BLAKE3 of: hash of the component, hash of the engine's version and settings, artifact
//! 40      the artifact, as the engine serialises it
//! ```
//!
//! The key is 32 random bytes that never leave this node's disk (`secret`, readable by its owner alone). Who can read it
//! can run code in this process anyway.

#![allow(unsafe_code)]

use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use outcrop_wire::Code;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::outcome::Refusal;
use crate::world::Entropy;

/// Another one whenever the compiler adds something else to modules (`compile::wipe`): what is cached is then made anew.
const MAGIC: &[u8; 8] = b"OCARTIF2";
const HEADER_BYTES: usize = 40;
const SECRET_FILE: &str = "secret";

/// Why compiled modules can't be kept.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The directory or the secret in it.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
}

/// A compiled module, ready to be linked.
pub struct Loaded {
    /// The module.
    pub component: Component,
    /// Bytes of its compiled form.
    pub artifact_bytes: u64,
}

/// What tells the node's own artifacts from any other bytes.
pub struct ArtifactKey {
    secret: [u8; 32],
    engine_hash: [u8; 32],
}

impl ArtifactKey {
    /// The key of the directory, made if it has none (or a damaged one: then what it authenticated is compiled anew).
    pub fn open(dir: &Path, engine: &Engine, entropy: &dyn Entropy) -> Result<Self, ArtifactError> {
        let path = dir.join(SECRET_FILE);
        let failed = |error: std::io::Error| ArtifactError::Io { path: path.clone(), error };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let engine_hash = engine_hash(engine);
        match std::fs::read(&path) {
            Ok(bytes) => {
                if let Ok(secret) = <[u8; 32]>::try_from(bytes.as_slice()) {
                    return Ok(ArtifactKey { secret, engine_hash });
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let (first, second) = (entropy.next_id(), entropy.next_id());
        let mut secret = [0_u8; 32];
        secret[..16].copy_from_slice(&first);
        secret[16..].copy_from_slice(&second);
        // Whole or not at all, and never readable by others, not even for a moment.
        let fresh = dir.join("secret.new");
        let _ = std::fs::remove_file(&fresh);
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
        file.write_all(&secret).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        Ok(ArtifactKey { secret, engine_hash })
    }

    /// First bytes of the engine's hash, for the names of files.
    pub fn engine_tag(&self) -> String {
        hex(&self.engine_hash[..8])
    }

    fn mac(&self, component_hash: &[u8; 32], artifact: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(component_hash).update(&self.engine_hash).update(artifact);
        hasher.finalize()
    }

    /// An artifact with what authenticates it in front.
    pub fn seal(&self, component_hash: &[u8; 32], artifact: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(HEADER_BYTES + artifact.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(self.mac(component_hash, artifact).as_bytes());
        sealed.extend_from_slice(artifact);
        sealed
    }

    /// Loads what [`ArtifactKey::seal`] made; `None` if it is anything else.
    pub fn load(&self, engine: &Engine, component_hash: &[u8; 32], sealed: &[u8]) -> Option<Loaded> {
        let (header, artifact) = sealed.split_at_checked(HEADER_BYTES)?;
        let (magic, mac) = header.split_at(MAGIC.len());
        let mac = blake3::Hash::from_bytes(mac.try_into().ok()?);
        // The comparison of hashes takes the same time wherever they differ.
        if magic != MAGIC || self.mac(component_hash, artifact) != mac {
            return None;
        }
        // What this very engine made may still be of another build of it: that is an error, no harm.
        load_own(engine, artifact).ok()
    }
}

/// Loads an artifact that this process, or a compiler process that it started, has just made.
pub fn load_own(engine: &Engine, artifact: &[u8]) -> Result<Loaded, Refusal> {
    // SAFETY: `deserialize` runs what it is given as machine code, so the bytes must be `Engine::precompile_component`'s.
    // Both callers see to that. `ArtifactKey::load` has compared a keyed hash over these very bytes in memory (not over
    // a file that could change afterwards) with one that only a holder of the node's secret can make, and the node
    // seals nothing but its compiler's output. Else the bytes come straight from the compiler: by return value, or by
    // the pipe to a child process that runs this same program. A bug of the compiler that a hostile component may
    // trigger is the engine's trust base, with or without serialisation.
    let component = unsafe { Component::deserialize(engine, artifact) };
    let component = component.map_err(|error| {
        Refusal::new(Code::ModuleCompileFailed, format!("the compiled module can't be loaded: {error:#}"))
    })?;
    Ok(Loaded { component, artifact_bytes: artifact.len() as u64 })
}

/// Hash of the engine's version and of all settings that compiled code depends on.
fn engine_hash(engine: &Engine) -> [u8; 32] {
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    *hasher.0.finalize().as_bytes()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
