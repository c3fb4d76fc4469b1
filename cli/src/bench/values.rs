//! What values hold: bytes that follow from the record, the write and the seed, so that a read can be checked in full.
//!
//! ```text
//! bin of L bytes:  0  u64 mark of record, bin and seed    16  bytes of a pool that the seed fills, from a place that
//!                  8  u64 nonce of the write                  mark and nonce give
//!                                                         L-8  u64 mix of mark, nonce and L
//! ```
//!
//! Below 24 bytes there is no nonce and no end: mark, then bytes of the pool; every write of the record is the same.
//!
//! Both ends are marked, so that a cut, a shift, another record's bytes or halves of two writes are told. A write costs
//! one copy of the value and no randomness but its nonce.

use std::collections::HashMap;
use std::sync::Arc;

use outcrop_wire::archive::{ArchiveError, access_bins, archive_bins};
use outcrop_wire::value::ArchivedValue;
use outcrop_wire::{Bins, StoredRecord};
use rand::rngs::Xoshiro256PlusPlus as Prng;
use rand::{Rng, SeedableRng};

const POOL_SPREAD_BYTES: usize = 64 << 10;
const MARK_BYTES: usize = 8;
const STAMP_BYTES: usize = 16;
const TAIL_BYTES: usize = 8;
const FRAMED_BYTES_MIN: usize = STAMP_BYTES + TAIL_BYTES;

/// Which bins a write has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// All of them, of so many bytes together.
    Whole(usize),
    /// One, by its place, of so many bytes.
    OneBin(u16, usize),
}

/// An archive with the places of its values; the rest is the same for every record.
#[derive(Debug, Clone)]
struct Template {
    archive: Vec<u8>,
    /// Bin number, offset, length.
    values: Vec<(u16, usize, usize)>,
}

/// Makes and checks the values of one run; clones share the pool.
#[derive(Debug, Clone)]
pub struct Values {
    seed: u64,
    /// 0: the one unnamed bin.
    bins: u16,
    pool: Arc<[u8]>,
    templates: HashMap<Shape, Template>,
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// The name of a bin by its number.
fn bin_name(bins: u16, number: u16) -> String {
    if bins == 0 { String::new() } else { format!("f{number}") }
}

impl Values {
    /// For records of `bins` bins (0: raw bytes in the unnamed bin) of at most `bytes_max` together.
    pub fn new(seed: u64, bins: u16, bytes_max: usize) -> Self {
        let mut pool = vec![0; bytes_max + FRAMED_BYTES_MIN + POOL_SPREAD_BYTES];
        Prng::seed_from_u64(seed).fill_bytes(&mut pool);
        Values { seed, bins, pool: pool.into(), templates: HashMap::new() }
    }

    /// Bins of a record; 0: raw.
    pub fn bins(&self) -> u16 {
        self.bins
    }

    /// The archived bins of a write of record `number`, good until the next call.
    pub fn archive(&mut self, number: u64, shape: Shape, nonce: u64) -> Result<&[u8], ArchiveError> {
        let (seed, bins, pool) = (self.seed, self.bins, &self.pool);
        let template = match self.templates.entry(shape) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(Template::new(bins, shape)?),
        };
        for (bin, offset, len) in &template.values {
            fill(pool, mark(seed, number, *bin), nonce, &mut template.archive[*offset..offset + len]);
        }
        Ok(&template.archive)
    }

    /// Whether a `get`'s reply is a record of this run and of this number, byte by byte.
    pub fn check_stored(&self, number: u64, stored: &[u8]) -> bool {
        StoredRecord::parse(stored).is_ok_and(|record| self.check_archive(number, record.archive))
    }

    fn check_archive(&self, number: u64, archive: &[u8]) -> bool {
        let Ok(record) = access_bins(archive) else { return false };
        if record.bins.len() != usize::from(self.bins.max(1)) {
            return false;
        }
        // Updates of single bins don't move them, so their order is that of the load.
        record.bins.iter().zip(0_u16..).all(|(bin, place)| match &bin.value {
            ArchivedValue::Bytes(bytes) => {
                bin.name.as_str() == bin_name(self.bins, place)
                    && is_value(&self.pool, mark(self.seed, number, place), bytes.as_slice())
            }
            _ => false,
        })
    }
}

impl Template {
    fn new(bins: u16, shape: Shape) -> Result<Self, ArchiveError> {
        let parts: Vec<(u16, usize)> = match shape {
            Shape::OneBin(bin, len) => vec![(bin, len)],
            Shape::Whole(len) => {
                let count = usize::from(bins.max(1));
                (0..bins.max(1)).map(|bin| (bin, len / count + usize::from(usize::from(bin) < len % count))).collect()
            }
        };
        let mut record = Bins::new();
        for (bin, len) in &parts {
            record.set(bin_name(bins, *bin), vec![0_u8; *len]);
        }
        let archive = archive_bins(&record)?;
        let mut values = Vec::new();
        for (archived, (bin, len)) in access_bins(&archive)?.bins.iter().zip(parts) {
            if let ArchivedValue::Bytes(bytes) = &archived.value
                && len > 0
            {
                // The slice lies within the archive: the difference of the addresses is its offset.
                values.push((bin, bytes.as_slice().as_ptr().addr() - archive.as_ptr().addr(), len));
            }
        }
        Ok(Template { archive, values })
    }
}

fn mark(seed: u64, number: u64, bin: u16) -> u64 {
    mix(mix(number.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ seed.rotate_left(17) ^ (u64::from(bin) << 48))
}

fn pool_part(pool: &[u8], mark: u64, nonce: u64, len: usize) -> &[u8] {
    let start = (mix(mark ^ nonce) as usize) % POOL_SPREAD_BYTES;
    &pool[start..start + len]
}

fn tail(mark: u64, nonce: u64, len: usize) -> u64 {
    mix(mark.wrapping_add(nonce.rotate_left(32)) ^ len as u64)
}

fn fill(pool: &[u8], mark: u64, nonce: u64, out: &mut [u8]) {
    let len = out.len();
    if len < FRAMED_BYTES_MIN {
        // No room for the nonce and a check of it: the content follows from the record alone.
        out.copy_from_slice(pool_part(pool, mark, 0, len));
        let marked = len.min(MARK_BYTES);
        out[..marked].copy_from_slice(&mark.to_le_bytes()[..marked]);
        return;
    }
    out[..MARK_BYTES].copy_from_slice(&mark.to_le_bytes());
    out[MARK_BYTES..STAMP_BYTES].copy_from_slice(&nonce.to_le_bytes());
    out[STAMP_BYTES..len - TAIL_BYTES].copy_from_slice(pool_part(pool, mark, nonce, len - FRAMED_BYTES_MIN));
    out[len - TAIL_BYTES..].copy_from_slice(&tail(mark, nonce, len).to_le_bytes());
}

fn is_value(pool: &[u8], mark: u64, bytes: &[u8]) -> bool {
    let len = bytes.len();
    if len + FRAMED_BYTES_MIN + POOL_SPREAD_BYTES > pool.len() {
        return false;
    }
    if len < FRAMED_BYTES_MIN {
        let marked = len.min(MARK_BYTES);
        return bytes[..marked] == mark.to_le_bytes()[..marked]
            && bytes[marked..] == pool_part(pool, mark, 0, len)[marked..];
    }
    let Some(nonce) = bytes[MARK_BYTES..].first_chunk::<8>().map(|nonce| u64::from_le_bytes(*nonce)) else {
        return false;
    };
    bytes[..MARK_BYTES] == mark.to_le_bytes()
        && bytes[STAMP_BYTES..len - TAIL_BYTES] == *pool_part(pool, mark, nonce, len - FRAMED_BYTES_MIN)
        && bytes[len - TAIL_BYTES..] == tail(mark, nonce, len).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_recognised_and_any_changed_byte_is_not() {
        for bins in [0_u16, 1, 3, 10] {
            for len in [0_usize, 1, 7, 8, 15, 16, 17, 23, 24, 25, 100, 1_024, 1_027] {
                let mut values = Values::new(9, bins, 2_000);
                let archive = values.archive(77, Shape::Whole(len), 123).expect("archive").to_vec();
                assert!(values.check_archive(77, &archive), "{bins} bins of {len} bytes");
                let template = &values.templates[&Shape::Whole(len)];
                for (_, offset, len) in &template.values {
                    for at in *offset..offset + len {
                        let mut damaged = archive.clone();
                        damaged[at] ^= 0x10;
                        assert!(!values.check_archive(77, &damaged), "byte {at} of {bins} bins");
                    }
                }
            }
        }
    }

    #[test]
    fn another_record_another_seed_and_another_length_are_told() {
        let mut values = Values::new(9, 0, 2_000);
        let archive = values.archive(77, Shape::Whole(100), 1).expect("archive").to_vec();
        assert!(!values.check_archive(78, &archive));
        assert!(!Values::new(10, 0, 2_000).check_archive(77, &archive));
        let cut = archive_bins(&Bins::unnamed(
            access_bins(&archive).expect("archive").unnamed_bytes().expect("bytes")[..99].to_vec(),
        ))
        .expect("archive");
        assert!(!values.check_archive(77, &cut));
        let longer = Values::new(9, 0, 4_000);
        assert!(!Values::new(9, 0, 50).check_archive(77, &archive), "longer than any that this run writes");
        assert!(longer.check_archive(77, &archive), "the pool of a seed doesn't depend on its length");
    }

    #[test]
    fn one_bin_of_many_can_be_written_alone() {
        let mut values = Values::new(9, 3, 300);
        let whole = values.archive(5, Shape::Whole(300), 1).expect("archive").to_vec();
        let one = values.archive(5, Shape::OneBin(1, 120), 2).expect("archive").to_vec();
        let mut record = outcrop_wire::archive::decode_bins(&whole).expect("bins");
        let part = outcrop_wire::archive::decode_bins(&one).expect("bins");
        record.set("f1", part.get("f1").expect("the bin").clone());
        assert!(values.check_archive(5, &archive_bins(&record).expect("archive")));
        assert!(!values.check_archive(5, &one), "a record of one bin isn't one of three");
    }
}
