//! What a function's calls came to, over all versions of its module since the node started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use outcrop_wire::Code;
use parking_lot::Mutex;

use crate::telemetry::stats::FunctionCallStats;
use crate::udf::limits::LimitKind;
use crate::udf::outcome::Usage;

/// Longest latency that the histogram tells apart; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Numbers of one function.
#[derive(Debug)]
pub struct FunctionStats {
    calls: AtomicU64,
    fuel: AtomicU64,
    records: AtomicU64,
    memory_bytes_max: AtomicU64,
    logs_dropped: AtomicU64,
    latency_us_sum: AtomicU64,
    failures: Mutex<BTreeMap<u16, u64>>,
    latency_us: Mutex<Histogram<u64>>,
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

impl Default for FunctionStats {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2);
        FunctionStats {
            calls: AtomicU64::default(),
            fuel: AtomicU64::default(),
            records: AtomicU64::default(),
            memory_bytes_max: AtomicU64::default(),
            logs_dropped: AtomicU64::default(),
            latency_us_sum: AtomicU64::default(),
            failures: Mutex::default(),
            latency_us: Mutex::new(histogram.expect("the bounds are constant, and in order")),
        }
    }
}

impl FunctionStats {
    /// Counts a call that ended with `code`.
    pub fn record(&self, code: Code, usage: &Usage, latency: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.fuel.fetch_add(usage.fuel, Ordering::Relaxed);
        self.records.fetch_add(usage.records, Ordering::Relaxed);
        self.memory_bytes_max.fetch_max(usage.memory_bytes, Ordering::Relaxed);
        if code != Code::Ok {
            *self.failures.lock().entry(code as u16).or_default() += 1;
        }
        self.logs_dropped.fetch_add(usage.logs_dropped, Ordering::Relaxed);
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us_sum.fetch_add(latency_us, Ordering::Relaxed);
        self.latency_us.lock().saturating_record(latency_us.clamp(1, LATENCY_US_MAX));
    }

    /// The numbers as metrics show them.
    pub fn call_stats(&self, module: &str, function: &str) -> FunctionCallStats {
        let mut outcomes = vec![(Code::Ok.name(), 0)];
        let mut limits = Vec::new();
        for (code, count) in self.failures.lock().iter() {
            let Some(code) = Code::from_number(*code) else { continue };
            outcomes.push((code.name(), *count));
            if let Some(kind) = LimitKind::ALL.iter().find(|kind| kind.code() == code) {
                limits.push((kind.name(), *count));
            }
        }
        let failed: u64 = outcomes.iter().map(|(_, count)| count).sum();
        outcomes[0].1 = self.calls.load(Ordering::Relaxed).saturating_sub(failed);
        let latency = self.latency_us.lock();
        let mut below = 0;
        let latency_us = LATENCY_BOUNDS_US.map(|bound| {
            let count = latency.count_between(below, bound);
            below = bound + 1;
            (bound, count)
        });
        let counted: u64 = latency_us.iter().map(|(_, count)| count).sum();
        FunctionCallStats {
            module: module.to_owned(),
            function: function.to_owned(),
            outcomes,
            limits,
            fuel: self.fuel.load(Ordering::Relaxed),
            memory_bytes_max: self.memory_bytes_max.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            logs_dropped: self.logs_dropped.load(Ordering::Relaxed),
            latency_slower: latency.len().saturating_sub(counted),
            latency_us: latency_us.to_vec(),
            latency_us_sum: self.latency_us_sum.load(Ordering::Relaxed),
        }
    }

    /// The numbers so far.
    pub fn numbers(&self) -> FunctionNumbers {
        let latency = self.latency_us.lock();
        let failures = self.failures.lock();
        FunctionNumbers {
            calls: self.calls.load(Ordering::Relaxed),
            failures: failures.iter().filter_map(|(code, n)| Some((Code::from_number(*code)?, *n))).collect(),
            fuel: self.fuel.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            memory_bytes_max: self.memory_bytes_max.load(Ordering::Relaxed),
            latency_us_p50: latency.value_at_quantile(0.5),
            latency_us_p99: latency.value_at_quantile(0.99),
            latency_us_max: latency.max(),
        }
    }
}
