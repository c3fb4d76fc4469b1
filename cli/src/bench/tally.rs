//! Counts and latency histograms, kept by each thread and added together once a second.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::mix::Kind;

/// Finest difference that is told, in ns.
const LATENCY_NS_MIN: u64 = 64;
/// Anything longer counts as this long: 20 minutes.
const LATENCY_NS_MAX: u64 = 20 * 60 * 1_000_000_000;
/// Relative error of a percentile at most 0.1%.
const SIGNIFICANT_DIGITS: u8 = 3;

/// What became of the operations of one kind.
#[derive(Debug, Clone, Default)]
pub struct KindTally {
    /// Nanoseconds of those that succeeded; made with the first.
    latencies_ns: Option<Histogram<u64>>,
    /// Operations that succeeded.
    pub done: u64,
    /// Records that they read or wrote.
    pub records: u64,
    /// Bytes of their records, on the wire.
    pub bytes: u64,
    /// Failures by the stable name of their code.
    pub errors: BTreeMap<&'static str, u64>,
}

impl KindTally {
    /// Counts a success.
    pub fn done(&mut self, latency_ns: u64, records: u64, bytes: u64) {
        self.done += 1;
        self.records += records;
        self.bytes += bytes;
        self.latencies_ns.get_or_insert_with(histogram).saturating_record(latency_ns);
    }

    /// Counts a failure.
    pub fn failed(&mut self, code: &'static str, count: u64) {
        *self.errors.entry(code).or_default() += count;
    }

    /// Failures of all codes.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The latencies, if there are any.
    pub fn latencies_ns(&self) -> Option<&Histogram<u64>> {
        self.latencies_ns.as_ref()
    }

    fn add(&mut self, other: &KindTally) {
        self.done += other.done;
        self.records += other.records;
        self.bytes += other.bytes;
        other.errors.iter().for_each(|(code, count)| *self.errors.entry(code).or_default() += count);
        if let Some(theirs) = &other.latencies_ns {
            add_histogram(self.latencies_ns.get_or_insert_with(histogram), theirs);
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    kinds: [KindTally; Kind::ALL.len()],
    /// Nanoseconds by which requests of an open loop were sent after they could have been: the generator's own fault.
    lags_ns: Option<Histogram<u64>>,
    /// Requests of the schedule that were never sent: at the end the node was still behind.
    pub unsent: u64,
    /// Requests sent again (load phase only).
    pub retries: u64,
    /// Connections made anew after a loss.
    pub reconnects: u64,
    /// When the last counted operation ended.
    pub last_ns: u64,
}

/// A histogram with this tool's range and precision.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
        .expect("constant bounds that the crate allows: low >= 1, high >= 2 * low, at most 5 digits")
}

fn add_histogram(into: &mut Histogram<u64>, other: &Histogram<u64>) {
    into.add(other).expect("both were made by `histogram`, so their ranges agree");
}

impl Tally {
    /// The counts of a kind.
    pub fn kind(&mut self, kind: Kind) -> &mut KindTally {
        &mut self.kinds[kind as usize]
    }

    /// Kinds that occurred.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, &KindTally)> {
        let all = Kind::ALL.into_iter().map(|kind| (kind, &self.kinds[kind as usize]));
        all.filter(|(_, tally)| tally.done > 0 || !tally.errors.is_empty())
    }

    /// Counts how late an open loop's request was sent.
    pub fn lagged(&mut self, lag_ns: u64) {
        self.lags_ns.get_or_insert_with(histogram).saturating_record(lag_ns);
    }

    /// Lags, if there was an open loop.
    pub fn lags_ns(&self) -> Option<&Histogram<u64>> {
        self.lags_ns.as_ref()
    }

    /// Takes another's counts in.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.add(theirs);
        }
        if let Some(theirs) = &other.lags_ns {
            add_histogram(self.lags_ns.get_or_insert_with(histogram), theirs);
        }
        self.unsent += other.unsent;
        self.retries += other.retries;
        self.reconnects += other.reconnects;
        self.last_ns = self.last_ns.max(other.last_ns);
    }

    /// Successes of all kinds.
    pub fn done(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.done).sum()
    }

    /// Records of all kinds.
    pub fn records(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.records).sum()
    }

    /// Bytes of all kinds.
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.bytes).sum()
    }

    /// Failures of all kinds.
    pub fn failures(&self) -> u64 {
        self.kinds.iter().map(KindTally::failures).sum()
    }

    /// Failures with this code, of all kinds.
    #[cfg(test)]
    pub fn failures_of(&self, code: &str) -> u64 {
        self.kinds.iter().filter_map(|kind| kind.errors.get(code)).sum()
    }

    /// Latencies of all kinds together.
    pub fn all_latencies_ns(&self) -> Histogram<u64> {
        let mut all = histogram();
        self.kinds.iter().filter_map(KindTally::latencies_ns).for_each(|one| add_histogram(&mut all, one));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_histograms_are_those_of_all_operations_together() {
        let (mut left, mut right, mut both) = (Tally::default(), Tally::default(), Tally::default());
        for step in 0..10_000_u64 {
            let latency_ns = 1_000 + step * step;
            let half = if step % 3 == 0 { &mut left } else { &mut right };
            half.kind(Kind::Read).done(latency_ns, 1, 1_024);
            both.kind(Kind::Read).done(latency_ns, 1, 1_024);
        }
        left.kind(Kind::Update).failed("overloaded", 2);
        right.kind(Kind::Update).failed("overloaded", 3);
        right.kind(Kind::Update).failed("hot_key", 1);
        (left.last_ns, right.last_ns, right.unsent) = (5, 9, 4);
        left.add(&right);
        assert_eq!(left.all_latencies_ns(), both.all_latencies_ns());
        assert_eq!((left.done(), left.records(), left.bytes()), (10_000, 10_000, 10_240_000));
        assert_eq!((left.failures(), left.failures_of("overloaded"), left.failures_of("hot_key")), (6, 5, 1));
        assert_eq!((left.last_ns, left.unsent), (9, 4));
        let kinds: Vec<Kind> = left.kinds().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::Read, Kind::Update]);
    }

    #[test]
    fn percentiles_are_exact_to_a_thousandth_and_extremes_are_kept() {
        let mut tally = Tally::default();
        (1..=1_000_u64).for_each(|us| tally.kind(Kind::Read).done(us * 1_000, 1, 0));
        tally.kind(Kind::Read).done(u64::MAX, 1, 0);
        let all = tally.all_latencies_ns();
        let p99 = all.value_at_quantile(0.99) as f64;
        assert!((p99 - 990_990.0).abs() < 2_000.0, "{p99}");
        assert!(all.max() >= LATENCY_NS_MAX);
    }
}
