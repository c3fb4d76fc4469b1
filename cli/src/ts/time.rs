//! Times and durations as text: RFC 3339 and its like, seconds or milliseconds since 1970, `now` and times ago.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// How times are written; the same words in every command that takes one.
pub const TIME_HELP: &str = "\
Times: 2014-07-01T00:00:00Z, 2014-07-01 00:00:00 (UTC), 2014-07-01, 1404172800 (seconds since 1970) or 1404172800000
(milliseconds: numbers from 100000000000 on), and where a time is asked from: now, or -15m, -24h, -30d before now.";

/// Whole numbers from here on are milliseconds, smaller ones seconds (of the year 5138, or of 1973).
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// What whole numbers in a column of times are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum TimeUnit {
    /// Seconds, or milliseconds from 100000000000 on.
    #[default]
    Auto,
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
}

/// A time on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Milliseconds since 1970.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl Time {
    /// As milliseconds since 1970.
    pub fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Time::At(at_ms) => at_ms,
            Time::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

/// This machine's clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Parses a time, or `now`, or a time ago.
pub fn parse_time(text: &str) -> Result<Time, String> {
    if text == "now" {
        return Ok(Time::Ago(0));
    }
    if let Some(ago) = text.strip_prefix('-').filter(|ago| ago.ends_with(|c: char| c.is_ascii_alphabetic())) {
        return parse_duration_ms(ago).map(Time::Ago);
    }
    parse_at_ms(text, TimeUnit::Auto).map(Time::At)
}

/// Parses a time to milliseconds since 1970.
pub fn parse_at_ms(text: &str, unit: TimeUnit) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        let seconds = match unit {
            TimeUnit::S => true,
            TimeUnit::Ms => false,
            TimeUnit::Auto => number.unsigned_abs() < MILLISECONDS_FROM,
        };
        let at_ms = if seconds { number.checked_mul(1_000) } else { Some(number) };
        return at_ms.ok_or_else(|| format!("the time {number} is out of range"));
    }
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} is no time, such as 2014-07-01T00:00:00Z, 2014-07-01 00:00:00 or 1404172800")
    };
    // A time without an offset is one of UTC.
    let of_civil = |civil: DateTime| Offset::UTC.to_timestamp(civil);
    let parsed = text.parse::<Timestamp>().or_else(|_| text.parse::<DateTime>().and_then(of_civil));
    parsed.map(Timestamp::as_millisecond).map_err(|_| wrong())
}

/// Parses `500ms`, `10s`, `15m`, `12h`, `7d` or `2w` to milliseconds, at least 1.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration, such as 500ms, 10s, 15m, 12h, 7d or 2w");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (digits, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return Err(wrong()),
    };
    let count: i64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(wrong)
}

/// A time as RFC 3339 in UTC, with milliseconds only where there are some; beyond the year 9999 as milliseconds.
pub fn time_text(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}

/// A duration in its largest whole unit, as [`parse_duration_ms`] reads it.
pub fn duration_text(ms: i64) -> String {
    let units = [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let whole = units.into_iter().find(|(_, unit_ms)| ms != 0 && ms % unit_ms == 0);
    whole.map_or_else(|| format!("{ms}ms"), |(unit, unit_ms)| format!("{}{unit}", ms / unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_many_spellings() {
        for text in [
            "2014-07-01T00:00:00Z",
            "2014-07-01 00:00:00",
            "2014-07-01T02:00:00+02:00",
            "2014-07-01",
            "2014-07-01 00:00",
            " 1404172800 ",
            "1404172800000",
        ] {
            assert_eq!(parse_at_ms(text, TimeUnit::Auto), Ok(1_404_172_800_000), "{text}");
        }
        assert_eq!(parse_at_ms("2014-07-01 00:00:00.25", TimeUnit::Auto), Ok(1_404_172_800_250));
        assert_eq!(parse_at_ms("5", TimeUnit::Ms), Ok(5));
        assert_eq!(parse_at_ms("-5", TimeUnit::S), Ok(-5_000));
        for wrong in ["", "yesterday", "2014-02-30", "2014-07-01 25:00:00", "1.5", "9223372036854775807s"] {
            assert!(parse_at_ms(wrong, TimeUnit::Auto).is_err(), "{wrong:?}");
        }
        assert!(parse_at_ms(&i64::MAX.to_string(), TimeUnit::S).is_err());
    }

    #[test]
    fn times_before_now() {
        assert_eq!(parse_time("now"), Ok(Time::Ago(0)));
        assert_eq!(parse_time("-24h"), Ok(Time::Ago(86_400_000)));
        assert_eq!(parse_time("-5"), Ok(Time::At(-5_000)), "a number is a time");
        assert_eq!(parse_time("-24h").map(|time| time.resolve(86_400_001)), Ok(1));
        assert!(parse_time("-24x").is_err());
    }

    #[test]
    fn durations_come_back() {
        for text in ["500ms", "10s", "15m", "12h", "3d", "2w", "90m"] {
            let ms = parse_duration_ms(text).unwrap();
            assert_eq!(parse_duration_ms(&duration_text(ms)), Ok(ms));
        }
        assert_eq!(duration_text(604_800_000), "1w");
        for wrong in ["", "5", "0s", "s", "-1s", "1y", "99999999999999999999s"] {
            assert!(parse_duration_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_printed_as_rfc_3339() {
        assert_eq!(time_text(1_404_172_800_000), "2014-07-01T00:00:00Z");
        assert_eq!(time_text(1_404_172_800_250), "2014-07-01T00:00:00.25Z");
        assert_eq!(time_text(i64::MAX), i64::MAX.to_string());
    }
}
