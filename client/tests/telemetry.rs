//! Spans and trace context: what goes over the wire when a caller is sampled, and that nothing does otherwise.

mod support;

use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use outcrop_client::{Key, Ttl};
use support::faulty_node::FaultyNode;
use tracing::Instrument;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::SubscriberExt;

fn key() -> Key {
    Key::new("test", "people", 1)
}

/// Keeps the spans that end.
#[derive(Debug, Clone, Default)]
struct Collected(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collected {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no test panics with it").extend(batch);
        Ok(())
    }
}

async fn traced(sampler: Sampler) -> (FaultyNode, Vec<SpanData>) {
    let node = FaultyNode::start();
    let exporter = Collected::default();
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    async {
        let client = node.client().await;
        let caller = tracing::info_span!("caller");
        client.set_bytes(&key(), b"x", Ttl::Default).instrument(caller).await.expect("written");
        client.set_bytes(&Key::new("test", "people", ""), b"x", Ttl::Default).await.expect_err("no key");
        client.get_bytes(&Key::new("elsewhere", "people", 1)).await.expect_err("no namespace");
    }
    .with_subscriber(subscriber)
    .await;
    provider.force_flush().expect("in memory");
    let spans = exporter.0.lock().expect("no test panics with it").clone();
    (node, spans)
}

#[tokio::test]
async fn a_sampled_caller_is_the_parent_of_the_request_and_of_what_the_node_does() {
    let (node, spans) = traced(Sampler::AlwaysOn).await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:?}"));
    let (caller, request) = (named("caller"), named("put test.people"));
    assert_eq!(request.parent_span_id, caller.span_context.span_id());
    assert_eq!(request.span_context.trace_id(), caller.span_context.trace_id());
    assert_eq!(request.span_kind, opentelemetry::trace::SpanKind::Client);
    let attribute = |span: &SpanData, key: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.to_string())
    };
    let told = |span, key: &str, value: &str| assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
    told(request, "db.system.name", "outcrop");
    told(request, "db.operation.name", "put");
    told(request, "db.namespace", "test");
    told(request, "db.collection.name", "people");
    told(request, "db.response.status_code", "ok");
    told(request, "outcrop.attempts", "1");
    let failed = named("get elsewhere.people");
    told(failed, "db.response.status_code", "namespace_unknown");
    assert!(matches!(failed.status, opentelemetry::trace::Status::Error { .. }), "{:?}", failed.status);

    let sent = node.traced()[0].expect("a trace context");
    assert_eq!(sent.trace_id, request.span_context.trace_id().to_bytes());
    assert_eq!(sent.span_id, request.span_context.span_id().to_bytes(), "the node's span is a child of the request's");
    assert_eq!(sent.flags & 1, 1);
}

#[tokio::test]
async fn a_caller_that_is_not_sampled_sends_nothing_along() {
    let (node, spans) = traced(Sampler::AlwaysOff).await;
    assert_eq!((node.traced(), spans.len()), (vec![None], 0));
}

#[tokio::test]
async fn without_a_subscriber_there_is_no_trace_context() {
    let node = FaultyNode::start();
    let client = node.client().await;
    client.set_bytes(&key(), b"x", Ttl::Default).await.expect("written");
    assert_eq!(node.traced(), [None]);
}
