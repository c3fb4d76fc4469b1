//! One span for each sampled request, by OpenTelemetry's conventions for databases, child of the caller's span.
//!
//! The decision falls before anything is made: a caller that sends its context has decided; otherwise a share of
//! requests is taken. An unsampled request costs one comparison; a sampled one keeps a few numbers on the way and turns
//! into a span in the exporting task. No global tracer is involved: each node has its own.

mod convention;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use outcrop_wire::{Code, RequestHeader, TraceContext, Verb};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use self::convention::Finished;
use super::metrics::Metrics;
use super::otlp::{Endpoint, Exporter, Identity, OtlpError, Queue};
use crate::options::TelemetryOptions;
use crate::world::{Clock, Entropy};

/// W3C trace flag: the caller samples.
const SAMPLED: u8 = 1;

/// Events of one span, at most; stages beyond them still count into the times.
const EVENTS_MAX: usize = 16;

/// A step back or jump of the wall clock beyond this is followed.
const ANCHOR_SLACK_MS: u64 = 50;

/// Where a request's time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a worker, a lock or a place in a queue.
    Queue,
    /// Index and memory: the work itself.
    Store,
    /// Waiting for the device to read.
    FlashRead,
    /// Waiting for the write to be durable.
    CommitWait,
    /// Writing the reply.
    Reply,
}

const STAGES: [(&str, &str); 5] = [
    ("queue", "outcrop.queue_us"),
    ("store", "outcrop.store_us"),
    ("flash read", "outcrop.flash_read_us"),
    ("commit wait", "outcrop.commit_wait_us"),
    ("reply", "outcrop.reply_us"),
];

/// What all workers of a node share.
#[derive(Debug)]
struct Shared {
    queue: Queue<Finished>,
    scope: InstrumentationScope,
    port: u16,
    clock: ClockOf,
    /// Ids: seeded once, so that a span doesn't cost system calls.
    ids: Mutex<StdRng>,
    /// A moment on both clocks: spans need microseconds, the wall clock is told in milliseconds.
    anchor: Mutex<(Instant, u64)>,
}

struct ClockOf(Arc<dyn Clock>);

impl std::fmt::Debug for ClockOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Shared {
    fn wall_time(&self, at: Instant) -> SystemTime {
        let mut anchor = self.anchor.lock();
        let (now, now_ms) = (Instant::now(), self.clock.0.now_ms());
        let told_ms = anchor.1 + now.saturating_duration_since(anchor.0).as_millis() as u64;
        if told_ms.abs_diff(now_ms) > ANCHOR_SLACK_MS {
            *anchor = (now, now_ms);
        }
        let base = UNIX_EPOCH + Duration::from_millis(anchor.1);
        match at.checked_duration_since(anchor.0) {
            Some(since) => base + since,
            None => base - anchor.0.saturating_duration_since(at),
        }
    }

    /// A trace's id, unless the caller has one, and a span's.
    fn ids(&self, caller: Option<&TraceContext>) -> ([u8; 16], [u8; 8]) {
        let mut ids = self.ids.lock();
        let trace_id = match caller {
            Some(context) => context.trace_id,
            None => (u128::from(ids.next_u64()) << 64 | u128::from(ids.next_u64())).max(1).to_be_bytes(),
        };
        (trace_id, ids.next_u64().max(1).to_be_bytes())
    }
}

/// A node's tracing: off, or exporting to one receiver.
#[derive(Debug)]
pub struct Tracing {
    on: Option<(Arc<Shared>, Exporter)>,
    threshold: u64,
    seed: u64,
}

impl Tracing {
    /// Sets tracing up as configured; with an OTLP address it starts the exporting task on the current tokio runtime.
    /// `port` is the data port, as spans name it.
    ///
    /// # Errors
    /// The address is wrong or the exporter can't be made. That the receiver isn't there is no error: spans are dropped
    /// and counted until it is.
    pub fn start(
        options: &TelemetryOptions,
        identity: &Identity,
        port: u16,
        metrics: &Arc<Metrics>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Tracing, OtlpError> {
        let seed = entropy.next_u64();
        let Some(url) = &options.otlp else { return Ok(Tracing { on: None, threshold: 0, seed }) };
        let (exporter, queue) = Exporter::start(&Endpoint::parse(url)?, identity, metrics)?;
        let anchor = Mutex::new((Instant::now(), clock.now_ms()));
        let scope = InstrumentationScope::builder("outcrop").with_version(identity.version.clone()).build();
        let mut id_seed = [0; 32];
        id_seed.chunks_mut(16).for_each(|half| half.copy_from_slice(&entropy.next_id()));
        let ids = Mutex::new(StdRng::from_seed(id_seed));
        let shared = Arc::new(Shared { queue, scope, port, clock: ClockOf(clock), ids, anchor });
        Ok(Tracing { on: Some((shared, exporter)), threshold: threshold(options.sample_percent), seed })
    }

    /// Tracing that is off.
    pub fn off() -> Tracing {
        Tracing { on: None, threshold: 0, seed: 0 }
    }

    /// A worker's way to begin spans.
    pub fn worker(&self, worker: usize) -> WorkerTracer {
        let state = AtomicU64::new(self.seed ^ (worker as u64).wrapping_mul(0xA076_1D64_78BD_642F));
        WorkerTracer { shared: self.on.as_ref().map(|(shared, _)| shared.clone()), threshold: self.threshold, state }
    }

    /// Sends what is waiting, within `limit`; call it when no request is under way any more.
    pub async fn shutdown(self, limit: Duration) {
        if let Some((_, exporter)) = self.on {
            exporter.shutdown(limit).await;
        }
    }
}

/// A percentage as a share of 2^64.
fn threshold(percent: f64) -> u64 {
    // Saturates: 100% is every number but one in 2^64.
    (percent / 100.0 * 18_446_744_073_709_551_616.0) as u64
}

/// Decides about and begins spans.
#[derive(Debug)]
pub struct WorkerTracer {
    shared: Option<Arc<Shared>>,
    threshold: u64,
    state: AtomicU64,
}

impl WorkerTracer {
    /// Whether any request can be sampled at all.
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// A span for this request, if it is sampled. `arrived` is when its frame was complete.
    pub fn begin(
        &self,
        header: &RequestHeader,
        namespace: &str,
        peer: SocketAddr,
        arrived: Instant,
    ) -> Option<RequestSpan> {
        let shared = self.shared.as_ref()?;
        let caller = match header.trace {
            Some(context) if context.flags & SAMPLED == 0 => return None,
            Some(context) => Some(context).filter(|context| context.trace_id != [0; 16]),
            None if self.draw() => None,
            None => return None,
        };
        if !shared.queue.has_room() {
            shared.queue.drop_one();
            return None;
        }
        let (trace_id, span_id) = shared.ids(caller.as_ref());
        let context = TraceContext { trace_id, span_id, flags: SAMPLED };
        Some(RequestSpan {
            open: Some(Box::new(Open {
                shared: shared.clone(),
                context,
                caller: caller.map(|context| context.span_id),
                verb: header.verb,
                namespace: namespace.to_owned(),
                set: None,
                peer,
                arrived,
                batch: None,
                stage: (Stage::Queue, arrived),
                times: [Duration::ZERO; STAGES.len()],
                marks: Vec::new(),
                marks_lost: 0,
                store_place: None,
            })),
        })
    }

    /// One draw. The state has one writer, so a lost update between two threads costs nothing but a repeated draw.
    fn draw(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state.store(state, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) < self.threshold
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ending<'a> {
    /// Bytes of the request.
    pub received_bytes: u64,
    /// Bytes of the reply.
    pub sent_bytes: u64,
    /// Records in the reply of a scan.
    pub records: Option<u64>,
    /// The message of a failure.
    pub message: Option<&'a str>,
}

/// A sampled request on its way. Dropped without [`RequestSpan::finish`], it ends as cancelled.
#[derive(Debug)]
pub struct RequestSpan {
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
    context: TraceContext,
    caller: Option<[u8; 8]>,
    verb: Verb,
    namespace: String,
    set: Option<String>,
    peer: SocketAddr,
    arrived: Instant,
    batch: Option<usize>,
    stage: (Stage, Instant),
    times: [Duration; STAGES.len()],
    marks: Vec<(Stage, Instant)>,
    marks_lost: u32,
    store_place: Option<&'static str>,
}

impl RequestSpan {
    /// The context to pass on to whatever this request causes.
    pub fn context(&self) -> Option<TraceContext> {
        self.open.as_ref().map(|open| open.context)
    }

    /// Names the set, once it is known.
    pub fn set(&mut self, set: &str) {
        if let Some(open) = &mut self.open {
            open.set = Some(set.to_owned());
        }
    }

    /// Says how many requests a batch has.
    pub fn batch(&mut self, requests: usize) {
        if let Some(open) = &mut self.open {
            open.batch = Some(requests);
        }
    }

    /// Says where the record came from: `memory` or `flash`.
    pub fn served_from(&mut self, place: &'static str) {
        if let Some(open) = &mut self.open {
            open.store_place = Some(place);
        }
    }

    /// The request goes on to this stage; the time until now counts to the one before.
    pub fn enter(&mut self, stage: Stage) {
        let Some(open) = &mut self.open else { return };
        let now = Instant::now();
        open.settle(now);
        open.stage = (stage, now);
        if open.marks.len() < EVENTS_MAX {
            open.marks.push((stage, now));
        } else {
            open.marks_lost += 1;
        }
    }

    /// Ends the span.
    pub fn finish(mut self, code: Code, ending: Ending<'_>) {
        if let Some(open) = self.open.take() {
            open.end(Some(code), ending);
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.end(None, Ending::default());
        }
    }
}

impl Open {
    fn settle(&mut self, now: Instant) {
        self.times[self.stage.0 as usize] += now.saturating_duration_since(self.stage.1);
    }

    fn end(mut self: Box<Self>, code: Option<Code>, ending: Ending<'_>) {
        let ended = Instant::now();
        self.settle(ended);
        let message = ending.message.map(str::to_owned);
        let shared = self.shared.clone();
        let ending = Ending { message: None, ..ending };
        shared.queue.offer(Finished { open: self, code, ending, message, ended });
    }
}

#[cfg(test)]
mod tests {
    use outcrop_wire::NamespaceId;

    use super::*;
    use crate::telemetry::metrics::Counter;
    use crate::world::{ManualClock, SeededEntropy};

    fn header(trace: Option<TraceContext>) -> RequestHeader {
        RequestHeader { request_id: 1, verb: Verb::Get, namespace: NamespaceId(0), deadline_ms: 0, trace }
    }

    fn context(flags: u8) -> TraceContext {
        TraceContext { trace_id: [7; 16], span_id: [9; 8], flags }
    }

    /// Tracing towards an address where nobody listens: what is begun and dropped can be seen all the same.
    fn tracing(percent: f64, metrics: &Arc<Metrics>) -> Tracing {
        let options = TelemetryOptions {
            otlp: Some("http://127.0.0.1:1".to_owned()),
            sample_percent: percent,
            ..TelemetryOptions::default()
        };
        let identity = Identity { node_id: "1".to_owned(), version: "0".to_owned() };
        let (clock, entropy) = (Arc::new(ManualClock::new(1_000_000)), Arc::new(SeededEntropy::new(1)));
        Tracing::start(&options, &identity, 7420, metrics, clock, entropy).expect("an address that can be used")
    }

    fn peer() -> SocketAddr {
        ([127, 0, 0, 1], 5).into()
    }

    #[tokio::test]
    async fn the_caller_decides_and_then_the_share() {
        let metrics = Metrics::new(1);
        for (percent, least, most) in [(0.0, 0, 0), (1.0, 60, 150), (100.0, 10_000, 10_000)] {
            let tracer = tracing(percent, &metrics).worker(0);
            let begun = |trace| {
                let span = tracer.begin(&header(trace), "shop", peer(), Instant::now());
                span.map(|mut span| {
                    let context = span.context();
                    span.open = None;
                    context
                })
            };
            let taken = (0..10_000).filter(|_| begun(None).is_some()).count();
            assert!((least..=most).contains(&taken), "{percent}%: {taken} of 10,000");
            assert!(begun(Some(context(0))).is_none(), "the caller said no");
            let child = begun(Some(context(1))).flatten().expect("the caller said yes");
            assert_eq!(child.trace_id, [7; 16]);
            assert_ne!(child.span_id, [9; 8]);
        }
        let off = Tracing::off().worker(0);
        assert!(off.begin(&header(Some(context(1))), "shop", peer(), Instant::now()).is_none());
    }

    #[tokio::test]
    async fn a_full_queue_drops_spans_and_counts_them() {
        let metrics = Metrics::new(1);
        let tracing = tracing(100.0, &metrics);
        let tracer = tracing.worker(0);
        // The exporting task shares this thread and doesn't run between two awaits: the queue only fills.
        for _ in 0..super::super::otlp::QUEUE_SPANS_MAX + 100 {
            drop(tracer.begin(&header(None), "shop", peer(), Instant::now()));
        }
        assert_eq!(metrics.counter(Counter::SpansDropped), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn times_go_to_the_stage_that_took_them() {
        let metrics = Metrics::new(1);
        let tracer = tracing(100.0, &metrics).worker(0);
        let mut span = tracer.begin(&header(Some(context(1))), "shop", peer(), Instant::now()).expect("sampled");
        span.set("products");
        for (stage, wait_us) in [(Stage::Store, 50), (Stage::FlashRead, 300), (Stage::Store, 20), (Stage::Reply, 7)] {
            // Paused time moves in whole milliseconds when slept, so it is moved by hand.
            span.enter(stage);
            tokio::time::advance(Duration::from_micros(wait_us)).await;
        }
        let open = span.open.as_mut().expect("not finished");
        open.settle(Instant::now());
        assert_eq!(open.name(), "get shop.products");
        assert_eq!(open.times.map(|time| time.as_micros()), [0, 70, 300, 0, 7]);
        let attributes = open.attributes(Some(Code::DeviceError), &Ending::default());
        let told =
            |key: &str| attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string());
        assert_eq!(told("db.response.status_code").as_deref(), Some("503"));
        assert_eq!(told("error.type").as_deref(), Some("device_error"));
        assert_eq!(told("outcrop.flash_read_us").as_deref(), Some("300"));
        assert_eq!(told("outcrop.queue_us"), None);
        let missing = open.attributes(Some(Code::NotFound), &Ending::default());
        assert!(missing.iter().all(|pair| pair.key.as_str() != "error.type"), "a miss is no error");
    }

    #[tokio::test]
    async fn spans_follow_the_wall_clock() {
        let clock = Arc::new(ManualClock::new(5_000));
        let metrics = Metrics::new(1);
        let options = TelemetryOptions { otlp: Some("http://127.0.0.1:1".to_owned()), ..TelemetryOptions::default() };
        let identity = Identity { node_id: "1".to_owned(), version: "0".to_owned() };
        let entropy = Arc::new(SeededEntropy::new(1));
        let tracing = Tracing::start(&options, &identity, 1, &metrics, clock.clone(), entropy).expect("an address");
        let (shared, _) = tracing.on.as_ref().expect("on");
        clock.advance_ms(3_600_000);
        let told = shared.wall_time(Instant::now()).duration_since(UNIX_EPOCH).expect("after 1970");
        assert!(told >= Duration::from_millis(3_604_000), "{told:?}");
    }
}
