//! A caller's span and the node's are one trace, as a real OTLP receiver sees it; `/metrics` passes `promtool`.
//!
//! The receiver is `rotel` (from PyPI), found by `OUTCROP_ROTEL` or as `rotel-agent` on the path. Where it or `promtool`
//! isn't installed, its test says so and checks nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use outcrop_client::{Batch, DeleteOptions, Key, ScanOptions, Ttl};
use outcrop_cluster_tests::{NodeProcess, Settings, size};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

/// A receiver that prints what it gets; ended with its test.
struct Receiver {
    child: Child,
    log: PathBuf,
    folder: tempfile::TempDir,
    grpc_port: u16,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    /// None where no receiver is installed.
    fn start() -> Option<Receiver> {
        let program = std::env::var_os("OUTCROP_ROTEL").unwrap_or_else(|| "rotel-agent".into());
        let known = Command::new(&program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !known.is_ok_and(|status| status.success()) {
            size::skipped("no OTLP receiver here; `pip install --pre rotel` and set OUTCROP_ROTEL to its rotel-agent");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("rotel.log");
        let (grpc_port, http_port) = (free_port(), free_port());
        let file = std::fs::File::create(&log).expect("a file");
        let errors = file.try_clone().expect("a file can be opened twice");
        let mut command = Command::new(program);
        command.args(["start", "--exporter", "blackhole", "--debug-log", "traces"]);
        command.args(["--debug-log-verbosity", "detailed"]);
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc_port}")]);
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http_port}")]);
        command.current_dir(&folder).stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().expect("the receiver was there a moment ago");
        let receiver = Receiver { child, log, folder, grpc_port };
        for _ in 0..2_400 {
            if std::net::TcpStream::connect(("127.0.0.1", grpc_port)).is_ok() {
                return Some(receiver);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the receiver doesn't listen:\n{}", receiver.received());
    }

    fn received(&self) -> String {
        assert!(self.folder.path().exists(), "the folder lives as long as the receiver");
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

#[tokio::test]
async fn a_callers_span_and_the_nodes_are_one_trace() {
    let Some(receiver) = Receiver::start() else { return };
    let mut settings = Settings::flash("64MiB");
    // The node itself samples nothing: what it exports was asked for by the caller.
    settings.telemetry = format!("otlp = \"http://127.0.0.1:{}\"\nsample_percent = 0.0", receiver.grpc_port);
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("served");

    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let key = Key::new("test", "traced", 1);
    let span = tracing::info_span!("checkout");
    let trace_id = span.context().span().span_context().trace_id().to_string();
    client.set_bytes(&key, b"in the trace", Ttl::Never).instrument(span).await.expect("served");
    drop(_guard);
    // Not in any trace: with nothing sampled the node keeps it to itself.
    client.get_bytes(&key).await.expect("served");

    // The exporter sends in batches; the drain sends the last one.
    let (_, status, said) = tokio::task::spawn_blocking(|| node.terminate()).await.expect("it ends");
    assert_eq!(status.code(), Some(0), "{said}");
    let mut received = String::new();
    for _ in 0..2_400 {
        received = receiver.received();
        if received.contains(&trace_id) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(received.contains(&trace_id), "no span of trace {trace_id} in:\n{received}");
    assert!(received.contains("put test"), "the span is named by verb and namespace:\n{received}");
    assert!(!received.contains("get test"), "a request that nobody samples is exported:\n{received}");
}

/// A metric's value.
fn metric(node: &NodeProcess, sample: &str) -> f64 {
    let reply = node.http("/metrics").expect("served");
    let value = reply.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {sample} in:\n{reply}"))
}

#[tokio::test]
async fn what_batches_and_scans_hold_and_how_long_syncs_take_is_counted() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    let key = |number| Key::new("test", "counted", number);
    for number in 0..3 {
        client.set_bytes(&key(number), b"value", Ttl::Never).await.expect("served");
    }
    let batch = Batch::new().get(&key(0)).get(&key(1)).get(&key(99)).exists(&key(2));
    client.batch(batch.delete(&key(0), DeleteOptions::default())).await.expect("served");
    let mut scan = client.scan("test", Some("counted"), ScanOptions::default());
    let mut records = 0;
    while let Some(batch) = scan.next_batch().await {
        records += batch.expect("served").len();
    }
    assert_eq!(records, 2);
    let told = |sample: &str| metric(&node, sample);
    assert_eq!(told("outcrop_batch_items_total{verb=\"get\",code=\"ok\"}"), 2.0);
    assert_eq!(told("outcrop_batch_items_total{verb=\"get\",code=\"not_found\"}"), 1.0);
    assert_eq!(told("outcrop_batch_items_total{verb=\"exists\",code=\"ok\"}"), 1.0);
    assert_eq!(told("outcrop_batch_items_total{verb=\"delete\",code=\"ok\"}"), 1.0);
    assert_eq!(told("outcrop_scan_records_total"), 2.0);
    let syncs = told("outcrop_log_sync_duration_seconds_count{namespace=\"test\"}");
    assert!(syncs >= 2.0, "three writes one after the other and a delete waited for syncs: {syncs}");
    assert!(told("outcrop_log_sync_duration_seconds_sum{namespace=\"test\"}") > 0.0);
    assert!(told("outcrop_index_slots{namespace=\"test\"}") >= 2.0);
    assert_eq!(told("outcrop_log_damaged_segments{namespace=\"test\"}"), 0.0);
    tokio::task::spawn_blocking(|| node.terminate()).await.expect("it ends");
}

#[test]
fn metrics_pass_promtool_and_health_is_told() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    assert!(node.http("/livez").expect("served").starts_with("HTTP/1.1 200"));
    assert!(node.http("/readyz").expect("served").starts_with("HTTP/1.1 200"));
    assert!(node.http("/nowhere").expect("served").starts_with("HTTP/1.1 404"));
    let reply = node.http("/metrics").expect("served");
    let (_, body) = reply.split_once("\r\n\r\n").expect("a body");
    assert!(body.lines().any(|line| line.starts_with("outcrop_")), "{body}");
    let mut command = Command::new("promtool");
    let spawned =
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = spawned else {
        size::skipped("no promtool here; it comes with Debian's `prometheus`");
        return;
    };
    promtool.stdin.take().expect("piped").write_all(body.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}
