//! Tests of spans: who decides, what is written (read back with OpenTelemetry's generated types), what is bounded.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::trace::v1::Span;
use outcrop_wire::{NamespaceId, Verb};
use prost::Message;

use super::encode::Anchor;
use super::ring::WAKE_REQUESTS;
use super::*;
use crate::telemetry::metrics::Counter;
use crate::telemetry::otlp::send::HEADROOM;
use crate::world::{ManualClock, SeededEntropy};

fn header(trace: Option<TraceContext>) -> RequestHeader {
    RequestHeader { request_id: 1, verb: Verb::Get, namespace: NamespaceId(0), deadline_ms: 0, trace }
}

fn context(flags: u8) -> TraceContext {
    TraceContext { trace_id: [7; 16], span_id: [9; 8], flags }
}

fn identity() -> Identity {
    Identity { node_id: "00c0ffee".to_owned(), version: "1.2.3".to_owned() }
}

/// Tracing towards an address where nobody listens: what is begun and dropped can be seen all the same.
fn tracing(percent: f64, metrics: &Arc<Metrics>) -> Tracing {
    let options = TelemetryOptions {
        otlp: Some("http://127.0.0.1:1".to_owned()),
        sample_percent: percent,
        ..TelemetryOptions::default()
    };
    let (clock, entropy) = (Arc::new(ManualClock::new(1_000_000)), Arc::new(SeededEntropy::new(1)));
    Tracing::start(&options, &identity(), 7420, metrics, clock, entropy).expect("an address that can be used")
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 7], 4_321).into()
}

/// What a receiver gets of these records.
fn exported(records: &[Record]) -> ExportTraceServiceRequest {
    let mut encoder = Encoder::new(&identity(), 7420, rng(&[3; 32], 0));
    let mut batch = encoder.begin(0);
    let anchor = Anchor { at: Instant::now() - Duration::from_secs(3_600), unix_ns: 1_700_000_000_000_000_000 };
    records.iter().for_each(|record| encoder.append(&mut batch, record, anchor));
    assert_eq!(batch.count, records.iter().map(Record::spans).sum::<u64>());
    let encoded = encoder.finish(batch);
    let request = ExportTraceServiceRequest::decode(&encoded[HEADROOM..]).expect("it is OTLP");
    assert_eq!(request.encode_to_vec(), &encoded[HEADROOM..], "as the generated types would write it, byte for byte");
    request
}

fn spans(request: &ExportTraceServiceRequest) -> &[Span] {
    &request.resource_spans[0].scope_spans[0].spans
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let mut with_key = attributes.iter().filter(|pair| pair.key == key);
    let told = with_key.next()?.value.as_ref()?.value.as_ref()?;
    assert!(with_key.next().is_none(), "{key} is there twice");
    Some(match told {
        Told::StringValue(text) => text.clone(),
        Told::IntValue(number) => number.to_string(),
        Told::DoubleValue(number) => number.to_string(),
        Told::BoolValue(yes) => yes.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

/// A request that has ended, as it waits in the line of a tracer with nothing else in it.
fn ended(tracer: &WorkerTracer, end: impl FnOnce(RequestSpan)) -> Record {
    end(tracer.begin(&header(Some(context(1))), "shop", peer(), Instant::now()).expect("its caller samples"));
    let mut records = Vec::new();
    tracer.on.as_ref().expect("it is on").line.swap(&mut records);
    assert_eq!(records.len(), 1);
    records.remove(0)
}

#[tokio::test]
async fn the_caller_decides_and_then_the_share() {
    let metrics = Metrics::new(1);
    for (percent, least, most) in [(0.0, 0, 0), (1.0, 60, 150), (50.0, 4_700, 5_300), (100.0, 10_000, 10_000)] {
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
async fn workers_draw_ids_of_their_own() {
    let tracing = tracing(100.0, &Metrics::new(2));
    let mut seen = std::collections::HashSet::new();
    for worker in 0..2 {
        let tracer = tracing.worker(worker);
        for _ in 0..100 {
            let span = tracer.begin(&header(None), "", peer(), Instant::now()).expect("all are taken");
            let context = span.context().expect("it hasn't ended");
            assert!(seen.insert(context.trace_id.to_vec()) && seen.insert(context.span_id.to_vec()));
        }
    }
}

#[tokio::test]
async fn a_full_line_drops_spans_and_counts_them() {
    let metrics = Metrics::new(1);
    let tracing = tracing(100.0, &metrics);
    let tracer = tracing.worker(0);
    // The exporting task shares this thread and doesn't run between two awaits: the line only fills.
    for _ in 0..LINE_REQUESTS_MAX + 100 {
        drop(tracer.begin(&header(None), "shop", peer(), Instant::now()));
    }
    assert_eq!(metrics.counter(Counter::SpansDropped), 100);
    let other = tracing.worker(1);
    drop(other.begin(&header(None), "shop", peer(), Instant::now()));
    assert_eq!(metrics.counter(Counter::SpansDropped), 100, "another worker has a line of its own");
}

#[tokio::test]
async fn notes_without_end_are_dropped_before_they_fill_the_memory() {
    let metrics = Metrics::new(1);
    let tracing = tracing(100.0, &metrics);
    let tracer = tracing.worker(0);
    for _ in 0..2_000 {
        let mut span = tracer.begin(&header(None), "shop", peer(), Instant::now()).expect("all are taken");
        let mut child = Child::begin("call");
        (0..16).for_each(|_| child.event("log", [("body", "x".repeat(1_000).into())]));
        span.child(child.end());
    }
    let dropped = metrics.counter(Counter::SpansDropped);
    assert!(
        (2_000..4_000).contains(&dropped) && dropped.is_multiple_of(2),
        "about 500 of 2,000 fit into 8 MiB: {dropped}"
    );
}

#[tokio::test]
async fn a_line_that_grows_wakes_the_exporting_task() {
    let lines = Lines::new(Metrics::new(1).shared());
    let line = lines.line();
    let tracing = tracing(100.0, &Metrics::new(1));
    let tracer = tracing.worker(0);
    for _ in 0..WAKE_REQUESTS {
        line.offer(ended(&tracer, |span| span.finish(Code::Ok, Ending::default())));
    }
    lines.grown().await;
    let mut records = Vec::new();
    lines.all()[0].swap(&mut records);
    assert_eq!(records.len(), WAKE_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn times_go_to_the_stage_that_took_them() {
    let tracer = tracing(100.0, &Metrics::new(1)).worker(0);
    let mut span = tracer.begin(&header(Some(context(1))), "shop", peer(), Instant::now()).expect("sampled");
    span.set("products");
    for (stage, wait_us) in [(Stage::Store, 50), (Stage::FlashRead, 300), (Stage::Store, 20), (Stage::Reply, 7)] {
        // Paused time moves in whole milliseconds when slept, so it is moved by hand.
        span.enter(stage);
        tokio::time::advance(Duration::from_micros(wait_us)).await;
    }
    let record = {
        span.finish(Code::DeviceError, Ending::default());
        let mut records = Vec::new();
        tracer.on.as_ref().expect("it is on").line.swap(&mut records);
        records.remove(0)
    };
    let request = exported(&[record]);
    let span = &spans(&request)[0];
    let us = |stage: &str| attribute(&span.attributes, &format!("outcrop.{stage}_us"));
    assert_eq!(us("store").as_deref(), Some("70"));
    assert_eq!(us("flash_read").as_deref(), Some("300"));
    assert_eq!(us("reply").as_deref(), Some("7"));
    assert_eq!(us("queue"), None);
    let told: Vec<&str> = span.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(told, ["store", "flash read", "store", "reply"]);
    assert_eq!(span.events[2].time_unix_nano - span.start_time_unix_nano, 350_000);
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 377_000);
}

#[tokio::test]
async fn a_span_says_what_the_conventions_ask_for() {
    let tracer = tracing(0.0, &Metrics::new(1)).worker(0);
    let record = ended(&tracer, |mut span| {
        span.set("products");
        span.served_from("flash");
        span.returned(3);
        span.enter(Stage::Store);
        span.finish(Code::Ok, Ending { received_bytes: 64, sent_bytes: 1_024, message: None });
    });
    let request = exported(&[record]);
    let resource = request.resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("outcrop"));
    assert_eq!(attribute(&resource.attributes, "service.instance.id").as_deref(), Some("00c0ffee"));
    let scope = request.resource_spans[0].scope_spans[0].scope.as_ref().expect("a scope");
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("outcrop", "1.2.3"));
    assert_eq!(attribute(&scope.attributes, "network.transport").as_deref(), Some("quic"));
    let span = &spans(&request)[0];
    assert_eq!((span.name.as_str(), span.kind), ("get shop.products", 2));
    assert_eq!((span.trace_id.as_slice(), span.parent_span_id.as_slice()), ([7; 16].as_slice(), [9; 8].as_slice()));
    assert_eq!((span.span_id.len(), span.flags), (8, 0x301));
    assert!(span.start_time_unix_nano > 1_700_003_599_000_000_000, "an hour after the anchor");
    assert_eq!(span.status, None);
    for (key, value) in [
        ("db.system.name", "outcrop"),
        ("db.namespace", "shop"),
        ("db.collection.name", "products"),
        ("db.operation.name", "get"),
        ("db.response.returned_rows", "3"),
        ("server.port", "7420"),
        ("network.peer.address", "192.0.2.7"),
        ("network.peer.port", "4321"),
        ("outcrop.request_bytes", "64"),
        ("outcrop.reply_bytes", "1024"),
        ("outcrop.served_from", "flash"),
    ] {
        assert_eq!(attribute(&span.attributes, key).as_deref(), Some(value), "{key}");
    }
    for key in ["error.type", "db.response.status_code", "db.operation.batch.size"] {
        assert_eq!(attribute(&span.attributes, key), None, "{key}");
    }
}

#[tokio::test]
async fn failures_of_the_node_are_errors_and_misses_are_not() {
    let tracer = tracing(0.0, &Metrics::new(1)).worker(0);
    let failed = Ending { message: Some("the device is nearly full"), ..Ending::default() };
    let records = [
        ended(&tracer, |span| span.finish(Code::StopWrites, failed)),
        ended(&tracer, |span| span.finish(Code::NotFound, Ending::default())),
        ended(&tracer, |span| span.finish(Code::InvalidRequest, Ending::default())),
        ended(&tracer, |mut span| {
            span.batch(100);
            drop(span);
        }),
    ];
    let request = exported(&records);
    let told: Vec<_> = spans(&request)
        .iter()
        .map(|span| {
            let status = span.status.as_ref().map(|status| (status.code, status.message.as_str()));
            (status, attribute(&span.attributes, "error.type"))
        })
        .collect();
    assert_eq!(told[0], (Some((2, "the device is nearly full")), Some("stop_writes".to_owned())));
    assert_eq!(told[1], (None, None), "a miss is an answer");
    assert_eq!(told[2], (None, Some(Code::InvalidRequest.name().to_owned())), "the caller's mistake");
    assert_eq!(told[3], (Some((2, "cancelled")), Some("cancelled".to_owned())));
    assert_eq!(attribute(&spans(&request)[3].attributes, "db.operation.batch.size").as_deref(), Some("100"));
}

#[tokio::test]
async fn notes_become_attributes_events_and_children() {
    let tracer = tracing(0.0, &Metrics::new(1)).worker(0);
    let record = ended(&tracer, |mut span| {
        span.attribute("outcrop.function.module", "prices".to_owned());
        let mut notes = Notes::default();
        notes.event("log", [("outcrop.log.body", "3 items".into()), ("outcrop.log.line", 7_i64.into())]);
        let mut child = Child::begin("call discount");
        child.attribute("outcrop.function.fuel", 12_345_u64);
        child.attribute("outcrop.function.reused", true);
        child.attribute("outcrop.function.share", 0.5);
        child.attribute("outcrop.function.debt", -1_i64);
        child.fail("trap", "out of fuel");
        notes.child(child.end());
        (0..notes::CHILDREN_MAX).for_each(|_| notes.child(Child::begin("call again").end()));
        span.add(notes);
        span.finish(Code::Ok, Ending::default());
    });
    let request = exported(&[record]);
    let (parent, children) = spans(&request).split_first().expect("spans");
    assert_eq!(attribute(&parent.attributes, "outcrop.function.module").as_deref(), Some("prices"));
    assert_eq!(attribute(&parent.attributes, "outcrop.children_dropped").as_deref(), Some("1"));
    let log = &parent.events[0];
    assert_eq!((log.name.as_str(), log.attributes.len()), ("log", 2));
    assert_eq!(attribute(&log.attributes, "outcrop.log.line").as_deref(), Some("7"));
    assert_eq!(children.len(), notes::CHILDREN_MAX);
    for child in children {
        assert_eq!((child.kind, &child.trace_id, &child.parent_span_id), (1, &parent.trace_id, &parent.span_id));
        assert!(child.start_time_unix_nano <= child.end_time_unix_nano);
    }
    assert_ne!(children[0].span_id, children[1].span_id);
    assert_eq!(children[0].name, "call discount");
    for (key, value) in [("fuel", "12345"), ("reused", "true"), ("share", "0.5"), ("debt", "-1")] {
        let key = format!("outcrop.function.{key}");
        assert_eq!(attribute(&children[0].attributes, &key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(&children[0].attributes, "error.type").as_deref(), Some("trap"));
    assert_eq!(children[0].status.as_ref().map(|status| status.message.as_str()), Some("out of fuel"));
}

#[test]
fn a_name_that_is_too_long_is_cut_between_characters() {
    assert_eq!(Name::<5>::new("äöü").text(), Some("äö"));
    assert_eq!(Name::<5>::new("").text(), None);
}
