//! What the streams of one connection share: the verbs' context, metrics, tracing, deadlines.

use std::sync::Arc;
use std::time::Duration;

use outcrop_wire::reply::Reply;
use outcrop_wire::request::{carries_trace, decode_request, peek_header, peek_key};
use outcrop_wire::{Code, RequestBody, Verb, WorkerPlace};
use tokio::time::Instant;

use super::busy_poll::PollPlace;
use crate::command::Context;
use crate::command::told::Told;
use crate::options::LimitOptions;
use crate::telemetry::metrics::Counter;
use crate::telemetry::span::{Ending, Stage};
use crate::telemetry::{RequestSpan, WorkerMetrics, WorkerTracer};
use crate::world::Clock;

/// One connection's share in the node.
pub struct Session {
    /// What the verbs need.
    pub context: Arc<Context>,
    /// This worker's stripe of the metrics.
    pub metrics: WorkerMetrics,
    /// Makes spans.
    pub tracer: Arc<WorkerTracer>,
    /// Bounds of connections and streams.
    pub limits: Arc<LimitOptions>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// This worker's place to look for frames from.
    pub poll_place: PollPlace,
    /// Which worker it is, as the client is told.
    pub worker: WorkerPlace,
    /// Who is at the other end, for logs.
    pub peer: std::net::SocketAddr,
}

impl Session {
    /// Seconds since 1970.
    pub fn now_secs(&self) -> u32 {
        self.clock.now_secs()
    }

    /// A request's time: its own, or the node's default.
    pub fn deadline(&self, deadline_ms: u32) -> Duration {
        let deadline_ms = if deadline_ms == 0 { self.context.deadline_ms_default } else { deadline_ms };
        Duration::from_millis(deadline_ms.into())
    }

    /// The time of the request in a frame.
    pub fn deadline_of(&self, frame: &[u8]) -> Duration {
        let field = frame.get(8..12).and_then(|field| field.try_into().ok());
        self.deadline(field.map_or(0, u32::from_le_bytes).min(outcrop_wire::limits::DEADLINE_MS_MAX))
    }

    /// The request's span, if it is sampled.
    #[inline]
    pub fn span(&self, frame: &[u8], arrived: Instant) -> Option<RequestSpan> {
        if self.tracer.may_trace(carries_trace(frame)) { self.open_span(frame, arrived) } else { None }
    }

    #[cold]
    fn open_span(&self, frame: &[u8], arrived: Instant) -> Option<RequestSpan> {
        let header = peek_header(frame)?;
        let namespace = self.context.namespaces.get(usize::from(header.namespace.0));
        let name = namespace.map_or("", |namespace| namespace.policy.name.as_str());
        let mut span = self.tracer.open(&header, name, self.peer, arrived)?;
        span.enter(Stage::Store);
        if let Some((_, _, key)) = peek_key(frame) {
            span.set(key.set);
        } else {
            match decode_request(frame) {
                Ok((_, RequestBody::Batch { items })) => span.batch(items.len()),
                Ok((_, body)) => {
                    if let Some(set) = body.set() {
                        span.set(set);
                    }
                }
                Err(_) => {}
            }
        }
        Some(span)
    }

    /// Puts what there is to say of a function into the request's span, if it has one.
    pub fn tell(span: &mut Option<RequestSpan>, told: &mut Option<Box<Told>>) {
        if let (Some(span), Some(told)) = (span, told.take()) {
            span.add(told.into_notes());
        }
    }

    /// Counts a request that is over, and ends its span.
    pub fn record(
        &self,
        verb: Verb,
        code: Code,
        took: Duration,
        bytes_in: usize,
        bytes_out: usize,
        span: Option<RequestSpan>,
    ) {
        let (received_bytes, sent_bytes) = (bytes_in as u64, bytes_out as u64);
        self.metrics.record(verb, code, took, received_bytes, sent_bytes);
        if let Some(span) = span {
            span.finish(code, Ending { received_bytes, sent_bytes, ..Ending::default() });
        }
    }

    /// Counts the requests of a batch by what its reply says of them; any other reply is left alone.
    pub fn record_items(&self, reply: &[u8]) {
        let Ok(reply) = Reply::parse(reply) else { return };
        if (reply.header.verb, reply.header.code) != (Verb::Batch, Code::Ok) {
            return;
        }
        let mut items = reply.body.get(2..).unwrap_or_default();
        while let Some((length, rest)) = items.split_first_chunk::<4>() {
            let Some((item, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
            if let Ok(item) = Reply::parse(item) {
                self.metrics.record_batch_item(item.header.verb, item.header.code);
            }
            items = rest;
        }
    }

    /// Notes a stream that broke the protocol.
    pub fn protocol_error(&self, message: &str) {
        self.metrics.count(Counter::FramesMalformed);
        tracing::debug!(peer = %self.peer, message, "a stream broke the protocol");
    }
}
