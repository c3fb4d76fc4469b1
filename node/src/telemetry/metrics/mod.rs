//! Counters, gauges and latency histograms of requests and connections, cheap enough for requests of a microsecond.
//!
//! Each worker counts into a stripe of its own, so no two cores write the same cache line; reading adds the stripes up.
//! A worker's stripe has one writer, so an addition is a plain load and store; threads that aren't workers share one
//! more stripe, where it is an atomic addition. The hot path takes no lock and allocates nothing.

mod collect;
mod encode;
mod functions;
mod histogram;
mod jobs;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_wire::{Code, Verb};

pub use self::encode::{Exposition, RenderError};
use self::histogram::{Histogram, Snapshot};
use super::stats::{QuicStats, VerbStats};

const VERBS: usize = Verb::ALL.len();
const CODES: usize = Code::ALL.len();

/// Things that happen, counted from the node's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Connections whose handshake succeeded.
    ConnectionsAccepted,
    /// Connection attempts refused because there were too many.
    ConnectionsRefused,
    /// Handshakes that failed or took too long.
    HandshakesFailed,
    /// Connection attempts told to prove their address (QUIC Retry).
    Retries,
    /// Connections closed because they were silent.
    IdleTimeouts,
    /// Streams refused because a connection had too many.
    StreamsRefused,
    /// Frames that couldn't be read.
    FramesMalformed,
    /// UDP datagrams sent (counted when a connection ends).
    DatagramsSent,
    /// UDP datagrams received.
    DatagramsReceived,
    /// Packets that were lost and sent again.
    PacketsLost,
    /// Times that a path turned out congested.
    CongestionEvents,
    /// Records sent by scans.
    ScanRecords,
    /// Spans that were exported.
    SpansExported,
    /// Spans dropped because the queue was full or the receiver failed.
    SpansDropped,
}

/// Every counter: name, help.
const COUNTERS: [(Counter, &str, &str); 14] = [
    (Counter::ConnectionsAccepted, "connections_accepted", "Connections whose handshake succeeded"),
    (Counter::ConnectionsRefused, "connections_refused", "Connection attempts refused because there were too many"),
    (Counter::HandshakesFailed, "handshakes_failed", "Handshakes that failed or took too long"),
    (Counter::Retries, "handshake_retries", "Connection attempts told to prove their address (QUIC Retry)"),
    (Counter::IdleTimeouts, "connections_idle_closed", "Connections closed because they were silent"),
    (Counter::StreamsRefused, "streams_refused", "Streams refused because a connection had too many"),
    (Counter::FramesMalformed, "frames_malformed", "Frames that could not be read"),
    (Counter::DatagramsSent, "quic_datagrams_sent", "UDP datagrams sent on connections that have ended"),
    (Counter::DatagramsReceived, "quic_datagrams_received", "UDP datagrams received on connections that have ended"),
    (Counter::PacketsLost, "quic_packets_lost", "QUIC packets lost on connections that have ended"),
    (Counter::CongestionEvents, "quic_congestion_events", "Congestion events of connections that have ended"),
    (Counter::ScanRecords, "scan_records", "Records sent by scans"),
    (Counter::SpansExported, "trace_spans_exported", "Spans exported by OTLP"),
    (Counter::SpansDropped, "trace_spans_dropped", "Spans dropped: the queue was full or the receiver failed"),
];

/// Things that are there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// Requests under way.
    Inflight,
    /// Open connections.
    Connections,
    /// Open lanes.
    Lanes,
    /// Streams with one large request each.
    LargeStreams,
    /// Scans under way.
    Scans,
    /// Memory taken for large requests and replies.
    LargeBytes,
}

/// Every gauge: name, unit of its name, help.
const GAUGES: [(Gauge, &str, &str); 6] = [
    (Gauge::Inflight, "requests_inflight", "Requests under way"),
    (Gauge::Connections, "connections", "Open connections"),
    (Gauge::Lanes, "lanes", "Open lanes"),
    (Gauge::LargeStreams, "large_streams", "Open streams with one large request each"),
    (Gauge::Scans, "scans", "Scans under way"),
    (Gauge::LargeBytes, "large_frame_memory_bytes", "Memory taken for large requests and replies"),
];

/// Place of a code in `Code::ALL`, by its number.
const CODE_PLACES: [u8; CODE_NUMBERS] = {
    let mut places = [0; CODE_NUMBERS];
    let mut place = 0;
    while place < CODES {
        places[Code::ALL[place] as usize] = place as u8;
        place += 1;
    }
    places
};
const CODE_NUMBERS: usize = {
    let (mut place, mut most) = (0, 0);
    while place < CODES {
        if Code::ALL[place] as usize > most {
            most = Code::ALL[place] as usize;
        }
        place += 1;
    }
    most + 1
};

const _: () = {
    assert!(CODES <= u8::MAX as usize);
    let mut place = 0;
    while place < VERBS {
        assert!(Verb::ALL[place] as usize == place + 1, "a verb's number tells its place");
        place += 1;
    }
};

/// One writer's counters. Two cache lines of alignment: the prefetcher takes lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    requests: [[AtomicU64; CODES]; VERBS],
    batch_items: [[AtomicU64; CODES]; VERBS],
    latency: [Histogram; VERBS],
    received_bytes: [AtomicU64; VERBS],
    sent_bytes: [AtomicU64; VERBS],
    counters: [AtomicU64; COUNTERS.len()],
    /// Wrapping: one worker may count up what another counts down.
    gauges: [AtomicU64; GAUGES.len()],
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl Stripe {
    fn new() -> Self {
        Stripe {
            requests: std::array::from_fn(|_| zeros()),
            batch_items: std::array::from_fn(|_| zeros()),
            latency: std::array::from_fn(|_| Histogram::new()),
            received_bytes: zeros(),
            sent_bytes: zeros(),
            counters: zeros(),
            gauges: zeros(),
        }
    }
}

/// A node's counters.
#[derive(Debug)]
pub struct Metrics {
    /// One for each worker, and the last for everyone else.
    stripes: Box<[Stripe]>,
}

impl Metrics {
    /// Counters for this many workers.
    pub fn new(workers: usize) -> Arc<Metrics> {
        Arc::new(Metrics { stripes: (0..=workers).map(|_| Stripe::new()).collect() })
    }

    /// The counters of worker `worker` (0 to the number of workers - 1). Only that worker's thread may use it: two
    /// threads that count at the same moment would lose a count (never more than that). A number out of range gets
    /// [`Metrics::shared`].
    pub fn worker(self: &Arc<Self>, worker: usize) -> WorkerMetrics {
        let last = self.stripes.len() - 1;
        WorkerMetrics { metrics: self.clone(), stripe: worker.min(last), exclusive: worker < last }
    }

    /// Counters for threads that aren't workers; any number of them may count at once.
    pub fn shared(self: &Arc<Self>) -> WorkerMetrics {
        self.worker(usize::MAX)
    }

    fn sum(&self, cell: impl Fn(&Stripe) -> &AtomicU64) -> u64 {
        self.stripes.iter().fold(0, |sum, stripe| sum.wrapping_add(cell(stripe).load(Ordering::Relaxed)))
    }

    /// How often something happened.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.sum(|stripe| &stripe.counters[counter as usize])
    }

    /// How much of something there is. A moment's disagreement between workers never shows as a negative number.
    pub fn gauge(&self, gauge: Gauge) -> i64 {
        (self.sum(|stripe| &stripe.gauges[gauge as usize]) as i64).max(0)
    }

    /// Requests of a verb with a code.
    pub fn requests(&self, verb: Verb, code: Code) -> u64 {
        self.sum(|stripe| &stripe.requests[verb_place(verb)][code_place(code)])
    }

    fn batch_items(&self, verb: Verb, code: Code) -> u64 {
        self.sum(|stripe| &stripe.batch_items[verb_place(verb)][code_place(code)])
    }

    fn latency(&self, verb: Verb) -> Snapshot {
        let mut snapshot = Snapshot::empty();
        self.stripes.iter().for_each(|stripe| snapshot.add(&stripe.latency[verb_place(verb)]));
        snapshot
    }

    /// Every verb that was used, for [`NodeStats`](super::NodeStats).
    pub fn verb_stats(&self) -> Vec<VerbStats> {
        let stats = Verb::ALL.into_iter().map(|verb| {
            let latency = self.latency(verb);
            let errors =
                Code::ALL.iter().filter(|code| !is_answer(**code)).map(|code| self.requests(verb, *code)).sum();
            let (count, place) = (latency.count(), verb_place(verb));
            VerbStats {
                verb: verb.name(),
                requests: count,
                errors,
                received_bytes: self.sum(|stripe| &stripe.received_bytes[place]),
                sent_bytes: self.sum(|stripe| &stripe.sent_bytes[place]),
                latency_us_mean: if count == 0 { 0.0 } else { latency.sum_us() as f64 / count as f64 },
                latency_us_p50: latency.quantile_us(0.5),
                latency_us_p99: latency.quantile_us(0.99),
                latency_us_p999: latency.quantile_us(0.999),
            }
        });
        stats.filter(|stats| stats.requests > 0).collect()
    }

    /// Connections now, for [`NodeStats`](super::NodeStats).
    pub fn quic_stats(&self) -> QuicStats {
        QuicStats {
            connections: self.gauge(Gauge::Connections),
            lanes: self.gauge(Gauge::Lanes),
            large_streams: self.gauge(Gauge::LargeStreams),
            scans: self.gauge(Gauge::Scans),
            inflight: self.gauge(Gauge::Inflight),
        }
    }
}

/// Whether a code is an answer to the question rather than a failure.
pub(super) fn is_answer(code: Code) -> bool {
    matches!(code, Code::Ok | Code::NotFound | Code::AlreadyExists | Code::GenerationMismatch)
}

fn verb_place(verb: Verb) -> usize {
    verb as usize - 1
}

fn code_place(code: Code) -> usize {
    CODE_PLACES[code as usize].into()
}

/// One thread's way to count; cloning is cheap.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    metrics: Arc<Metrics>,
    stripe: usize,
    exclusive: bool,
}

impl WorkerMetrics {
    fn add(&self, cell: &AtomicU64, by: u64) {
        if self.exclusive {
            // The only writer: no locked instruction needed. Readers see the old or the new number.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        } else {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn stripe(&self) -> &Stripe {
        &self.metrics.stripes[self.stripe]
    }

    /// Counts one request that was answered.
    pub fn record(&self, verb: Verb, code: Code, latency: Duration, received_bytes: u64, sent_bytes: u64) {
        let (stripe, place) = (self.stripe(), verb_place(verb));
        self.add(&stripe.requests[place][code_place(code)], 1);
        stripe.latency[place].record(latency.as_micros() as u64, |cell, by| self.add(cell, by));
        self.add(&stripe.received_bytes[place], received_bytes);
        self.add(&stripe.sent_bytes[place], sent_bytes);
    }

    /// Counts one request inside a batch (the batch itself goes through [`WorkerMetrics::record`]).
    pub fn record_batch_item(&self, verb: Verb, code: Code) {
        self.add(&self.stripe().batch_items[verb_place(verb)][code_place(code)], 1);
    }

    /// Counts one more.
    pub fn count(&self, counter: Counter) {
        self.count_by(counter, 1);
    }

    /// Counts `by` more.
    pub fn count_by(&self, counter: Counter, by: u64) {
        self.add(&self.stripe().counters[counter as usize], by);
    }

    /// Raises (or, below zero, lowers) a gauge.
    pub fn gauge(&self, gauge: Gauge, by: i64) {
        self.add(&self.stripe().gauges[gauge as usize], by as u64);
    }

    /// Raises a gauge by `by` until the guard is dropped.
    #[must_use]
    pub fn hold(&self, gauge: Gauge, by: i64) -> GaugeGuard {
        self.gauge(gauge, by);
        GaugeGuard { metrics: self.clone(), gauge, by }
    }

    /// The counters behind it.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// Lowers its gauge when dropped; drop it on the thread that made it.
#[derive(Debug)]
pub struct GaugeGuard {
    metrics: WorkerMetrics,
    gauge: Gauge,
    by: i64,
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.metrics.gauge(self.gauge, -self.by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_at_its_place() {
        for (place, (counter, ..)) in COUNTERS.iter().enumerate() {
            assert_eq!(*counter as usize, place);
        }
        for (place, (gauge, ..)) in GAUGES.iter().enumerate() {
            assert_eq!(*gauge as usize, place);
        }
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code_place(*code), place);
        }
    }

    #[test]
    fn workers_add_up_and_shared_counters_lose_nothing() {
        let metrics = Metrics::new(2);
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let mine = metrics.worker(worker);
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        mine.record(Verb::Get, Code::Ok, Duration::from_micros(100), 64, 1_024);
                        mine.gauge(Gauge::Inflight, 1);
                    }
                });
            }
            for _ in 0..4 {
                let shared = metrics.shared();
                scope.spawn(move || (0..10_000).for_each(|_| shared.count(Counter::Retries)));
            }
        });
        assert_eq!(metrics.requests(Verb::Get, Code::Ok), 20_000);
        assert_eq!(metrics.counter(Counter::Retries), 40_000);
        assert_eq!(metrics.gauge(Gauge::Inflight), 20_000);
        let stats = metrics.verb_stats();
        assert_eq!(stats.len(), 1);
        assert_eq!((stats[0].verb, stats[0].requests, stats[0].errors), ("get", 20_000, 0));
        assert_eq!((stats[0].received_bytes, stats[0].sent_bytes), (1_280_000, 20_480_000));
        assert_eq!(stats[0].latency_us_mean, 100.0);
    }

    #[test]
    fn a_gauge_held_by_one_and_released_by_another_ends_at_zero() {
        let metrics = Metrics::new(2);
        metrics.worker(0).gauge(Gauge::Lanes, 5);
        metrics.worker(1).gauge(Gauge::Lanes, -5);
        let guard = metrics.worker(0).hold(Gauge::LargeBytes, 4_096);
        assert_eq!((metrics.gauge(Gauge::Lanes), metrics.gauge(Gauge::LargeBytes)), (0, 4_096));
        drop(guard);
        assert_eq!(metrics.gauge(Gauge::LargeBytes), 0);
    }
}
