//! The registry on disk: components by their hash, and the catalogue in two copies, each with a checksum.
//!
//! A file is written aside, synced and renamed, and its directory synced, before anything relies on it. A component is
//! there before a catalogue names it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use outcrop_wire::Code;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::RegistryError;
use super::catalogue::Catalogue;
use super::sign::hex;
use crate::udf::outcome::Refusal;

const CATALOGUE: &str = "catalogue.json";
const CATALOGUE_BEFORE: &str = "catalogue.before.json";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    /// BLAKE3 of `catalogue` as it stands here.
    checksum: String,
    catalogue: Box<serde_json::value::RawValue>,
}

/// Where modules are kept.
pub struct Store {
    place: Place,
}

enum Place {
    Directory(PathBuf),
    /// A node without a data directory: they live as long as it does.
    Memory(Mutex<HashMap<[u8; 32], Bytes>>),
}

fn io_error(what: &Path) -> impl Fn(io::Error) -> RegistryError + use<> {
    let what = what.display().to_string();
    move |error| RegistryError::Io { what: what.clone(), error }
}

impl Store {
    /// Opens `data_dir/modules`.
    pub async fn open(data_dir: Option<&Path>) -> Result<Self, RegistryError> {
        let Some(data_dir) = data_dir else { return Ok(Store { place: Place::Memory(Mutex::default()) }) };
        let dir = data_dir.join("modules");
        let components = dir.join("components");
        tokio::fs::create_dir_all(&components).await.map_err(io_error(&components))?;
        Ok(Store { place: Place::Directory(dir) })
    }

    /// The catalogue; the copy before it if it is damaged.
    pub async fn load(&self) -> Result<Catalogue, RegistryError> {
        let Place::Directory(dir) = &self.place else { return Ok(Catalogue::default()) };
        let (first, second) = (dir.join(CATALOGUE), dir.join(CATALOGUE_BEFORE));
        let damaged = match read(&first).await? {
            Some(Ok(catalogue)) => return Ok(catalogue),
            Some(Err(damage)) => Some(damage),
            None => None,
        };
        match (read(&second).await?, damaged) {
            (None, None) => Ok(Catalogue::default()),
            (Some(Ok(catalogue)), damaged) => {
                let why = damaged.unwrap_or_else(|| "it isn't there".to_owned());
                tracing::error!(%why, "the catalogue of modules can't be read; the copy before it is taken");
                Ok(catalogue)
            }
            (Some(Err(damage)), _) | (None, Some(damage)) => Err(RegistryError::Damaged(damage)),
        }
    }

    /// Writes the catalogue; the one before is kept beside it.
    pub async fn save(&self, catalogue: &Catalogue) -> Result<(), RegistryError> {
        let Place::Directory(dir) = &self.place else { return Ok(()) };
        let path = dir.join(CATALOGUE);
        let body = serde_json::to_string(catalogue).map_err(io::Error::other).map_err(io_error(&path))?;
        let checksum = blake3::hash(body.as_bytes()).to_hex().to_string();
        let raw = serde_json::value::RawValue::from_string(body).map_err(io::Error::other).map_err(io_error(&path))?;
        let file = serde_json::to_vec(&File { format: FORMAT, checksum, catalogue: raw });
        let bytes = Bytes::from(file.map_err(io::Error::other).map_err(io_error(&path))?);
        // A damaged copy must not take the place of the good one behind it.
        if matches!(read(&path).await?, Some(Ok(_))) {
            let before = dir.join(CATALOGUE_BEFORE);
            tokio::fs::rename(&path, &before).await.map_err(io_error(&before))?;
        }
        write(&path, bytes).await
    }

    /// Keeps a component.
    pub async fn keep(&self, hash: [u8; 32], component: Bytes) -> Result<(), RegistryError> {
        match &self.place {
            Place::Memory(kept) => {
                kept.lock().insert(hash, component);
                Ok(())
            }
            Place::Directory(dir) => {
                let path = component_path(dir, &hash);
                // What lies there under this name may be damaged: it is compared, not trusted.
                match tokio::fs::read(&path).await {
                    Ok(known) if *blake3::hash(&known).as_bytes() == hash => Ok(()),
                    _ => write(&path, component).await,
                }
            }
        }
    }

    /// A component; refused if it isn't what its hash says.
    pub async fn component(&self, hash: [u8; 32]) -> Result<Bytes, Refusal> {
        let lost = |message: String| Refusal::new(Code::ModuleInvalid, message);
        match &self.place {
            Place::Memory(kept) => {
                let found = kept.lock().get(&hash).cloned();
                found.ok_or_else(|| lost(format!("the component {} isn't there", hex(&hash))))
            }
            Place::Directory(dir) => {
                let path = component_path(dir, &hash);
                let read = tokio::fs::read(&path).await;
                let bytes = read.map_err(|error| {
                    lost(format!("the component {} can't be read ({error}): upload it again", path.display()))
                })?;
                if *blake3::hash(&bytes).as_bytes() != hash {
                    let message = format!("the component {} is damaged: upload it again", path.display());
                    return Err(lost(message));
                }
                Ok(bytes.into())
            }
        }
    }

    /// Forgets a component that no version names any more.
    pub async fn forget(&self, hash: [u8; 32]) {
        match &self.place {
            Place::Memory(kept) => {
                kept.lock().remove(&hash);
            }
            Place::Directory(dir) => {
                let path = component_path(dir, &hash);
                if let Err(error) = tokio::fs::remove_file(&path).await {
                    tracing::warn!(path = %path.display(), %error, "a component that nobody needs stays");
                }
            }
        }
    }
}

fn component_path(dir: &Path, hash: &[u8; 32]) -> PathBuf {
    dir.join("components").join(format!("{}.wasm", hex(hash)))
}

/// A catalogue and whether it is whole; `None`: there is no such file.
async fn read(path: &Path) -> Result<Option<Result<Catalogue, String>>, RegistryError> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    Ok(Some(parse(&bytes)))
}

fn parse(bytes: &[u8]) -> Result<Catalogue, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.format != FORMAT {
        return Err(format!("it has format {}, this node reads {FORMAT}", file.format));
    }
    if blake3::hash(file.catalogue.get().as_bytes()).to_hex().as_str() != file.checksum {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_str(file.catalogue.get()).map_err(|error| error.to_string())
}

/// Writes a file so that after a crash it is there whole or not at all.
async fn write(path: &Path, bytes: Bytes) -> Result<(), RegistryError> {
    let path: Arc<Path> = path.into();
    let (to, failed) = (path.clone(), io_error(&path));
    let written = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let aside = to.with_extension("new");
        let mut file = std::fs::File::create(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, &to)?;
        to.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
    });
    written.await.map_err(io::Error::other).map_err(&failed)?.map_err(&failed)
}
