//! Sizes and times as people write them: `4MiB`, `30d`, `100ms`, `never`; in both directions.

use std::time::Duration;

use thiserror::Error;

/// Why a size or time can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// It isn't a number with a unit.
    #[error("{what} is a whole number and a unit ({units}), not {text:?}")]
    Malformed {
        /// "a size" or "a time".
        what: &'static str,
        /// The units there are.
        units: &'static str,
        /// What was there.
        text: String,
    },
    /// It doesn't fit.
    #[error("{text:?} is more than can be counted")]
    TooLarge {
        /// What was there.
        text: String,
    },
}

/// Units of sizes, largest first. Those with an `i` count in 1,024s, the others in 1,000s.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of times in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn parse(text: &str, units: &[(&str, u64)], bare: Option<u64>, what: &'static str) -> Result<u64, UnitError> {
    let names = if what == "a size" { "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB" } else { "ms, s, m, h, d, w" };
    let malformed = || UnitError::Malformed { what, units: names, text: text.chars().take(64).collect() };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(split);
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    let unit = unit.trim();
    let factor = match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => bare.ok_or_else(malformed)?,
        None => return Err(malformed()),
    };
    if digits.is_empty() {
        return Err(malformed());
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| UnitError::TooLarge { text: text.chars().take(64).collect() })
}

/// Bytes of `4MiB`, `8 GiB`, `512` (bytes).
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    parse(text, &SIZE_UNITS, Some(1), "a size")
}

/// A time such as `100ms`, `60s`, `2h`, `30d`; a number without a unit is an error.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, &TIME_UNITS, None, "a time").map(Duration::from_millis)
}

/// A size in the largest unit that divides it, so that it reads back the same.
pub fn format_bytes(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZE_UNITS[..4].iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// A time in the largest unit that divides it, so that it reads back the same (to the millisecond).
pub fn format_duration(time: Duration) -> String {
    let millis = time.as_millis() as u64;
    let fits = |(_, factor): &&(&str, u64)| millis != 0 && millis.is_multiple_of(*factor);
    // Weeks are read but never written: 28d says more than 4w.
    let (unit, factor) = TIME_UNITS[1..].iter().find(fits).unwrap_or(&("ms", 1));
    format!("{}{unit}", millis / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_times_as_people_write_them() {
        assert_eq!(parse_bytes("4MiB"), Ok(4 << 20));
        assert_eq!(parse_bytes(" 8 GiB "), Ok(8 << 30));
        assert_eq!(parse_bytes("1_000"), Ok(1_000));
        assert_eq!(parse_bytes("1MB"), Ok(1_000_000));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        for wrong in ["", "MiB", "4 mib", "-1B", "1.5GiB", "4MiBs", "_"] {
            assert!(matches!(parse_bytes(wrong), Err(UnitError::Malformed { .. })), "{wrong:?}");
        }
        assert!(matches!(parse_duration("30"), Err(UnitError::Malformed { .. })));
        assert!(matches!(parse_bytes("20000000TiB"), Err(UnitError::TooLarge { .. })));
        assert!(matches!(parse_bytes("99999999999999999999"), Err(UnitError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(number: u64) {
            prop_assert_eq!(parse_bytes(&format_bytes(number)), Ok(number));
            let time = Duration::from_millis(number);
            prop_assert_eq!(parse_duration(&format_duration(time)), Ok(time));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (parse_bytes(&text), parse_duration(&text));
        }
    }
}
