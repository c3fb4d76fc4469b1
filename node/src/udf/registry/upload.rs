//! Uploads under way: parts in order, until the whole is there and its hash is right.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use outcrop_wire::Code;

use super::sign::{SIGNATURES_MAX, Signature};
use crate::udf::outcome::Refusal;

/// Uploads under way, at most; the one that rested longest gives way once it has rested for `IDLE_MS`.
const UPLOADS_MAX: usize = 4;
const IDLE_MS: u64 = 30_000;

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// So many bytes are here, more are to come.
    Part(u64),
    /// The whole is here.
    Whole {
        /// The component.
        component: Bytes,
        /// Signatures that came before.
        signatures: Vec<Signature>,
    },
}

/// Which upload: module, version, hash of the whole.
type Key = (Arc<str>, Arc<str>, [u8; 32]);

#[derive(Debug, Default)]
pub struct Uploads {
    under_way: HashMap<Key, Upload>,
    /// Signatures for content that isn't whole yet.
    signatures: HashMap<[u8; 32], Vec<Signature>>,
}

#[derive(Debug)]
struct Upload {
    bytes: Vec<u8>,
    total: u64,
    touched_ms: u64,
}

/// One part.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The module.
    pub module: &'a str,
    /// The version.
    pub version: &'a str,
    /// BLAKE3 of the whole.
    pub hash: [u8; 32],
    /// Bytes of the whole.
    pub total: u64,
    /// Where this part begins.
    pub offset: u64,
    /// The part.
    pub bytes: &'a [u8],
}

impl Uploads {
    /// Takes a part.
    pub fn take(&mut self, part: &Part<'_>, bytes_max: u64, now_ms: u64) -> Result<Received, Refusal> {
        if part.total > bytes_max {
            let message = format!("a module has at most {bytes_max} bytes, this one has {}", part.total);
            return Err(Refusal::new(Code::ModuleTooLarge, message));
        }
        let key: Key = (part.module.into(), part.version.into(), part.hash);
        if part.offset == 0 {
            self.make_room(&key, now_ms)?;
            self.under_way.insert(key.clone(), Upload { bytes: Vec::new(), total: part.total, touched_ms: now_ms });
        }
        let wrong = |message: String| Refusal::new(Code::InvalidRequest, message);
        let Some(upload) = self.under_way.get_mut(&key) else {
            return Err(wrong("this upload isn't under way (any more): begin at offset 0".to_owned()));
        };
        let received = upload.bytes.len() as u64;
        if part.total == upload.total && part.offset.saturating_add(part.bytes.len() as u64) <= received {
            // Sent once more because its acknowledgement was lost.
            return Ok(Received::Part(received));
        }
        let end = received.checked_add(part.bytes.len() as u64);
        if part.offset != received || part.total != upload.total || end.is_none_or(|end| end > upload.total) {
            let message = format!("{received} of {} bytes are here; the next part begins there", upload.total);
            return Err(wrong(message));
        }
        upload.bytes.extend_from_slice(part.bytes);
        upload.touched_ms = now_ms;
        let received = upload.bytes.len() as u64;
        if received < upload.total {
            return Ok(Received::Part(received));
        }
        let component = self.under_way.remove(&key).map(|upload| Bytes::from(upload.bytes)).unwrap_or_default();
        let signatures = self.signatures.remove(&part.hash).unwrap_or_default();
        if *blake3::hash(&component).as_bytes() != part.hash {
            return Err(wrong("what came has another hash than was said: upload it again".to_owned()));
        }
        Ok(Received::Whole { component, signatures })
    }

    /// Keeps a signature for content that is still to come.
    pub fn sign(&mut self, hash: [u8; 32], signature: Signature) -> Result<(), Refusal> {
        if self.signatures.len() >= UPLOADS_MAX && !self.signatures.contains_key(&hash) {
            self.signatures.clear();
        }
        let signatures = self.signatures.entry(hash).or_default();
        if signatures.len() >= SIGNATURES_MAX {
            let message = format!("a version has at most {SIGNATURES_MAX} signatures");
            return Err(Refusal::new(Code::ModuleSignature, message));
        }
        signatures.push(signature);
        Ok(())
    }

    /// The hash of the upload under way of a version.
    pub fn hash_of(&self, module: &str, version: &str) -> Option<[u8; 32]> {
        self.under_way.keys().find(|key| &*key.0 == module && &*key.1 == version).map(|key| key.2)
    }

    fn make_room(&mut self, key: &Key, now_ms: u64) -> Result<(), Refusal> {
        if self.under_way.len() < UPLOADS_MAX || self.under_way.contains_key(key) {
            return Ok(());
        }
        let oldest = self.under_way.iter().min_by_key(|(_, upload)| upload.touched_ms);
        match oldest.map(|(key, upload)| (key.clone(), upload.touched_ms)) {
            Some((oldest, touched_ms)) if now_ms.saturating_sub(touched_ms) >= IDLE_MS => {
                self.under_way.remove(&oldest);
                Ok(())
            }
            _ => Err(Refusal::new(Code::Overloaded, format!("{UPLOADS_MAX} uploads are under way; try again later"))),
        }
    }
}
