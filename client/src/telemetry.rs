//! Spans of requests, and the W3C trace context of the caller's span: nothing is spent when nobody listens.

use opentelemetry::trace::TraceContextExt;
use outcrop_wire::{TraceContext, Verb};
use tracing::{Level, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::error::ClientError;

/// A span for one request by OpenTelemetry's database conventions; disabled unless something listens to
/// `outcrop_client` at level `info`.
pub(crate) fn request_span(verb: Verb, namespace: &str, set: &str) -> Span {
    if !tracing::enabled!(target: "outcrop_client", Level::INFO) {
        return Span::none();
    }
    let name = match (namespace, set) {
        ("", _) => verb.name().to_owned(),
        (namespace, "") => format!("{} {namespace}", verb.name()),
        (namespace, set) => format!("{} {namespace}.{set}", verb.name()),
    };
    tracing::info_span!(
        target: "outcrop_client",
        "request",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "outcrop",
        db.operation.name = verb.name(),
        db.namespace = namespace,
        db.collection.name = set,
        db.response.status_code = field::Empty,
        outcrop.attempts = field::Empty,
    )
}

/// Writes the outcome into a request's span.
pub(crate) fn record_outcome<T>(span: &Span, outcome: &Result<T, ClientError>) {
    if span.is_disabled() {
        return;
    }
    match outcome {
        Ok(_) => span.record("db.response.status_code", "ok"),
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("db.response.status_code", error.code().map_or("error", |code| code.name()))
        }
    };
}

/// The trace context to send along: that of the request's own span, else of the caller's; only when it is sampled.
pub(crate) fn trace_context(request: &Span) -> Option<TraceContext> {
    if !request.is_disabled() {
        return sampled(request);
    }
    if !tracing::dispatcher::has_been_set() {
        return None;
    }
    sampled(&Span::current())
}

fn sampled(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let of_span = context.span();
    let context = of_span.span_context();
    (context.is_valid() && context.is_sampled()).then(|| TraceContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
        flags: context.trace_flags().to_u8(),
    })
}
