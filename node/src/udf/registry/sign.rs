//! Detached signatures: ed25519 over the BLAKE3 hash of a component.

use outcrop_wire::Code;
use serde::{Deserialize, Serialize};

use crate::udf::outcome::Refusal;

/// Signatures of one version, at most.
pub const SIGNATURES_MAX: usize = 8;

/// Who signed, and the signature, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The public key.
    pub key: String,
    /// The signature.
    pub signature: String,
}

impl Signature {
    /// A signature that holds for this content; any other is refused.
    pub fn new(hash: &[u8; 32], key: &[u8; 32], signature: &[u8; 64]) -> Result<Self, Refusal> {
        if !verify(hash, key, signature) {
            let message = "the signature isn't one of this key over the BLAKE3 hash of the component";
            return Err(Refusal::new(Code::ModuleSignature, message));
        }
        Ok(Signature { key: hex(key), signature: hex(signature) })
    }

    /// The key, if the signature holds: a catalogue that somebody edited signs nothing.
    pub fn signer(&self, hash: &[u8; 32]) -> Option<[u8; 32]> {
        let (key, signature) = (unhex::<32>(&self.key)?, unhex::<64>(&self.signature)?);
        verify(hash, &key, &signature).then_some(key)
    }
}

/// Whether `signature` is `key`'s over `hash`.
pub fn verify(hash: &[u8; 32], key: &[u8; 32], signature: &[u8; 64]) -> bool {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key).verify(hash, signature).is_ok()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes of hexadecimal.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
