//! How many different values there are: exactly as long as they are few, by HyperLogLog beyond.

use std::collections::BTreeSet;

use datasketches::hll::{HllSketch, HllType, HllUnion};
use outcrop_udf::{Bytes, Error};
use serde::{Deserialize, Serialize};

/// Values that are told apart exactly, at most.
pub const EXACT_MAX: usize = 1_024;
/// Bytes of such values, at most.
const EXACT_BYTES_MAX: usize = 64 << 10;
/// 4,096 registers: a standard error of 1.6%.
const REGISTERS_LOG2: u8 = 12;
/// What they take.
const SKETCH_BYTES: usize = 1 << REGISTERS_LOG2;

/// The values so far. Which form it has and what it says depends on the values alone, not on who saw them when.
#[derive(Debug, Clone)]
pub enum Distinct {
    /// The identity of each.
    Exact {
        /// The values.
        values: BTreeSet<Vec<u8>>,
        /// Their bytes.
        bytes: usize,
    },
    /// Registers.
    Sketch(HllSketch),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact { values: BTreeSet::new(), bytes: 0 }
    }
}

fn of_sketch(error: datasketches::error::Error) -> Error {
    Error::new(Error::MALFORMED, format!("a sketch of different values: {error}"))
}

impl Distinct {
    /// Takes a value's identity in; how many bytes the state grew by.
    pub fn add(&mut self, identity: &[u8]) -> Result<usize, Error> {
        match self {
            Distinct::Sketch(sketch) => sketch.update(identity),
            Distinct::Exact { values, bytes } => {
                if values.contains(identity) {
                    return Ok(0);
                }
                if values.len() < EXACT_MAX && *bytes + identity.len() <= EXACT_BYTES_MAX {
                    *bytes += identity.len();
                    values.insert(identity.to_vec());
                    return Ok(identity.len() + size_of::<Vec<u8>>());
                }
                let mut sketch = HllSketch::new(REGISTERS_LOG2, HllType::Hll8).map_err(of_sketch)?;
                values.iter().for_each(|value| sketch.update(value.as_slice()));
                sketch.update(identity);
                *self = Distinct::Sketch(sketch);
            }
        }
        Ok(0)
    }

    /// Takes in the values of another.
    pub fn merge(&mut self, other: Distinct) -> Result<usize, Error> {
        match other {
            Distinct::Exact { values, .. } => values.iter().try_fold(0, |grown, value| Ok(grown + self.add(value)?)),
            Distinct::Sketch(other) => {
                let grown = if let Distinct::Exact { .. } = self { SKETCH_BYTES } else { 0 };
                let mut union = HllUnion::new(REGISTERS_LOG2).map_err(of_sketch)?;
                union.update(&other);
                match self {
                    Distinct::Sketch(own) => union.update(own),
                    Distinct::Exact { values, .. } => {
                        values.iter().for_each(|value| union.update_value(value.as_slice()));
                    }
                }
                *self = Distinct::Sketch(union.to_sketch(HllType::Hll8));
                Ok(grown)
            }
        }
    }

    /// How many there are, and whether that is exact.
    pub fn count(&self) -> (u64, bool) {
        match self {
            Distinct::Exact { values, .. } => (values.len() as u64, true),
            // The other estimate depends on the order in which values came.
            Distinct::Sketch(sketch) => (sketch.composite_estimate().round() as u64, false),
        }
    }
}

/// As it travels.
#[derive(Serialize, Deserialize)]
enum Packed {
    Exact(Vec<Bytes>),
    Sketch(Bytes),
}

impl Serialize for Distinct {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Distinct::Exact { values, .. } => Packed::Exact(values.iter().cloned().map(Bytes).collect()),
            Distinct::Sketch(sketch) => Packed::Sketch(Bytes(sketch.serialize())),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Packed::deserialize(deserializer)? {
            Packed::Exact(values) => {
                let values: BTreeSet<Vec<u8>> = values.into_iter().map(|value| value.0).collect();
                Distinct::Exact { bytes: values.iter().map(Vec::len).sum(), values }
            }
            Packed::Sketch(bytes) => {
                Distinct::Sketch(HllSketch::deserialize(&bytes.0).map_err(serde::de::Error::custom)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_depend_on_who_saw_what() {
        for total in [0_u32, 1, EXACT_MAX as u32, EXACT_MAX as u32 + 1, 20_000] {
            let mut whole = Distinct::default();
            let mut shares = vec![Distinct::default(); 7];
            for n in 0..total {
                whole.add(&n.to_le_bytes()).expect("added");
                shares[(n.wrapping_mul(2_654_435_761) >> 20) as usize % 7].add(&n.to_le_bytes()).expect("added");
                shares[n as usize % 3].add(&n.to_le_bytes()).expect("added twice");
            }
            let merged = shares.into_iter().rev().reduce(|mut a, b| {
                a.merge(b).expect("merged");
                a
            });
            let (count, exact) = merged.expect("shares").count();
            assert_eq!((count, exact), whole.count(), "{total}");
            assert_eq!(exact, total as usize <= EXACT_MAX);
            let wrong = (count as f64 - f64::from(total)).abs() / f64::from(total.max(1));
            assert!(wrong < 0.05, "{count} of {total}");
        }
    }
}
