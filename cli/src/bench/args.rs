//! `outcrop bench`: its options as they are written, and the plan that they settle to.

use std::path::PathBuf;

use outcrop_wire::FunctionPath;
use outcrop_wire::archive::archive_value;
use outcrop_wire::limits::{BATCH_MAX, BINS_MAX, LANE_INFLIGHT_MAX, LANE_VALUE_BYTES_MAX};
use thiserror::Error;

use super::embedded::{CommitArg, EngineArg, ValuesArg};
use super::keys::{Distribution, ZIPFIAN_THETA};
use super::mix::{Mix, MixError, Shares, Workload};
use super::pace::Arrivals;
use super::plan::{Call, KeyType, Pacing, Plan, Work, parse_count, parse_time, range};
use super::sizes::{SizeError, Sizes};
use crate::udf::arguments::parse_arguments;

const CONNECTIONS_MAX: u32 = 10_000;
const THREADS_MAX: u32 = 256;
/// Requests under way of a load that comes before what is measured, at least.
const LOAD_IN_FLIGHT_MIN: u32 = 256;
/// Bytes of values that a connection may have under way in both directions at once.
const UNDER_WAY_BYTES_MAX: u64 = 8 << 20;

/// Options that can't go together, or a value out of its range.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ArgsError {
    /// The mix is wrong.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// The sizes are wrong.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A number is out of its range.
    #[error("--{option} is {range}, not {value}")]
    Range {
        /// The option.
        option: &'static str,
        /// What it may be.
        range: String,
        /// What it was.
        value: String,
    },
    /// A time that can't be read.
    #[error("{0:?} is no time: write 30s, 500ms, 2m or 1h")]
    Time(String),
    /// Several workloads at once.
    #[error("--workload names a whole mix: leave --read, --update, --insert, --scan, --rmw and --call out")]
    TwoMixes,
    /// Namespace or set can't be.
    #[error(transparent)]
    Name(#[from] outcrop_wire::KeyError),
    /// A function that can't be called, or calls without one.
    #[error("{0}")]
    Call(String),
    /// Options of an embedded node without one.
    #[error(
        "--data, --values, --commit, --size, --cache, --defrag-rate, --workers and --engine describe the node of --embedded"
    )]
    NotEmbedded,
}

/// Form of the report on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs: everything, with the arguments and the version.
    Json,
}

/// Measure a node: closed or open loop, YCSB mixes, HDR histograms.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Node to measure
    #[arg(long, env = "OUTCROP_URL", default_value = "outcrop://127.0.0.1:7420")]
    pub url: String,
    /// Certificates to trust (PEM); a local `outcrop dev` needs none [env: OUTCROP_CA=]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Start a node of its own, as a process of its own, and measure that instead
    #[arg(long)]
    pub embedded: bool,
    /// Embedded node: directory of its data (default: a temporary one, removed afterwards)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Embedded node: where values live (default: ram)
    #[arg(long, value_enum)]
    pub values: Option<ValuesArg>,
    /// Embedded node: when a write is acknowledged (default: flash, with --values ram memory)
    #[arg(long, value_enum)]
    pub commit: Option<CommitArg>,
    /// Embedded node: size of its device or memory (default: three times the records, at least 1GiB)
    #[arg(long, value_name = "BYTES")]
    pub size: Option<String>,
    /// Embedded node: read cache (default: 256MiB)
    #[arg(long, value_name = "BYTES")]
    pub cache: Option<String>,
    /// Embedded node: bytes a second that defrag may read and write (default: 64MiB)
    #[arg(long, value_name = "BYTES")]
    pub defrag_rate: Option<String>,
    /// Embedded node: worker threads (0: one per core)
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Embedded node: how the device is read and written (default: auto)
    #[arg(long, value_enum)]
    pub engine: Option<EngineArg>,

    /// Namespace of the records
    #[arg(long, default_value = "test", value_name = "NAME")]
    pub namespace: String,
    /// Set of the records
    #[arg(long, default_value = "bench", value_name = "NAME")]
    pub set: String,
    /// Load the records and stop
    #[arg(long, conflicts_with_all = ["skip_load", "scan_all"])]
    pub load: bool,
    /// The records are there already
    #[arg(long)]
    pub skip_load: bool,
    /// Measure full scans of the set instead of operations
    #[arg(long, value_name = "PASSES", num_args = 0..=1, default_missing_value = "1")]
    pub scan_all: Option<u32>,

    /// A YCSB workload: a update heavy, b read mostly, c read only, d read latest, e short scans, f read-modify-write
    #[arg(long, value_enum, ignore_case = true)]
    pub workload: Option<Workload>,
    /// Share of reads
    #[arg(long, value_name = "SHARE")]
    pub read: Option<f64>,
    /// Share of updates
    #[arg(long, value_name = "SHARE")]
    pub update: Option<f64>,
    /// Share of inserts of new records
    #[arg(long, value_name = "SHARE")]
    pub insert: Option<f64>,
    /// Share of short scans
    #[arg(long, value_name = "SHARE")]
    pub scan: Option<f64>,
    /// Share of read-modify-writes
    #[arg(long, value_name = "SHARE")]
    pub rmw: Option<f64>,
    /// Share of calls of --function
    #[arg(long, value_name = "SHARE")]
    pub call: Option<f64>,
    /// Share of operates that add 1 to the bin `visits`, to compare functions with
    #[arg(long, value_name = "SHARE")]
    pub add: Option<f64>,
    /// The function to call on records: MODULE.FUNCTION; its arguments as JSON follow with --arguments
    #[arg(long, value_name = "MODULE.FUNCTION")]
    pub function: Option<String>,
    /// Arguments of --function
    #[arg(long, value_name = "JSON", requires = "function")]
    pub arguments: Option<String>,
    /// Reads go in batches of so many
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub batch: u32,
    /// Records of a short scan, at most (a number from 1 to this, drawn)
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub scan_records: u32,
    /// Which records (default: the workload's, else uniform)
    #[arg(long, value_enum)]
    pub distribution: Option<Distribution>,
    /// Skew of zipfian and latest
    #[arg(long, value_name = "THETA", default_value_t = ZIPFIAN_THETA)]
    pub theta: f64,

    /// Records, such as 1M or 250k
    #[arg(long, value_name = "N", default_value = "1M")]
    pub records: String,
    /// Bytes of a value: 1024, 100..2000, or a weighted list 128:50,1024:40,64KiB:10
    #[arg(long, value_name = "SIZES", default_value = "1024")]
    pub value_bytes: String,
    /// Bins of a record; 0: plain bytes, as get_bytes and set_bytes. An update writes one bin of several
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub bins: u32,
    /// Updates write all bins
    #[arg(long)]
    pub write_all_bins: bool,
    /// Type of the keys
    #[arg(long, value_enum, default_value = "int")]
    pub key_type: KeyType,

    /// Connections
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1)]
    pub connections: u32,
    /// Requests under way on each connection, at most (default: 64, with --rate 1024)
    #[arg(short = 'i', long, value_name = "N")]
    pub in_flight: Option<u32>,
    /// Threads of the generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: u32,
    /// Open loop: so many requests a second in all, latency counted from each one's intended start
    #[arg(short = 'r', long, value_name = "N")]
    pub rate: Option<String>,
    /// Open loop: spacing of the requests
    #[arg(long, value_enum, default_value = "fixed")]
    pub arrivals: Arrivals,
    /// Open loop: requests due within so many microseconds go together (0: each at its own time, at more CPU)
    #[arg(long, value_name = "US", default_value_t = 20)]
    pub pace_us: u32,
    /// How long to measure (default: 30s, with --ops until they are done)
    #[arg(short = 'd', long, value_name = "TIME")]
    pub duration: Option<String>,
    /// Stop after so many operations
    #[arg(long, value_name = "N")]
    pub ops: Option<String>,
    /// Run so long before measuring (default: 2s, with --ops 0)
    #[arg(long, value_name = "TIME")]
    pub warmup: Option<String>,
    /// Deadline of each request in ms (0: the node's default)
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub deadline_ms: u32,
    /// Seed of keys, order and values; a later run on the same records needs the same
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Check every byte of what is read
    #[arg(long)]
    pub verify: bool,
    /// Form of the report
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// No live line
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Be the node of --embedded (what `bench` starts itself; the configuration comes on standard input)
    #[arg(long, hide = true)]
    pub serve_child: bool,
}

const EXAMPLES: &str = "\
Examples:
  outcrop bench --embedded --workload c                     one command: starts a node, loads 1M records, reads them
  outcrop bench --embedded --values flash --cache 0 --workload a --in-flight 256
  outcrop bench --load --records 10M                        only load, into a node that runs
  outcrop bench --skip-load --workload b --rate 200k        open loop: a stall shows in p99
  outcrop bench --skip-load --read 1 --batch 100            batches of 100 reads
  outcrop bench --skip-load --scan-all 3 --output json      three full scans
  outcrop bench --bins 10 --call 1 --function shop.visit    calls of a function that is deployed
Exit codes: 0 measured, 3 measured but the load is incomplete, values were wrong or every operation failed, others as for every command.";

fn within(option: &'static str, value: u32, min: u32, max: u32) -> Result<u32, ArgsError> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(range(option, format!("{min} to {max}"), value)) }
}

impl BenchArgs {
    /// Checks the options against each other.
    pub fn settle(&self) -> Result<Plan, ArgsError> {
        outcrop_wire::key::check_namespace_name(&self.namespace)?;
        outcrop_wire::key::check_set_name(&self.set)?;
        let described = self.data.is_some() || self.workers.is_some() || self.engine.is_some();
        let described = described || self.values.is_some() || self.commit.is_some();
        let described = described || [&self.size, &self.cache, &self.defrag_rate].iter().any(|it| it.is_some());
        if described && !self.embedded {
            return Err(ArgsError::NotEmbedded);
        }
        let (shares, distribution) = self.shares()?;
        let batch = within("batch", self.batch, 0, BATCH_MAX as u32)? as u16;
        let mix = Mix::new(shares, batch > 0)?;
        let pacing = self.pacing()?;
        let in_flight = self.in_flight.unwrap_or(if pacing == Pacing::Closed { 64 } else { 1_024 });
        let in_flight = within("in-flight", in_flight, 1, LANE_INFLIGHT_MAX as u32)?;
        let records = parse_count("records", &self.records)?;
        let value_bytes: Sizes = self.value_bytes.parse()?;
        if records == 0 || records > i64::MAX as u64 / 4 {
            return Err(range("records", "1 or more", records));
        }
        if !self.theta.is_finite() || !(0.0..=10.0).contains(&self.theta) {
            return Err(range("theta", "0 to 10", self.theta));
        }
        let mixed =
            (shares.read > 0.0 || shares.rmw > 0.0) && (shares.update > 0.0 || shares.insert > 0.0 || shares.rmw > 0.0);
        let on_lane_bytes = value_bytes.max().min(LANE_VALUE_BYTES_MAX) as u64;
        if mixed && u64::from(in_flight) * on_lane_bytes > UNDER_WAY_BYTES_MAX {
            // Requests could fill the node's window while replies fill ours, each waiting for the other.
            let most =
                format!("{} with values this large (or use more --connections)", UNDER_WAY_BYTES_MAX / on_lane_bytes);
            return Err(range("in-flight", format!("at most {most}"), in_flight));
        }
        let ops_max = self.ops.as_deref().map(|ops| parse_count("ops", ops)).transpose()?;
        let work = match self.scan_all {
            _ if self.load => Work::Nothing,
            Some(passes) => Work::ScanAll(within("scan-all", passes, 1, 1_000_000)?),
            None => Work::Operations(mix),
        };
        Ok(Plan {
            namespace: self.namespace.clone(),
            set: self.set.clone(),
            load: !self.skip_load,
            work,
            shares,
            batch,
            call: self.call_of(shares)?,
            scan_records: within("scan-records", self.scan_records, 1, 1_000_000)?,
            distribution,
            theta: self.theta,
            records,
            value_bytes,
            bins: within("bins", self.bins, 0, BINS_MAX as u32)? as u16,
            write_all_bins: self.write_all_bins,
            key_type: self.key_type,
            connections: within("connections", self.connections, 1, CONNECTIONS_MAX)?,
            in_flight,
            // A load that isn't what is measured shouldn't take an hour because few requests are to be under way later.
            load_in_flight: if self.load { in_flight } else { in_flight.max(LOAD_IN_FLIGHT_MIN) },
            threads: within("threads", self.threads, 1, THREADS_MAX.min(self.connections.max(1)))?,
            pacing,
            duration: parse_time(self.duration.as_deref().unwrap_or(if ops_max.is_some() { "24h" } else { "30s" }))?,
            ops_max,
            warmup: parse_time(self.warmup.as_deref().unwrap_or(if ops_max.is_some() { "0" } else { "2s" }))?,
            deadline_ms: self.deadline_ms,
            seed: self.seed,
            verify: self.verify,
        })
    }

    fn shares(&self) -> Result<(Shares, Distribution), ArgsError> {
        let own = [self.read, self.update, self.insert, self.scan, self.rmw, self.call, self.add];
        let (shares, usual) = match self.workload {
            Some(_) if own.iter().any(Option::is_some) => return Err(ArgsError::TwoMixes),
            Some(workload) => workload.shares(),
            None if own.iter().all(Option::is_none) => {
                (Shares { read: 100.0, ..Shares::default() }, Distribution::Uniform)
            }
            None => {
                let [read, update, insert, scan, rmw, call, add] = own.map(|share| share.unwrap_or(0.0));
                (Shares { read, update, insert, scan, rmw, call, add }, Distribution::Uniform)
            }
        };
        Ok((shares, self.distribution.unwrap_or(usual)))
    }

    /// What calls call; a function without a share of calls, or the other way round, is a slip.
    fn call_of(&self, shares: Shares) -> Result<Option<Call>, ArgsError> {
        let wrong = |message: String| ArgsError::Call(message);
        let Some(function) = &self.function else {
            return match shares.call > 0.0 {
                true => Err(wrong("--call needs --function MODULE.FUNCTION".to_owned())),
                false => Ok(None),
            };
        };
        if shares.call <= 0.0 {
            return Err(wrong("--function is called by a share of calls: give --call".to_owned()));
        }
        FunctionPath::parse(function).map_err(|error| wrong(error.to_string()))?;
        let arguments = parse_arguments(self.arguments.as_deref()).map_err(|failure| wrong(failure.message))?;
        let arguments = archive_value(&arguments).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(Call { function: function.clone(), arguments: arguments.to_vec() }))
    }

    fn pacing(&self) -> Result<Pacing, ArgsError> {
        let pace_us = within("pace-us", self.pace_us, 0, 10_000)?;
        let Some(rate) = &self.rate else { return Ok(Pacing::Closed) };
        let rate_per_sec = parse_count("rate", rate)?;
        if rate_per_sec == 0 {
            return Err(range("rate", "1 or more a second", rate));
        }
        Ok(Pacing::Open { rate_per_sec: rate_per_sec as f64, arrivals: self.arrivals, pace_us })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::super::mix::Kind;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn settle(line: &str) -> Result<Plan, ArgsError> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).expect("options").args.settle()
    }

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn defaults_are_a_closed_loop_of_uniform_reads_over_a_million_records() {
        let plan = settle("").expect("defaults");
        assert_eq!((plan.records, plan.connections, plan.in_flight, plan.load), (1_000_000, 1, 64, true));
        assert_eq!((plan.pacing, plan.distribution), (Pacing::Closed, Distribution::Uniform));
        assert_eq!(plan.value_bytes.max(), 1_024);
        assert!(matches!(&plan.work, Work::Operations(mix) if mix.has(Kind::Read) && !mix.has(Kind::Update)));
    }

    #[test]
    fn a_workload_brings_its_distribution_and_can_be_overruled() {
        assert_eq!(settle("--workload D").expect("d").distribution, Distribution::Latest);
        assert_eq!(settle("--workload a --distribution uniform").expect("a").distribution, Distribution::Uniform);
        assert_eq!(settle("--workload a --read 5"), Err(ArgsError::TwoMixes));
        assert!(matches!(settle("--workload e").expect("e").work, Work::Operations(mix) if mix.has(Kind::Scan)));
    }

    #[test]
    fn an_open_loop_has_more_room_for_what_is_under_way() {
        let plan = settle("--rate 200k --arrivals poisson --warmup 500ms -d 2m").expect("open");
        let expected = Pacing::Open { rate_per_sec: 200_000.0, arrivals: Arrivals::Poisson, pace_us: 20 };
        assert_eq!((plan.pacing, plan.in_flight), (expected, 1_024));
        assert_eq!((plan.warmup, plan.duration), (Duration::from_millis(500), Duration::from_secs(120)));
    }

    #[test]
    fn wrong_values_are_refused_with_the_option_that_has_them() {
        for line in [
            "--batch 5000",
            "--in-flight 0",
            "--in-flight 2000",
            "--in-flight 512 --read 1 --update 1 --value-bytes 64KiB",
            "--records 0",
            "--records 1.5",
            "--records x",
            "--connections 0",
            "--threads 2",
            "--theta=-1",
            "--rate 0",
            "--rate x",
            "--bins 2000",
            "--scan-records 0",
            "--ops=-1",
            "--scan-all 0",
            "--pace-us 20000",
        ] {
            let option = line.split([' ', '=']).next().expect("an option").trim_start_matches('-');
            let error = settle(line).expect_err(line);
            assert!(matches!(error, ArgsError::Range { option: named, .. } if named == option), "{line}: {error}");
        }
        assert!(matches!(settle("--duration 5x"), Err(ArgsError::Time(_))));
        assert!(matches!(settle("--duration=-5s"), Err(ArgsError::Time(_))));
        assert!(matches!(settle("--set a/b"), Err(ArgsError::Name(_))));
        assert_eq!(settle("--values ram --cache 0"), Err(ArgsError::NotEmbedded));
        assert!(matches!(settle("--read 0"), Err(ArgsError::Mix(MixError::Empty))));
        for line in
            ["--call 1", "--read 1 --function a.b", "--call 1 --function shop", "--call 1 --function a.b --arguments {"]
        {
            assert!(matches!(settle(line), Err(ArgsError::Call(_))), "{line}");
        }
    }

    #[test]
    fn counts_and_times_have_units() {
        assert_eq!(parse_count("ops", "1.5M"), Ok(1_500_000));
        assert_eq!(parse_count("ops", "10_000"), Ok(10_000));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_time("3"), Ok(Duration::from_secs(3)));
        assert!(parse_time("1e300h").is_err() && parse_time("").is_err() && parse_time("-1s").is_err());
    }
}
