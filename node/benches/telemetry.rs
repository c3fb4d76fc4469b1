//! What telemetry costs each request: counting, deciding about a span, and a whole sampled span.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use outcrop_node::options::TelemetryOptions;
use outcrop_node::telemetry::metrics::Exposition;
use outcrop_node::telemetry::otlp::Identity;
use outcrop_node::telemetry::span::Ending;
use outcrop_node::telemetry::{Metrics, NodeStats, Stage, Tracing, WorkerTracer};
use outcrop_node::world::{SystemClock, SystemEntropy};
use outcrop_wire::{Code, NamespaceId, RequestHeader, Verb};
use tokio::time::Instant;

const HEADER: RequestHeader =
    RequestHeader { request_id: 1, verb: Verb::Get, namespace: NamespaceId(0), deadline_ms: 0, trace: None };

fn tracing(percent: f64, metrics: &Arc<Metrics>) -> Tracing {
    // Nobody listens there: finished spans are dropped, as they are when a receiver is away.
    let otlp = Some("http://127.0.0.1:1".to_owned());
    let options = TelemetryOptions { otlp, sample_percent: percent, ..TelemetryOptions::default() };
    let identity = Identity { node_id: "1".to_owned(), version: "0".to_owned() };
    Tracing::start(&options, &identity, 7420, metrics, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .expect("the address can be used")
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
    for (name, tracing) in [
        ("decide about a span, tracing off", Tracing::off()),
        ("decide about a span, 0%", tracing(0.0, &metrics)),
        ("a request at 1%", tracing(1.0, &metrics)),
        ("a request at 100%", tracing(100.0, &metrics)),
    ] {
        let (tracer, arrived) = (tracing.worker(0), Instant::now());
        criterion.bench_function(name, |bencher| bencher.iter(|| request(&tracer, arrived)));
    }
    criterion.bench_function("answer a scrape", |bencher| {
        bencher.iter(|| metrics.render(NodeStats::default(), Exposition::Prometheus).map(|text| text.len()));
    });
}

criterion_group!(benches, costs);
criterion_main!(benches);
