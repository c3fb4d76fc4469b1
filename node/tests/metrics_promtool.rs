//! Prometheus' own tool finds nothing to complain about: metrics of a whole node, alert rules, scrape configuration.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use outcrop_flash::log::SyncLatency;
use outcrop_node::config::Config;
use outcrop_node::node::Node;
use outcrop_node::telemetry::metrics::{Counter, Exposition, Gauge};
use outcrop_node::telemetry::stats::{
    FunctionCallStats, FunctionHostStats, IndexStats, LogStats, ProcessStats, SetStats,
};
use outcrop_node::telemetry::{Metrics, NamespaceStats, NodeStats};
use outcrop_wire::{Code, Verb};

/// Runs promtool; `None`, loudly, if it isn't installed.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: promtool isn't installed (apt-get install --no-install-recommends prometheus)");
            return None;
        }
        Err(error) => panic!("promtool can't be run: {error}"),
    };
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("promtool reads its input");
    Some(child.wait_with_output().expect("promtool ends"))
}

fn content(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A function that was called, and what came of it.
fn called(module: &str, function: &str) -> FunctionCallStats {
    FunctionCallStats {
        module: module.to_owned(),
        function: function.to_owned(),
        outcomes: vec![("ok", 7), ("function_fuel_limit", 2)],
        limits: vec![("fuel", 2)],
        latency_us: vec![(16, 0), (64, 8)],
        latency_slower: 1,
        latency_us_sum: 90_000_000,
        ..FunctionCallStats::default()
    }
}

/// A node where everything has happened.
fn busy() -> (std::sync::Arc<Metrics>, NodeStats) {
    let metrics = Metrics::new(2);
    let worker = metrics.worker(1);
    for (place, verb) in Verb::ALL.into_iter().enumerate() {
        for (more, code) in Code::ALL.iter().enumerate() {
            worker.record(verb, *code, Duration::from_micros((place * 1_000 + more * more) as u64), 64, 1_024);
            worker.record_batch_item(verb, *code);
        }
    }
    worker.record(Verb::Scan, Code::Ok, Duration::from_secs(3_600), 1, u64::from(u32::MAX) * 100);
    worker.count(Counter::PacketsLost);
    worker.gauge(Gauge::Connections, 10_000);
    let namespace = |name: &str| NamespaceStats {
        name: name.to_owned(),
        values: "flash".to_owned(),
        records: 1_000_000,
        sets: ["products", "a \"quoted\" set", "ä\\n"]
            .map(|set| SetStats { name: set.to_owned(), records: 7, bytes: 1 << 40 })
            .to_vec(),
        index: IndexStats { bytes: 39_000_000, slots: 1_066_000, bytes_per_record: 39.0 },
        log: LogStats {
            device: "/dev/nvme1n1".to_owned(),
            syncs: 5,
            sync_latency: SyncLatency { within: vec![(64, 0), (1_024, 4)], slower: 1, sum_us: 30_000_000 },
            poisoned: Some("EIO".to_owned()),
            ..LogStats::default()
        },
        ..NamespaceStats::default()
    };
    let stats = NodeStats {
        node_id: "00c0ffee".to_owned(),
        version: "0.1.0".to_owned(),
        workers: 2,
        namespaces: vec![namespace("shop"), namespace("sessions")],
        process: ProcessStats { cpu_seconds: 0.01, resident_bytes: 1 << 30 },
        functions: Some(FunctionHostStats {
            instances_max: 256,
            compile_seconds: 1.5,
            functions: vec![called("shop", "discount"), called("ads", "score_v2")],
            ..FunctionHostStats::default()
        }),
        ..NodeStats::default()
    };
    (metrics, stats)
}

#[test]
fn promtool_accepts_the_metrics() {
    for (metrics, stats) in [busy(), (Metrics::new(1), NodeStats::default())] {
        let text = metrics.render(stats, Exposition::Prometheus).expect("a string takes everything");
        let Some(output) = promtool(&["check", "metrics"], &text) else { return };
        // It ends with 0 even if its linter has something to say.
        assert!(output.status.success() && content(&output).is_empty(), "{}\n{text}", content(&output));
    }
    // The tool can complain: what prometheus-client writes for OpenMetrics isn't the Prometheus format.
    let (metrics, stats) = busy();
    let openmetrics = metrics.render(stats, Exposition::OpenMetrics).expect("a string takes everything");
    let Some(output) = promtool(&["check", "metrics"], &openmetrics) else { return };
    assert!(!content(&output).is_empty());
}

/// One request to a node's admin port; status and content of the answer.
fn ask(address: std::net::SocketAddr, path: &str) -> (String, String) {
    let mut stream = std::net::TcpStream::connect(address).expect("the admin port is open");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, content) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head.lines().next().unwrap_or_default().to_owned(), content.to_owned())
}

#[test]
fn promtool_accepts_the_metrics_of_a_running_node() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::dev(Some(dir.path()), "test");
    config.listen.data.set_port(0);
    config.listen.admin = Some(([127, 0, 0, 1], 0).into());
    config.node.workers = 1;
    config.namespaces[0].size_bytes = 128 << 20;
    config.namespaces[0].write_buffer_bytes = 32 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = runtime.block_on(Node::start(config)).expect("the node starts");
    let admin = node.admin_addr().expect("it is on");
    assert!(ask(admin, "/readyz").0.contains("200"));
    let (_, stats) = ask(admin, "/stats");
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["namespaces"][0]["name"], "test");
    let (status, text) = ask(admin, "/metrics");
    assert!(status.contains("200") && text.contains("outcrop_namespace_records{namespace=\"test\"} 0"), "{text}");
    if let Some(output) = promtool(&["check", "metrics"], &text) {
        assert!(output.status.success() && content(&output).is_empty(), "{}\n{text}", content(&output));
    }
    runtime.block_on(node.shutdown()).expect("it stops");
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

#[test]
fn promtool_accepts_the_alerts_and_the_scrape_configuration() {
    for (command, file) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
        let path = deploy(file);
        let Some(output) = promtool(&["check", command, path.to_str().expect("UTF-8")], "") else { return };
        assert!(output.status.success(), "{}", content(&output));
    }
}

#[test]
fn alerts_speak_of_metrics_that_there_are() {
    let (metrics, stats) = busy();
    let text = metrics.render(stats, Exposition::Prometheus).expect("a string takes everything");
    let rules = std::fs::read_to_string(deploy("alerts.yml")).expect("the alerts are there");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: Vec<&str> = words.filter(|word| word.starts_with("outcrop_")).collect();
    assert!(named.len() > 10, "the alerts use the metrics");
    for name in named {
        let exists =
            text.lines().any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
        assert!(exists, "{name} isn't a metric");
    }
}

#[test]
fn every_metric_is_described() {
    let (metrics, stats) = busy();
    let text = metrics.render(stats, Exposition::Prometheus).expect("a string takes everything");
    let described = include_str!("../../docs/observability.md");
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE outcrop_")?.split(' ').next()).collect();
    assert!(names.len() > 40);
    for name in names {
        assert!(described.contains(&format!("`{name}`")), "outcrop_{name} isn't described");
    }
}
