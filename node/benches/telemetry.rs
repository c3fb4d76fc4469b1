//! What telemetry costs each request: counting, deciding about a span, a whole sampled span, and its export.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use outcrop_node::options::TelemetryOptions;
use outcrop_node::telemetry::metrics::{Counter, Exposition};
use outcrop_node::telemetry::otlp::Identity;
use outcrop_node::telemetry::span::Ending;
use outcrop_node::telemetry::{Metrics, NodeStats, Stage, Tracing, WorkerTracer};
use outcrop_node::world::{SystemClock, SystemEntropy};
use outcrop_wire::{Code, NamespaceId, RequestHeader, Verb};
use tokio::time::Instant;

const HEADER: RequestHeader =
    RequestHeader { request_id: 1, verb: Verb::Get, namespace: NamespaceId(0), deadline_ms: 0, trace: None };

/// Spans that fit the queue and fill whole batches.
const CHUNK: u64 = 4_096;

fn tracing(percent: f64, url: &str, metrics: &Arc<Metrics>) -> Tracing {
    let options =
        TelemetryOptions { otlp: Some(url.to_owned()), sample_percent: percent, ..TelemetryOptions::default() };
    let identity = Identity { node_id: "1".to_owned(), version: "0".to_owned() };
    Tracing::start(&options, &identity, 7420, metrics, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .expect("the address can be used")
}

/// A receiver that takes everything and says yes.
fn receiver(runtime: &tokio::runtime::Runtime) -> String {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("loopback has free ports");
    let url = format!("http://{}/v1/traces", listener.local_addr().expect("it is bound"));
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(|_: axum::body::Bytes| async {}));
    runtime.spawn(async move { axum::serve(listener, router).await });
    url
}

/// Time of making `count` spans; with `export`, until they were sent as well.
fn make_spans(count: u64, tracer: &WorkerTracer, metrics: &Metrics, export: bool) -> Duration {
    let mut taken = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let before = metrics.counter(Counter::SpansExported) + metrics.counter(Counter::SpansDropped);
        let (began, now) = (std::time::Instant::now(), Instant::now());
        (0..CHUNK).for_each(|_| request(tracer, now));
        let made = began.elapsed();
        while metrics.counter(Counter::SpansExported) + metrics.counter(Counter::SpansDropped) < before + CHUNK {
            std::thread::sleep(Duration::from_micros(100));
        }
        // Whole chunks are made whatever is asked for, so the time is cut to the share.
        let share = left.min(CHUNK) as f64 / CHUNK as f64;
        taken += if export { began.elapsed() } else { made }.mul_f64(share);
        left -= left.min(CHUNK);
    }
    assert_eq!(metrics.counter(Counter::SpansDropped), 0);
    taken
}

fn request(tracer: &WorkerTracer, arrived: Instant) {
    if let Some(mut span) = tracer.begin(black_box(&HEADER), "shop", ([127, 0, 0, 1], 5).into(), arrived) {
        span.set("products");
        span.enter(Stage::Store);
        span.finish(Code::Ok, Ending { received_bytes: 64, sent_bytes: 1_024, ..Ending::default() });
    }
}

fn costs(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let _guard = runtime.enter();
    let metrics = Metrics::new(2);
    let (worker, shared) = (metrics.worker(0), metrics.shared());
    let latency = Duration::from_micros(37);
    criterion.bench_function("count a request, worker", |bencher| {
        bencher.iter(|| worker.record(black_box(Verb::Get), black_box(Code::Ok), black_box(latency), 64, 1_024));
    });
    criterion.bench_function("count a request, shared", |bencher| {
        bencher.iter(|| shared.record(black_box(Verb::Get), black_box(Code::Ok), black_box(latency), 64, 1_024));
    });
    // Nobody listens there, and nothing is sent.
    let away = "http://127.0.0.1:1";
    for (name, tracing) in [("decide, tracing off", Tracing::off()), ("decide, 0%", tracing(0.0, away, &metrics))] {
        let (tracer, arrived) = (tracing.worker(0), Instant::now());
        criterion.bench_function(name, |bencher| bencher.iter(|| request(&tracer, arrived)));
    }
    let url = receiver(&runtime);
    for (name, export) in [("make a span", false), ("make and export a span", true)] {
        let metrics = Metrics::new(1);
        let tracing = tracing(100.0, &url, &metrics);
        let tracer = tracing.worker(0);
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|count| make_spans(count, &tracer, &metrics, export));
        });
    }
    criterion.bench_function("answer a scrape", |bencher| {
        bencher.iter(|| metrics.render(NodeStats::default(), Exposition::Prometheus).map(|text| text.len()));
    });
}

criterion_group!(benches, costs);
criterion_main!(benches);
