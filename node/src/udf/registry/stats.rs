//! What a function's calls came to, over all versions of its module since the node started.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use outcrop_wire::Code;
use parking_lot::Mutex;

use crate::telemetry::stats::FunctionCallStats;
use crate::udf::limits::LimitKind;
use crate::udf::outcome::Usage;

/// Longest latency that the histogram tells apart; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Numbers of one function, behind one lock: a call takes it once, at its end.
#[derive(Debug, Default)]
pub struct FunctionStats(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    calls: u64,
    fuel: u64,
    records: u64,
    memory_bytes_max: u64,
    logs_dropped: u64,
    latency_us_sum: u64,
    failures: BTreeMap<u16, u64>,
    latency_us: Histogram<u64>,
}

/// Bounds of the latency buckets that metrics show: four to the next.
const LATENCY_BOUNDS_US: [u64; 12] =
    [1 << 4, 1 << 6, 1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26];

/// A copy of the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionNumbers {
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Of these, those that failed, by code.
    pub failures: Vec<(Code, u64)>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// Records that queries went through.
    pub records: u64,
    /// High water of an instance's memory.
    pub memory_bytes_max: u64,
    /// Median latency.
    pub latency_us_p50: u64,
    /// 99th percentile.
    pub latency_us_p99: u64,
    /// Longest.
    pub latency_us_max: u64,
}

impl Default for Counted {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2);
        Counted {
            calls: 0,
            fuel: 0,
            records: 0,
            memory_bytes_max: 0,
            logs_dropped: 0,
            latency_us_sum: 0,
            failures: BTreeMap::new(),
            latency_us: histogram.expect("the bounds are constant, and in order"),
        }
    }
}

impl FunctionStats {
    /// Counts a call that ended with `code`.
    pub fn record(&self, code: Code, usage: &Usage, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let mut counted = self.0.lock();
        counted.calls += 1;
        counted.fuel = counted.fuel.saturating_add(usage.fuel);
        counted.records = counted.records.saturating_add(usage.records);
        counted.memory_bytes_max = counted.memory_bytes_max.max(usage.memory_bytes);
        counted.logs_dropped = counted.logs_dropped.saturating_add(usage.logs_dropped);
        counted.latency_us_sum = counted.latency_us_sum.saturating_add(latency_us);
        counted.latency_us.saturating_record(latency_us.clamp(1, LATENCY_US_MAX));
        if code != Code::Ok {
            *counted.failures.entry(code as u16).or_default() += 1;
        }
    }

    /// The numbers as metrics show them.
    pub fn call_stats(&self, module: &str, function: &str) -> FunctionCallStats {
        let counted = self.0.lock();
        let mut outcomes = vec![(Code::Ok.name(), 0)];
        let mut limits = Vec::new();
        for (code, count) in &counted.failures {
            let Some(code) = Code::from_number(*code) else { continue };
            outcomes.push((code.name(), *count));
            if let Some(kind) = LimitKind::ALL.iter().find(|kind| kind.code() == code) {
                limits.push((kind.name(), *count));
            }
        }
        let failed: u64 = outcomes.iter().map(|(_, count)| count).sum();
        outcomes[0].1 = counted.calls.saturating_sub(failed);
        let latency = &counted.latency_us;
        let mut below = 0;
        let latency_us = LATENCY_BOUNDS_US.map(|bound| {
            let count = latency.count_between(below, bound);
            below = bound + 1;
            (bound, count)
        });
        let in_buckets: u64 = latency_us.iter().map(|(_, count)| count).sum();
        FunctionCallStats {
            module: module.to_owned(),
            function: function.to_owned(),
            outcomes,
            limits,
            fuel: counted.fuel,
            memory_bytes_max: counted.memory_bytes_max,
            records: counted.records,
            logs_dropped: counted.logs_dropped,
            latency_slower: latency.len().saturating_sub(in_buckets),
            latency_us: latency_us.to_vec(),
            latency_us_sum: counted.latency_us_sum,
        }
    }

    /// The numbers so far.
    pub fn numbers(&self) -> FunctionNumbers {
        let counted = self.0.lock();
        let latency = &counted.latency_us;
        FunctionNumbers {
            calls: counted.calls,
            failures: counted.failures.iter().filter_map(|(code, n)| Some((Code::from_number(*code)?, *n))).collect(),
            fuel: counted.fuel,
            records: counted.records,
            memory_bytes_max: counted.memory_bytes_max,
            latency_us_p50: latency.value_at_quantile(0.5),
            latency_us_p99: latency.value_at_quantile(0.99),
            latency_us_max: latency.max(),
        }
    }
}
