//! One span for each sampled request, by OpenTelemetry's conventions for databases, child of the caller's span.
//!
//! The decision falls before anything is made: a caller that sends its context has decided; otherwise a share of
//! requests is taken. An unsampled request costs a countdown. A sampled one keeps a few numbers in one block of memory,
//! which go into its worker's line when it ends; another thread makes a span of them and sends it. No global tracer is
//! involved: each node has its own.
//!
//! What a request causes below the node's fixed fields (a function's call, its log lines) is told by
//! [`RequestSpan::attribute`], [`RequestSpan::event`] and [`RequestSpan::child`]; see [`notes`].

mod encode;
mod export;
pub mod notes;
mod record;
mod ring;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_wire::{Code, RequestHeader, TraceContext};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use self::encode::Encoder;
use self::export::{Driver, Exporter};
use self::notes::TEXT_BYTES_MAX;
pub use self::notes::{Child, Notes, Value};
pub use self::record::Stage;
use self::record::{Name, Record, Stages};
pub use self::ring::LINE_REQUESTS_MAX;
use self::ring::{Line, Lines};
use super::metrics::Metrics;
use super::otlp::send::Sender;
use super::otlp::{Endpoint, Identity, OtlpError};
use crate::options::TelemetryOptions;
use crate::world::{Clock, Entropy};

/// W3C trace flag: the caller samples.
const SAMPLED: u8 = 1;

/// A node's tracing: off, or exporting to one receiver.
#[derive(Debug)]
pub struct Tracing {
    on: Option<(Arc<Lines>, Exporter)>,
    percent: f64,
    seed: [u8; 32],
}

impl Tracing {
    /// Sets tracing up as configured; with an OTLP address it starts the exporting task on the current tokio runtime,
    /// which should not be one that serves requests. `port` is the data port, as spans name it.
    ///
    /// # Errors
    /// The address is wrong. That the receiver isn't there is no error: spans are dropped and counted until it is.
    pub fn start(
        options: &TelemetryOptions,
        identity: &Identity,
        port: u16,
        metrics: &Arc<Metrics>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Tracing, OtlpError> {
        let Some(url) = &options.otlp else { return Ok(Tracing::off()) };
        let endpoint = Endpoint::parse(url)?;
        let mut seed = [0; 32];
        seed.chunks_mut(16).for_each(|half| half.copy_from_slice(&entropy.next_id()));
        let lines = Arc::new(Lines::new(metrics.shared()));
        let exporter = Exporter::start(Driver {
            encoder: Encoder::new(identity, port, rng(&seed, u64::MAX)),
            sender: Sender::new(&endpoint)?,
            lines: lines.clone(),
            metrics: metrics.shared(),
            clock,
            url: endpoint.url,
        });
        Ok(Tracing { on: Some((lines, exporter)), percent: options.sample_percent, seed })
    }

    /// Tracing that is off.
    pub fn off() -> Tracing {
        Tracing { on: None, percent: 0.0, seed: [0; 32] }
    }

    /// A worker's way to begin spans; each worker asks once.
    pub fn worker(&self, worker: usize) -> WorkerTracer {
        let Some((lines, _)) = &self.on else { return WorkerTracer { on: None, until_next: AtomicU64::new(u64::MAX) } };
        let mut random = rng(&self.seed, worker as u64);
        let ln_skipped = (-self.percent / 100.0).ln_1p();
        let until_next = AtomicU64::new(gap(ln_skipped, &mut random));
        let random = Mutex::new(random);
        WorkerTracer { on: Some(On { line: lines.line(), ln_skipped, random }), until_next }
    }

    /// Sends what is waiting, within `limit`; call it when no request is under way any more.
    pub async fn shutdown(self, limit: Duration) {
        if let Some((_, exporter)) = self.on {
            exporter.shutdown(limit).await;
        }
    }
}

/// One of the node's generators: they differ in their number.
fn rng(seed: &[u8; 32], number: u64) -> StdRng {
    let mut seed = *seed;
    seed.iter_mut().zip(number.to_le_bytes()).for_each(|(seed, number)| *seed ^= number);
    StdRng::from_seed(seed)
}

/// How many requests to skip before the next that is taken, `ln_skipped` being the logarithm of the share that isn't
/// taken: as if each were drawn for, at one draw for each that is taken.
fn gap(ln_skipped: f64, random: &mut StdRng) -> u64 {
    // Above 0 and at most 1, so that its logarithm is a number.
    let drawn = ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    // Saturates; 0 if all are taken.
    if ln_skipped == 0.0 { u64::MAX } else { (drawn.ln() / ln_skipped) as u64 }
}

/// Decides about and begins spans.
#[derive(Debug)]
pub struct WorkerTracer {
    on: Option<On>,
    /// Requests to skip. One writer, so a lost update between two threads costs nothing but a request skipped twice.
    until_next: AtomicU64,
}

#[derive(Debug)]
struct On {
    line: Arc<Line>,
    ln_skipped: f64,
    /// Gaps and ids. Its lock is the worker's own.
    random: Mutex<StdRng>,
}

impl WorkerTracer {
    /// The cheap half of the decision: false if the request isn't traced, whatever else is in it. Ask once for each.
    /// `carries_context`: whether its caller has decided.
    #[inline]
    pub fn may_trace(&self, carries_context: bool) -> bool {
        let Some(on) = &self.on else { return false };
        carries_context || self.draw(on)
    }

    #[inline]
    fn draw(&self, on: &On) -> bool {
        match self.until_next.load(Ordering::Relaxed) {
            0 => {
                self.until_next.store(gap(on.ln_skipped, &mut on.random.lock()), Ordering::Relaxed);
                true
            }
            u64::MAX => false,
            left => {
                self.until_next.store(left - 1, Ordering::Relaxed);
                false
            }
        }
    }

    /// A span for a request for which [`WorkerTracer::may_trace`] said yes, unless its caller doesn't want one.
    /// `arrived` is when its frame was complete.
    pub fn open(
        &self,
        header: &RequestHeader,
        namespace: &str,
        peer: SocketAddr,
        arrived: Instant,
    ) -> Option<RequestSpan> {
        let on = self.on.as_ref()?;
        if header.trace.is_some_and(|context| context.flags & SAMPLED == 0) {
            return None;
        }
        let caller = header.trace.filter(|context| context.trace_id != [0; 16]);
        let (trace_id, span_id) = on.ids(caller.as_ref());
        Some(RequestSpan {
            open: Some(Box::new(Open {
                line: on.line.clone(),
                record: Record {
                    trace_id,
                    span_id,
                    caller: caller.map(|context| context.span_id),
                    verb: header.verb,
                    code: None,
                    namespace: Name::new(namespace),
                    set: None,
                    peer,
                    arrived,
                    ended_ns: 0,
                    stages: Stages::new(),
                    batch: None,
                    records: None,
                    received_bytes: 0,
                    sent_bytes: 0,
                    served_from: None,
                    message: None,
                    notes: None,
                },
            })),
        })
    }

    /// A span for this request, if it is sampled: both halves at once.
    pub fn begin(
        &self,
        header: &RequestHeader,
        namespace: &str,
        peer: SocketAddr,
        arrived: Instant,
    ) -> Option<RequestSpan> {
        if !self.may_trace(header.trace.is_some()) {
            return None;
        }
        self.open(header, namespace, peer, arrived)
    }
}

impl On {
    /// A trace's id, unless the caller has one, and a span's.
    fn ids(&self, caller: Option<&TraceContext>) -> ([u8; 16], [u8; 8]) {
        let mut random = self.random.lock();
        let trace_id = match caller {
            Some(context) => context.trace_id,
            None => (u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())).max(1).to_be_bytes(),
        };
        (trace_id, random.next_u64().max(1).to_be_bytes())
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ending<'a> {
    /// Bytes of the request.
    pub received_bytes: u64,
    /// Bytes of the reply.
    pub sent_bytes: u64,
    /// The message of a failure.
    pub message: Option<&'a str>,
}

/// A sampled request on its way. Dropped without [`RequestSpan::finish`], it ends as cancelled.
#[derive(Debug)]
pub struct RequestSpan {
    /// None once it has ended.
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    line: Arc<Line>,
    record: Record,
}

impl RequestSpan {
    fn record(&mut self) -> Option<&mut Record> {
        self.open.as_mut().map(|open| &mut open.record)
    }

    /// The context to pass on to whatever this request causes elsewhere.
    pub fn context(&self) -> Option<TraceContext> {
        let record = &self.open.as_ref()?.record;
        Some(TraceContext { trace_id: record.trace_id, span_id: record.span_id, flags: SAMPLED })
    }

    /// Names the set, once it is known.
    pub fn set(&mut self, set: &str) {
        if let Some(record) = self.record() {
            record.set = Some(Name::new(set));
        }
    }

    /// Says how many requests a batch has.
    pub fn batch(&mut self, requests: usize) {
        if let Some(record) = self.record() {
            record.batch = Some(u32::try_from(requests).unwrap_or(u32::MAX));
        }
    }

    /// Says how many records the reply has.
    pub fn returned(&mut self, records: u64) {
        if let Some(record) = self.record() {
            record.records = Some(records);
        }
    }

    /// Says where the record came from: `memory` or `flash`.
    pub fn served_from(&mut self, place: &'static str) {
        if let Some(record) = self.record() {
            record.served_from = Some(place);
        }
    }

    /// The request goes on to this stage; the time until now counts to the one before.
    pub fn enter(&mut self, stage: Stage) {
        if let Some(record) = self.record() {
            record.stages.enter(stage, record.elapsed_ns());
        }
    }

    /// Everything that was noted elsewhere; see [`Notes`].
    pub fn add(&mut self, notes: Notes) {
        if let Some(mine) = self.notes() {
            mine.append(notes);
        }
    }

    /// One more attribute, with a key that is the same for all spans.
    pub fn attribute(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(notes) = self.notes() {
            notes.attribute(key, value);
        }
    }

    /// Something happens now, such as a log line of a function.
    pub fn event(&mut self, name: &'static str, attributes: impl IntoIterator<Item = (&'static str, Value)>) {
        if let Some(notes) = self.notes() {
            notes.event(name, attributes);
        }
    }

    /// A part of the request that has ended and is a span of its own.
    pub fn child(&mut self, child: Child) {
        if let Some(notes) = self.notes() {
            notes.child(child);
        }
    }

    fn notes(&mut self) -> Option<&mut Notes> {
        self.record().map(|record| &mut **record.notes.get_or_insert_default())
    }

    /// Ends the span.
    pub fn finish(mut self, code: Code, ending: Ending<'_>) {
        if let Some(record) = self.record() {
            record.received_bytes = ending.received_bytes;
            record.sent_bytes = ending.sent_bytes;
            record.message = ending.message.map(|text| text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into());
        }
        self.end(Some(code));
    }

    fn end(&mut self, code: Option<Code>) {
        if let Some(open) = self.open.take() {
            let Open { line, mut record } = *open;
            record.ended_ns = record.elapsed_ns();
            record.stages.settle(record.ended_ns);
            record.code = code;
            line.offer(record);
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.end(None);
    }
}

#[cfg(test)]
mod tests;
