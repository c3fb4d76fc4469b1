//! The oracle: what a node promised about each key, and whether what it says now keeps the promises.
//!
//! Architecture invariant: one writer a key. So after an acknowledged write the key holds exactly that; after one whose
//! fate is unknown it holds that or what was there before; after one that was refused, what was there before.

use std::collections::BTreeMap;

/// What a key holds: a version that its value can be made from, or nothing.
pub type State = Option<u64>;

/// What may be in one key.
#[derive(Debug, Clone, Default)]
struct Promise {
    certain: State,
    /// Writes since then whose fate is unknown.
    possible: Vec<State>,
}

/// The promises about many keys.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    promises: BTreeMap<u64, Promise>,
    /// Acknowledged writes so far, so that a test can tell that it tested anything.
    pub acknowledged: usize,
    /// Writes of unknown fate so far.
    pub unknown: usize,
}

/// How a write ended, from its caller's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was acknowledged.
    Acknowledged,
    /// It may or may not have happened.
    Unknown,
    /// The caller was told that nothing was done.
    NotDone,
}

impl Ledger {
    /// Notes a write of `state` to `key`.
    pub fn note(&mut self, key: u64, state: State, fate: Fate) {
        let promise = self.promises.entry(key).or_default();
        match fate {
            Fate::Acknowledged => {
                *promise = Promise { certain: state, possible: Vec::new() };
                self.acknowledged += 1;
            }
            Fate::Unknown => {
                promise.possible.push(state);
                self.unknown += 1;
            }
            Fate::NotDone => {}
        }
    }

    /// Compares what was read with what was promised; a read settles what was unknown.
    pub fn check(&mut self, key: u64, read: State) -> Result<(), String> {
        let promise = self.promises.entry(key).or_default();
        if read != promise.certain && !promise.possible.contains(&read) {
            return Err(format!("key {key}: promised {promise:?}, found {read:?}"));
        }
        *promise = Promise { certain: read, possible: Vec::new() };
        Ok(())
    }

    /// Every key that something was promised about.
    pub fn keys(&self) -> Vec<u64> {
        self.promises.keys().copied().collect()
    }

    /// The promises about some keys only, nothing counted yet.
    pub fn restricted(&self, keys: &std::ops::Range<u64>) -> Ledger {
        let promises = self.promises.range(keys.clone()).map(|(key, promise)| (*key, promise.clone())).collect();
        Ledger { promises, acknowledged: 0, unknown: 0 }
    }

    /// Takes over the promises about other keys.
    pub fn merge(&mut self, other: Ledger) {
        self.promises.extend(other.promises);
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
    }
}

/// The value of a key's version: begins with both, then bytes that follow from them; lengths from 16 bytes to 70 KiB,
/// mostly short.
pub fn value(key: u64, version: u64) -> Vec<u8> {
    let seed = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version.wrapping_mul(0xD1B5_4A32_D192_ED03);
    let filler = match seed % 100 {
        0..60 => seed / 100 % 400,
        60..97 => seed / 100 % 9_000,
        _ => seed / 100 % 70_000,
    };
    let mut bytes = Vec::with_capacity(16 + filler as usize);
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    let mut state = seed | 1;
    while bytes.len() < 16 + filler as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state as u8);
    }
    bytes
}

/// The version of a value, if every byte of it is right.
pub fn version_of(key: u64, bytes: &[u8]) -> Result<u64, String> {
    let version = bytes.get(8..16).and_then(|version| version.try_into().ok()).map(u64::from_le_bytes);
    let version = version.ok_or_else(|| format!("key {key}: a value of {} bytes", bytes.len()))?;
    if bytes == value(key, version) { Ok(version) } else { Err(format!("key {key}: version {version} is damaged")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_promises_are_found() {
        let mut ledger = Ledger::default();
        ledger.note(1, Some(1), Fate::Acknowledged);
        ledger.note(1, Some(2), Fate::NotDone);
        assert!(ledger.clone().check(1, None).is_err(), "an acknowledged write is lost");
        assert!(ledger.clone().check(1, Some(2)).is_err(), "a refused write happened");
        ledger.note(1, None, Fate::Unknown);
        ledger.clone().check(1, None).expect("it may be deleted");
        ledger.check(1, Some(1)).expect("or not");
        assert!(ledger.check(1, None).is_err(), "a read settles it");
        assert!(ledger.check(2, Some(9)).is_err(), "a value from nowhere");
    }

    #[test]
    fn a_value_tells_its_version_and_any_damage() {
        for version in 0..50 {
            let mut bytes = value(7, version);
            assert_eq!(version_of(7, &bytes), Ok(version));
            assert!(version_of(8, &bytes).is_err());
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            assert_ne!(version_of(7, &bytes), Ok(version));
            assert!(version_of(7, &bytes[..last]).is_err());
        }
    }
}
