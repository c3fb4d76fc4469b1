//! What a span says: OpenTelemetry's stable conventions for databases, and where the time went.

use std::borrow::Cow;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use outcrop_wire::Code;
use tokio::time::Instant;

use super::super::metrics::is_answer;
use super::{Ending, Open, STAGES};

impl Open {
    /// `get shop.products`: operation and target.
    pub(super) fn name(&self) -> String {
        match &self.set {
            Some(set) => format!("{} {}.{set}", self.verb.name(), self.namespace),
            None if self.namespace.is_empty() => self.verb.name().to_owned(),
            None => format!("{} {}", self.verb.name(), self.namespace),
        }
    }

    pub(super) fn attributes(&self, code: Option<Code>, ending: &Ending<'_>) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(24);
        let mut set = |key: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(key, value));
        set("db.system.name", "outcrop".into());
        set("db.operation.name", self.verb.name().into());
        if !self.namespace.is_empty() {
            set("db.namespace", self.namespace.clone().into());
        }
        if let Some(name) = &self.set {
            set("db.collection.name", name.clone().into());
        }
        if let Some(requests) = self.batch {
            set("db.operation.batch.size", (requests as i64).into());
        }
        match code {
            None => set("error.type", "cancelled".into()),
            Some(Code::Ok) => {}
            Some(code) => {
                set("db.response.status_code", (code as u16).to_string().into());
                if !is_answer(code) {
                    set("error.type", code.name().into());
                }
            }
        }
        if let Some(records) = ending.records {
            set("db.response.returned_rows", (records as i64).into());
        }
        set("server.port", i64::from(self.shared.port).into());
        set("network.transport", "quic".into());
        set("network.protocol.name", "outcrop".into());
        set("network.protocol.version", "1".into());
        set("network.peer.address", self.peer.ip().to_string().into());
        set("network.peer.port", i64::from(self.peer.port()).into());
        set("outcrop.request_bytes", (ending.received_bytes as i64).into());
        set("outcrop.reply_bytes", (ending.sent_bytes as i64).into());
        if let Some(place) = self.store_place {
            set("outcrop.served_from", place.into());
        }
        for ((_, key), time) in STAGES.iter().zip(self.times) {
            if !time.is_zero() {
                set(key, (time.as_nanos() as f64 / 1e3).into());
            }
        }
        attributes
    }
}

/// A request that is over, on its way to the exporting task.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) open: Box<Open>,
    pub(super) code: Option<Code>,
    pub(super) ending: Ending<'static>,
    pub(super) message: Option<String>,
    pub(super) ended: Instant,
}

impl From<Finished> for SpanData {
    fn from(finished: Finished) -> SpanData {
        let Finished { open, code, ending, message, ended } = finished;
        let start_time = open.shared.wall_time(open.arrived);
        let wall = |at: Instant| start_time + at.saturating_duration_since(open.arrived);
        let mut events = SpanEvents::default();
        let told = open.marks.iter().map(|(stage, at)| Event::new(STAGES[*stage as usize].0, wall(*at), vec![], 0));
        events.events.extend(told);
        events.dropped_count = open.marks_lost;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(open.context.trace_id),
                SpanId::from_bytes(open.context.span_id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: open.caller.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: open.caller.is_some(),
            span_kind: SpanKind::Server,
            name: Cow::Owned(open.name()),
            start_time,
            end_time: wall(ended),
            attributes: open.attributes(code, &ending),
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: status(code, message.as_deref()),
            instrumentation_scope: open.shared.scope.clone(),
        }
    }
}

/// A failure of the node is an error of its span; what the caller did wrong is only told (as HTTP servers do it).
fn status(code: Option<Code>, message: Option<&str>) -> Status {
    match code {
        None => Status::error("cancelled"),
        Some(code) if code as u16 >= 400 => Status::error(message.unwrap_or(code.meaning()).to_owned()),
        Some(_) => Status::Unset,
    }
}
