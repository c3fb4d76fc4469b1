//! Spans reach a real OTLP receiver (rotel, from PyPI) over gRPC and over HTTP, with names, parents and attributes; and
//! a receiver that isn't there costs nothing but counted spans.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use outcrop_node::options::TelemetryOptions;
use outcrop_node::telemetry::metrics::Counter;
use outcrop_node::telemetry::otlp::Identity;
use outcrop_node::telemetry::span::Ending;
use outcrop_node::telemetry::{Metrics, Stage, Tracing};
use outcrop_node::world::{SeededEntropy, SystemClock};
use outcrop_wire::{Code, NamespaceId, RequestHeader, TraceContext, Verb};
use tokio::time::Instant;

/// The receiver's program: `OUTCROP_ROTEL`, or `rotel-agent` inside of the Python package.
fn rotel() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("OUTCROP_ROTEL") {
        return Some(program.into());
    }
    let find = "import importlib.util, pathlib; \
                print(pathlib.Path(importlib.util.find_spec('rotel').origin).with_name('rotel-agent'))";
    let output = Command::new("python3").args(["-c", find]).stderr(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (output.status.success() && path.is_file()).then_some(path)
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound")
}

struct Receiver {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    dir: tempfile::TempDir,
}

impl Receiver {
    fn start(program: &PathBuf) -> Receiver {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (grpc, http) = (free_port(), free_port());
        let log = File::create(dir.path().join("output")).expect("a temporary directory");
        let child = Command::new(program)
            .arg("start")
            .args(["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()])
            .arg("--pid-file")
            .arg(dir.path().join("pid"))
            .arg("--log-file")
            .arg(dir.path().join("log"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("one more descriptor"))
            .stdout(log)
            .spawn()
            .expect("rotel is installed");
        let receiver = Receiver { child, grpc, http, dir };
        for address in [grpc, http] {
            receiver.wait_for(|| TcpStream::connect(address).is_ok(), "it listens");
        }
        receiver
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    /// Waits half a minute: far longer than it ever takes, so that only a real failure gets there.
    fn wait_for(&self, done: impl Fn() -> bool, what: &str) {
        for _ in 0..600 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("rotel: not reached: {what}\n{}", self.output());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tracing_to(url: String, metrics: &Arc<Metrics>, seed: u64) -> Tracing {
    let options = TelemetryOptions { otlp: Some(url), sample_percent: 0.0, ..TelemetryOptions::default() };
    let identity = Identity { node_id: "00c0ffee".to_owned(), version: "1.2.3".to_owned() };
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SeededEntropy::new(seed)));
    Tracing::start(&options, &identity, 7420, metrics, clock, entropy).expect("the address can be used")
}

fn header(verb: Verb, trace_byte: u8) -> RequestHeader {
    let trace = TraceContext { trace_id: [trace_byte; 16], span_id: [0xAB; 8], flags: 1 };
    RequestHeader { request_id: 1, verb, namespace: NamespaceId(0), deadline_ms: 0, trace: Some(trace) }
}

/// Makes a few spans as requests would, and sends them.
async fn send(url: String, trace_byte: u8) -> Arc<Metrics> {
    let metrics = Metrics::new(1);
    let tracing = tracing_to(url, &metrics, trace_byte.into());
    let tracer = tracing.worker(0);
    let peer = ([192, 0, 2, 7], 4_321).into();
    let mut get = tracer.begin(&header(Verb::Get, trace_byte), "shop", peer, Instant::now()).expect("sampled");
    get.set("products");
    get.enter(Stage::Store);
    get.enter(Stage::FlashRead);
    get.served_from("flash");
    get.finish(Code::Ok, Ending { received_bytes: 64, sent_bytes: 1_024, ..Ending::default() });
    let put = tracer.begin(&header(Verb::Put, trace_byte), "shop", peer, Instant::now()).expect("sampled");
    put.finish(Code::StopWrites, Ending { message: Some("the device is nearly full"), ..Ending::default() });
    tracing.shutdown(Duration::from_secs(20)).await;
    metrics
}

#[tokio::test]
async fn spans_arrive_over_grpc_and_http_with_name_and_parent() {
    let Some(program) = rotel() else {
        eprintln!("SKIPPED: rotel isn't installed (pip install rotel==0.0.1a15)");
        return;
    };
    let receiver = Receiver::start(&program);
    for (url, trace_byte) in
        [(format!("http://{}", receiver.grpc), 0x11), (format!("http://{}/v1/traces", receiver.http), 0x22)]
    {
        // A port other than 4318 without a path is gRPC, with a path HTTP.
        let metrics = send(url.clone(), trace_byte).await;
        let exported = (metrics.counter(Counter::SpansExported), metrics.counter(Counter::SpansDropped));
        assert_eq!(exported, (2, 0), "{url}\n{}", receiver.output());
        let trace = format!("{trace_byte:02x}").repeat(16);
        receiver.wait_for(|| receiver.output().matches(&trace).count() >= 2, "both spans of the trace are told");
        let output = receiver.output();
        let told = &output[output.find(&trace).expect("waited for")..];
        for word in [
            "get shop.products",
            "put shop",
            "abababababababab",
            "db.system.name: Str(outcrop)",
            "db.namespace: Str(shop)",
            "db.collection.name: Str(products)",
            "db.operation.name: Str(get)",
            "db.response.status_code: Str(500)",
            "error.type: Str(stop_writes)",
            "network.peer.address: Str(192.0.2.7)",
            "outcrop.served_from: Str(flash)",
        ] {
            assert!(told.contains(word), "{url}: {word:?} isn't told\n{told}");
        }
        assert!(output.contains("service.instance.id: Str(00c0ffee)"), "{output}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_costs_spans_and_nothing_else() {
    let metrics = send(format!("http://{}/v1/traces", free_port()), 0x33).await;
    assert_eq!((metrics.counter(Counter::SpansExported), metrics.counter(Counter::SpansDropped)), (0, 2));
    let refused = Tracing::start(
        &TelemetryOptions { otlp: Some("localhost:4317".to_owned()), ..TelemetryOptions::default() },
        &Identity { node_id: String::new(), version: String::new() },
        1,
        &metrics,
        Arc::new(SystemClock),
        Arc::new(SeededEntropy::new(1)),
    );
    assert!(refused.is_err_and(|error| error.to_string().contains("http://")));
}
