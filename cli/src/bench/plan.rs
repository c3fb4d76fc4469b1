//! The settled plan of a bench, and the units that its options are written in.

use std::time::Duration;

use super::args::ArgsError;
use super::keys::Distribution;
use super::mix::{Mix, Shares};
use super::pace::Arrivals;
use super::sizes::Sizes;

/// Type of the records' user keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// 64-bit integers.
    Int,
    /// Text: `user` and 19 digits, as YCSB's.
    Text,
}

/// Pacing of all connections together.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "loop")]
pub enum Pacing {
    /// A reply lets the next request go.
    Closed,
    /// By a schedule.
    Open {
        /// Requests a second, in all.
        rate_per_sec: f64,
        /// Their spacing.
        arrivals: Arrivals,
        /// Requests due within so many microseconds go together.
        pace_us: u32,
    },
}

impl Pacing {
    /// Shortest pause between two wake-ups of an open loop, in ns.
    pub fn pace_ns(self) -> u64 {
        match self {
            Pacing::Closed => 0,
            Pacing::Open { pace_us, .. } => u64::from(pace_us) * 1_000,
        }
    }
}

/// What a call calls.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Call {
    /// `module.function` or `module@version.function`; checked.
    pub function: String,
    /// Its arguments, archived.
    #[serde(skip)]
    pub arguments: Vec<u8>,
}

/// What runs after the load.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Nothing: only load.
    Nothing,
    /// So many full scans.
    ScanAll(u32),
    /// Operations.
    Operations(Mix),
}

/// Settled options.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Plan {
    /// Namespace of the records.
    pub namespace: String,
    /// Set of the records.
    pub set: String,
    /// Whether the records are loaded first.
    pub load: bool,
    /// What comes then.
    #[serde(skip)]
    pub work: Work,
    /// Shares of the mix, as given.
    pub shares: Shares,
    /// Reads of a batch; 0: none.
    pub batch: u16,
    /// What calls call, if the mix has any.
    pub call: Option<Call>,
    /// Records of a short scan, at most.
    pub scan_records: u32,
    /// Which records.
    pub distribution: Distribution,
    /// Its skew.
    pub theta: f64,
    /// Loaded records.
    pub records: u64,
    /// Sizes of values.
    pub value_bytes: Sizes,
    /// Bins of a record; 0: the unnamed one.
    pub bins: u16,
    /// Updates write the whole record.
    pub write_all_bins: bool,
    /// Type of keys.
    pub key_type: KeyType,
    /// Connections.
    pub connections: u32,
    /// Requests under way on each.
    pub in_flight: u32,
    /// The same while loading.
    pub load_in_flight: u32,
    /// Threads.
    pub threads: u32,
    /// When requests go.
    pub pacing: Pacing,
    /// Measured time in ms.
    #[serde(rename = "duration_ms", serialize_with = "as_ms")]
    pub duration: Duration,
    /// Operations of all connections, at most.
    pub ops_max: Option<u64>,
    /// Time before it, in ms.
    #[serde(rename = "warmup_ms", serialize_with = "as_ms")]
    pub warmup: Duration,
    /// Deadline of each request; 0: the node's default.
    pub deadline_ms: u32,
    /// Of keys, order and values.
    pub seed: u64,
    /// Whether reads are checked.
    pub verify: bool,
}

fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_millis() as u64)
}

/// Reads `30s`, `500ms`, `2m`, `1h`; a bare number is seconds.
pub fn parse_time(text: &str) -> Result<Duration, ArgsError> {
    let wrong = || ArgsError::Time(text.to_owned());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let unit_secs = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit_secs).ok().filter(|time| time.as_secs() < 1 << 24).ok_or_else(wrong)
}

/// Reads `1M`, `250k`, `1.5M`, `10_000`: powers of 1,000, as counts have them.
pub fn parse_count(option: &'static str, text: &str) -> Result<u64, ArgsError> {
    let wrong = || range(option, "a whole number such as 250k, 1M or 10_000", text);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.replace('_', "").parse().map_err(|_| wrong())?;
    let count = number * unit;
    if count.fract() != 0.0 || !(0.0..9e15).contains(&count) { Err(wrong()) } else { Ok(count as u64) }
}

/// An option whose value is out of its range.
pub fn range(option: &'static str, range: impl Into<String>, value: impl ToString) -> ArgsError {
    ArgsError::Range { option, range: range.into(), value: value.to_string() }
}
