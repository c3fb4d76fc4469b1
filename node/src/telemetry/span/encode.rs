//! What a span says: OpenTelemetry's stable conventions for databases, and where the time went; written as OTLP.
//!
//! What is the same for every span of the node stands once in each request, as attributes of the resource and of the
//! scope. The rest is written from a [`Record`] without a string made for it.

use std::fmt::Write as _;

use bytes::{Buf, BytesMut};
use outcrop_wire::Code;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::notes::{Attribute, Child, Details, Notes, Value};
use super::record::{Record, STAGES};
use crate::telemetry::metrics::is_answer;
use crate::telemetry::otlp::Identity;
use crate::telemetry::otlp::protobuf::Writer;
use crate::telemetry::otlp::send::HEADROOM;

/// Kinds of spans.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
/// A span's status.
const STATUS_ERROR: u64 = 2;
/// Flags: sampled; it is known whether the parent is another process's; it is.
const FLAGS_SAMPLED: u32 = 1;
const FLAGS_REMOTE_KNOWN: u32 = 0x100;
const FLAGS_REMOTE: u32 = 0x200;

/// Fields of OTLP's messages.
mod field {
    pub const REQUEST_RESOURCE_SPANS: u32 = 1;
    pub const RESOURCE: u32 = 1;
    pub const SCOPE_SPANS: u32 = 2;
    pub const RESOURCE_ATTRIBUTES: u32 = 1;
    pub const SCOPE: u32 = 1;
    pub const SPANS: u32 = 2;
    pub const SCOPE_NAME: u32 = 1;
    pub const SCOPE_VERSION: u32 = 2;
    pub const SCOPE_ATTRIBUTES: u32 = 3;
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const PARENT_SPAN_ID: u32 = 4;
    pub const NAME: u32 = 5;
    pub const KIND: u32 = 6;
    pub const START: u32 = 7;
    pub const END: u32 = 8;
    pub const ATTRIBUTES: u32 = 9;
    pub const ATTRIBUTES_DROPPED: u32 = 10;
    pub const EVENTS: u32 = 11;
    pub const EVENTS_DROPPED: u32 = 12;
    pub const STATUS: u32 = 15;
    pub const FLAGS: u32 = 16;
    pub const EVENT_TIME: u32 = 1;
    pub const EVENT_NAME: u32 = 2;
    pub const EVENT_ATTRIBUTES: u32 = 3;
    pub const STATUS_MESSAGE: u32 = 2;
    pub const STATUS_CODE: u32 = 3;
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
    pub const VALUE_TEXT: u32 = 1;
    pub const VALUE_BOOL: u32 = 2;
    pub const VALUE_INT: u32 = 3;
    pub const VALUE_FLOAT: u32 = 4;
}

/// A moment on both clocks: records tell the monotonic one, spans the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub at: Instant,
    pub unix_ns: u64,
}

impl Anchor {
    pub fn unix_ns(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.at).as_nanos() as u64;
        let before = self.at.saturating_duration_since(at).as_nanos() as u64;
        (self.unix_ns + after).saturating_sub(before)
    }
}

/// Makes export requests.
#[derive(Debug)]
pub(super) struct Encoder {
    /// Fields of `ResourceSpans` before its spans, and of `ScopeSpans` before its own.
    resource: BytesMut,
    scope: BytesMut,
    port: u16,
    /// Ids of child spans.
    ids: StdRng,
    text: String,
}

/// Spans of one export request, before what stands in front of them.
#[derive(Debug)]
pub(super) struct Batch {
    spans: Writer,
    headroom: usize,
    /// How many there are.
    pub count: u64,
}

impl Batch {
    /// Bytes of the spans.
    pub fn byte_len(&self) -> usize {
        self.spans.len() - self.headroom
    }
}

impl Encoder {
    pub fn new(identity: &Identity, port: u16, ids: StdRng) -> Self {
        let mut resource = Writer::new(0, 256);
        resource.message(field::RESOURCE, |resource| {
            text(resource, field::RESOURCE_ATTRIBUTES, "service.name", b"outcrop");
            text(resource, field::RESOURCE_ATTRIBUTES, "service.version", identity.version.as_bytes());
            text(resource, field::RESOURCE_ATTRIBUTES, "service.instance.id", identity.node_id.as_bytes());
        });
        let mut scope = Writer::new(0, 256);
        scope.message(field::SCOPE, |scope| {
            scope.bytes(field::SCOPE_NAME, b"outcrop");
            scope.bytes(field::SCOPE_VERSION, identity.version.as_bytes());
            text(scope, field::SCOPE_ATTRIBUTES, "network.transport", b"quic");
            text(scope, field::SCOPE_ATTRIBUTES, "network.protocol.name", b"outcrop");
            text(scope, field::SCOPE_ATTRIBUTES, "network.protocol.version", b"1");
        });
        Encoder { resource: resource.into_bytes(), scope: scope.into_bytes(), port, ids, text: String::new() }
    }

    /// A batch without spans.
    pub fn begin(&self, capacity: usize) -> Batch {
        // Both prefixes, two tags and two lengths of at most five bytes.
        let headroom = HEADROOM + self.resource.len() + self.scope.len() + 16;
        Batch { spans: Writer::new(headroom, capacity), headroom, count: 0 }
    }

    /// The whole request, behind [`HEADROOM`] zeros.
    pub fn finish(&self, batch: Batch) -> BytesMut {
        let Batch { spans, headroom, .. } = batch;
        let mut whole = spans.into_bytes();
        let spans_bytes = whole.len() - headroom;
        let mut inner = Writer::new(0, 256);
        inner.prefix(field::SCOPE_SPANS, self.scope.len() + spans_bytes);
        let inner = inner.into_bytes();
        let mut prefix = Writer::new(0, 256);
        let resource_spans_bytes = self.resource.len() + inner.len() + self.scope.len() + spans_bytes;
        prefix.prefix(field::REQUEST_RESOURCE_SPANS, resource_spans_bytes);
        let prefix = prefix.into_bytes();
        let mut at = headroom - prefix.len() - self.resource.len() - inner.len() - self.scope.len();
        let start = at - HEADROOM;
        for part in [&prefix, &self.resource, &inner, &self.scope] {
            whole[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        whole.advance(start);
        whole
    }

    /// Appends a request's span and its children.
    pub fn append(&mut self, batch: &mut Batch, record: &Record, anchor: Anchor) {
        batch.count += record.spans();
        batch.spans.message(field::SPANS, |span| self.request(span, record, anchor));
        for child in record.notes.iter().flat_map(|notes| &notes.children) {
            let id = self.ids.next_u64().max(1).to_be_bytes();
            batch.spans.message(field::SPANS, |span| write_child(span, record, child, id, anchor));
        }
    }

    fn request(&mut self, span: &mut Writer, record: &Record, anchor: Anchor) {
        span.bytes(field::TRACE_ID, &record.trace_id);
        span.bytes(field::SPAN_ID, &record.span_id);
        let mut flags = FLAGS_SAMPLED | FLAGS_REMOTE_KNOWN;
        if let Some(caller) = &record.caller {
            span.bytes(field::PARENT_SPAN_ID, caller);
            flags |= FLAGS_REMOTE;
        }
        span.bytes(field::NAME, self.name(record));
        span.varint(field::KIND, SERVER);
        let arrived = anchor.unix_ns(record.arrived);
        span.fixed64(field::START, arrived);
        span.fixed64(field::END, arrived + record.ended_ns);
        self.attributes(span, record);
        let notes = record.notes.as_deref();
        if let Some(Notes { details, children_lost, .. }) = notes {
            if *children_lost > 0 {
                int(span, "outcrop.children_dropped", i64::from(*children_lost));
            }
            write_attributes(span, details);
        }
        for (stage, after_ns) in record.stages.marks() {
            span.message(field::EVENTS, |event| {
                event.fixed64(field::EVENT_TIME, arrived + after_ns);
                event.bytes(field::EVENT_NAME, STAGES[stage as usize].0.as_bytes());
            });
        }
        write_events(span, notes.map(|notes| &notes.details), record.stages.marks_lost(), anchor);
        // A failure of the node is an error of its span; what the caller did wrong is only told (as HTTP servers do it).
        match record.code {
            None => write_error(span, "cancelled"),
            Some(code) if code as u16 >= 400 => {
                write_error(span, record.message.as_deref().unwrap_or(code.meaning()));
            }
            Some(_) => {}
        }
        span.fixed32(field::FLAGS, flags);
    }

    /// `get shop.products`: operation and target.
    fn name(&mut self, record: &Record) -> &[u8] {
        let name = &mut self.text;
        name.clear();
        name.push_str(record.verb.name());
        if let Some(namespace) = record.namespace.text() {
            name.push(' ');
            name.push_str(namespace);
        }
        if let Some(set) = record.set.as_ref().and_then(|set| set.text()) {
            name.push('.');
            name.push_str(set);
        }
        name.as_bytes()
    }

    fn attributes(&mut self, span: &mut Writer, record: &Record) {
        let attribute = |span: &mut Writer, key, value: &str| text(span, field::ATTRIBUTES, key, value.as_bytes());
        attribute(span, "db.system.name", "outcrop");
        attribute(span, "db.operation.name", record.verb.name());
        if let Some(namespace) = record.namespace.text() {
            attribute(span, "db.namespace", namespace);
        }
        if let Some(set) = record.set.as_ref().and_then(|set| set.text()) {
            attribute(span, "db.collection.name", set);
        }
        if let Some(requests) = record.batch {
            int(span, "db.operation.batch.size", requests.into());
        }
        match record.code {
            None => attribute(span, "error.type", "cancelled"),
            Some(Code::Ok) => {}
            Some(code) => {
                attribute(span, "db.response.status_code", self.write(format_args!("{}", code as u16)));
                if !is_answer(code) {
                    attribute(span, "error.type", code.name());
                }
            }
        }
        if let Some(records) = record.records {
            int(span, "db.response.returned_rows", records as i64);
        }
        int(span, "server.port", self.port.into());
        attribute(span, "network.peer.address", self.write(format_args!("{}", record.peer.ip())));
        int(span, "network.peer.port", record.peer.port().into());
        int(span, "outcrop.request_bytes", record.received_bytes as i64);
        int(span, "outcrop.reply_bytes", record.sent_bytes as i64);
        if let Some(place) = record.served_from {
            attribute(span, "outcrop.served_from", place);
        }
        for ((_, key), time_ns) in STAGES.iter().zip(record.stages.times_ns) {
            if time_ns > 0 {
                let us = time_ns as f64 / 1e3;
                span.message(field::ATTRIBUTES, |pair| {
                    write_pair(pair, key, |value| value.double(field::VALUE_FLOAT, us));
                });
            }
        }
    }

    fn write(&mut self, value: std::fmt::Arguments<'_>) -> &str {
        self.text.clear();
        // A string takes everything.
        let _ = self.text.write_fmt(value);
        &self.text
    }
}

fn write_pair(pair: &mut Writer, key: &str, value: impl FnOnce(&mut Writer)) {
    pair.bytes(field::KEY, key.as_bytes());
    pair.message(field::VALUE, value);
}

fn text(message: &mut Writer, field: u32, key: &str, value: &[u8]) {
    message.message(field, |pair| write_pair(pair, key, |inner| inner.bytes(field::VALUE_TEXT, value)));
}

fn int(span: &mut Writer, key: &str, value: i64) {
    span.message(field::ATTRIBUTES, |pair| write_pair(pair, key, |inner| inner.int(field::VALUE_INT, value)));
}

fn write_attribute(message: &mut Writer, field: u32, (key, value): &Attribute) {
    message.message(field, |pair| {
        write_pair(pair, key, |inner| match value {
            Value::Text(text) => inner.bytes(field::VALUE_TEXT, text.as_bytes()),
            Value::Int(number) => inner.int(field::VALUE_INT, *number),
            Value::Float(number) => inner.double(field::VALUE_FLOAT, *number),
            Value::Bool(yes) => inner.varint(field::VALUE_BOOL, (*yes).into()),
        });
    });
}

fn write_attributes(span: &mut Writer, details: &Details) {
    for attribute in &details.attributes {
        write_attribute(span, field::ATTRIBUTES, attribute);
    }
    if details.attributes_lost > 0 {
        span.varint(field::ATTRIBUTES_DROPPED, details.attributes_lost.into());
    }
}

fn write_events(span: &mut Writer, details: Option<&Details>, mut lost: u32, anchor: Anchor) {
    for event in details.iter().flat_map(|details| &details.events) {
        span.message(field::EVENTS, |message| {
            message.fixed64(field::EVENT_TIME, anchor.unix_ns(event.at));
            message.bytes(field::EVENT_NAME, event.name.as_bytes());
            for attribute in &event.attributes {
                write_attribute(message, field::EVENT_ATTRIBUTES, attribute);
            }
        });
    }
    lost += details.map_or(0, |details| details.events_lost);
    if lost > 0 {
        span.varint(field::EVENTS_DROPPED, lost.into());
    }
}

fn write_error(span: &mut Writer, message: &str) {
    span.message(field::STATUS, |status| {
        status.bytes(field::STATUS_MESSAGE, message.as_bytes());
        status.varint(field::STATUS_CODE, STATUS_ERROR);
    });
}

fn write_child(span: &mut Writer, parent: &Record, child: &Child, id: [u8; 8], anchor: Anchor) {
    span.bytes(field::TRACE_ID, &parent.trace_id);
    span.bytes(field::SPAN_ID, &id);
    span.bytes(field::PARENT_SPAN_ID, &parent.span_id);
    span.bytes(field::NAME, child.name.as_bytes());
    span.varint(field::KIND, INTERNAL);
    span.fixed64(field::START, anchor.unix_ns(child.began));
    span.fixed64(field::END, anchor.unix_ns(child.ended));
    if let Some((error_type, _)) = &child.failure {
        text(span, field::ATTRIBUTES, "error.type", error_type.as_bytes());
    }
    write_attributes(span, &child.details);
    write_events(span, Some(&child.details), 0, anchor);
    if let Some((_, message)) = &child.failure {
        write_error(span, message);
    }
    span.fixed32(field::FLAGS, FLAGS_SAMPLED | FLAGS_REMOTE_KNOWN);
}
