//! Sizes of values: one, a range, or a weighted list, as `--value-bytes` writes them.

use std::str::FromStr;

use outcrop_wire::limits::RECORD_BYTES_CEILING;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus as Prng;
use thiserror::Error;

/// Distinct sizes that a range is rounded to: each has a template of its own.
const STEPS_MAX: usize = 256;

/// A `--value-bytes` that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// A part isn't a number of bytes.
    #[error("{0:?} is no size: write 1024, 1KiB, 100..2000, or a weighted list such as 128:50,1024:40,64KiB:10")]
    Malformed(String),
    /// Over what a record may have.
    #[error("a value has at most {max} bytes, not {0}", max = RECORD_BYTES_CEILING)]
    TooLarge(usize),
    /// A range whose end lies before its start.
    #[error("the range {0:?} is empty")]
    EmptyRange(String),
    /// A weight of zero in all parts.
    #[error("the weights of {0:?} are all zero")]
    Weightless(String),
}

/// Sizes of values with their probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// As it was written.
    text: String,
    /// Each part's sizes, with the sum of the weights up to and with it, 0 to 1.
    parts: Vec<(f64, Vec<usize>)>,
}

impl Sizes {
    /// The size of the next value, in bytes.
    pub fn draw(&self, rng: &mut Prng) -> usize {
        let part = match &self.parts[..] {
            [(_, only)] => only,
            parts => {
                let at = rng.random::<f64>();
                let drawn = parts.iter().find(|(upto, _)| at < *upto).or(parts.last());
                match drawn {
                    Some((_, sizes)) => sizes,
                    None => return 0,
                }
            }
        };
        match part[..] {
            [only] => only,
            _ => part[rng.random_range(0..part.len())],
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        let mut below = 0.0;
        let mut mean = 0.0;
        for (upto, sizes) in &self.parts {
            let of_part = sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64;
            mean += (upto - below) * of_part;
            below = *upto;
        }
        mean
    }

    /// The largest.
    pub fn max(&self) -> usize {
        self.parts.iter().flat_map(|(_, sizes)| sizes).copied().max().unwrap_or(0)
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for Sizes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Reads a number of bytes with an optional unit of B, KB, MB, GB (powers of 1,000) or k, KiB, M, MiB, G, GiB (1,024).
pub fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    let malformed = || SizeError::Malformed(text.to_owned());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(malformed()),
    };
    let number: u64 = digits.trim().replace('_', "").parse().map_err(|_| malformed())?;
    number.checked_mul(unit).ok_or_else(malformed)
}

fn parse_size(text: &str) -> Result<usize, SizeError> {
    let bytes = parse_bytes(text)? as usize;
    if bytes > RECORD_BYTES_CEILING { Err(SizeError::TooLarge(bytes)) } else { Ok(bytes) }
}

fn parse_part(text: &str) -> Result<Vec<usize>, SizeError> {
    let Some((low, high)) = text.split_once("..") else { return Ok(vec![parse_size(text)?]) };
    let (low, high) = (parse_size(low.trim())?, parse_size(high.trim_start_matches('=').trim())?);
    if high < low {
        return Err(SizeError::EmptyRange(text.to_owned()));
    }
    let steps = (high - low + 1).min(STEPS_MAX);
    if steps == 1 {
        return Ok(vec![low]);
    }
    Ok((0..steps).map(|step| low + (high - low) * step / (steps - 1)).collect())
}

impl FromStr for Sizes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let mut parts = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            let weight: f64 = weight.trim().parse().map_err(|_| SizeError::Malformed(part.to_owned()))?;
            if !weight.is_finite() || weight < 0.0 {
                return Err(SizeError::Malformed(part.to_owned()));
            }
            parts.push((weight, parse_part(size.trim())?));
        }
        let total: f64 = parts.iter().map(|(weight, _)| weight).sum();
        if total <= 0.0 {
            return Err(SizeError::Weightless(text.to_owned()));
        }
        let mut sum = 0.0;
        for (weight, _) in &mut parts {
            sum += *weight / total;
            *weight = sum;
        }
        Ok(Sizes { text: text.to_owned(), parts })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().expect("sizes")
    }

    #[test]
    fn one_size_a_range_and_a_weighted_list() {
        let mut rng = Prng::seed_from_u64(5);
        assert_eq!(sizes("1KiB").draw(&mut rng), 1_024);
        let range = sizes("100..2000");
        let drawn: Vec<usize> = (0..20_000).map(|_| range.draw(&mut rng)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&100), Some(&2_000)));
        let mean = drawn.iter().sum::<usize>() as f64 / 20_000.0;
        assert!((mean - 1_050.0).abs() < 20.0, "{mean}");
        let list = sizes("128:50,1024:40,64KiB:10");
        let large = (0..100_000).filter(|_| list.draw(&mut rng) == 65_536).count();
        assert!((9_500..10_500).contains(&large), "{large}");
        assert_eq!(list.max(), 65_536);
        assert!((list.mean() - (64.0 + 409.6 + 6_553.6)).abs() < 1e-6 && (range.mean() - 1_050.0).abs() < 5.0);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "x", "1024:", "1024:-1", "10Q", "-5", "1..x", ","] {
            assert!(matches!(text.parse::<Sizes>(), Err(SizeError::Malformed(_))), "{text:?}");
        }
        assert_eq!("20..10".parse::<Sizes>(), Err(SizeError::EmptyRange("20..10".into())));
        assert_eq!("9MiB".parse::<Sizes>(), Err(SizeError::TooLarge(9 << 20)));
        assert_eq!("10:0,20:0".parse::<Sizes>(), Err(SizeError::Weightless("10:0,20:0".into())));
        assert!("99999999999999999999G".parse::<Sizes>().is_err());
    }
}
