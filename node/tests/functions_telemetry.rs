//! What a node tells of its functions: metrics after real calls, and spans at a receiver that takes OTLP over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::TryStreamExt;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use outcrop_client::{Client, Key, ScanOptions, Trust, Ttl};
use outcrop_node::Node;
use outcrop_node::config::Config;
use outcrop_wire::archive::archive_value;
use prost::Message;

use crate::guest::{Guest, RECORD, ROW};

mod guest;

/// How long spans may take: they leave every second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver on a free port, and the spans that it was sent.
fn receiver() -> (SocketAddr, Receiver<Span>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, spans) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(body) = take_request(stream) else { continue };
            let request = ExportTraceServiceRequest::decode(&*body).expect("it is OTLP");
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            for span in scopes.flat_map(|scope| scope.spans) {
                if sender.send(span).is_err() {
                    return;
                }
            }
        }
    });
    (address, spans)
}

/// The body of one POST, which is accepted.
fn take_request(mut stream: TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let head_end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
            let length: usize = length.trim().parse().ok()?;
            if bytes.len() >= end + 4 + length {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
                return Some(bytes[end + 4..end + 4 + length].to_vec());
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn config(otlp: &str) -> Config {
    let text = format!(
        "[node]\ndata_dir = \"\"\nworkers = 1\n[listen]\ndata = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [tls]\nself_signed = true\n[telemetry]\notlp = \"{otlp}\"\nsample_percent = 100\n\
         [functions]\nthreads = 1\ninstances_max = 16\n\
         [[namespace]]\nname = \"test\"\nvalues = \"ram\"\nsize = \"64MiB\"\n\
         [namespace.functions.call]\nfuel = 1000000\nlog_lines = 40\n\
         [namespace.functions.query]\nfuel = 1000000000000000\nwall_ms = 600000\n"
    );
    Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A node with the module `shop`: `run` logs fifty lines and gives null, `spin` never ends, `fail` refuses.
async fn start(config: Config) -> (Node, Client) {
    let body = r#"(local $n i32)
      (if (i32.eq (local.get $function) (i32.const 1)) (then (loop $l (br $l))))
      (if (i32.eq (local.get $function) (i32.const 2)) (then (return (call $unknown))))
      (loop $more
        (call $context.log (i32.const 1) (i32.const 512) (i32.const 15))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 50))))
      (call $ok)"#;
    let guest = Guest::record(body).function("spin", RECORD, false, false).function("fail", RECORD, false, false);
    let component = guest.import(&["context.log"]).component();
    let node = Node::start(config).await.expect("a node");
    let url = format!("outcrop://{}", node.data_addr());
    let trust = Trust::Pem(node.certificate_pem().to_owned());
    let client = Client::builder(&url).trust(trust).deadline(PATIENCE).connect().await.expect("connects");
    client.modules().upload("shop", "1.2", &component, None).await.expect("uploaded");
    client.modules().activate("shop", "1.2").await.expect("active");
    (node, client)
}

fn key() -> Key {
    Key::new("test", "set", "a")
}

fn metrics(node: &Node) -> String {
    let mut stream = TcpStream::connect(node.admin_addr().expect("it is on")).expect("it listens");
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_calls_limits_and_the_compiler() {
    let (node, client) = start(config("")).await;
    for _ in 0..3 {
        client.call::<()>(&key(), "shop.run", &()).await.expect("it runs");
    }
    client.call::<()>(&key(), "shop.spin", &()).await.expect_err("it never ends");
    let text = metrics(&node);
    for line in [
        "outcrop_function_calls_total{module=\"shop\",function=\"run\",code=\"ok\"} 3",
        "outcrop_function_calls_total{module=\"shop\",function=\"spin\",code=\"function_fuel_limit\"} 1",
        "outcrop_function_limits_reached_total{module=\"shop\",function=\"spin\",limit=\"fuel\"} 1",
        "outcrop_function_fuel_total{module=\"shop\",function=\"spin\"} 1000000",
        "outcrop_function_log_lines_dropped_total{module=\"shop\",function=\"run\"} 30",
        "outcrop_function_memory_max_bytes{module=\"shop\",function=\"run\"} 131072",
        "outcrop_function_duration_seconds_count{module=\"shop\",function=\"run\"} 3",
        "outcrop_function_instances_max 16",
        "outcrop_function_instances 0",
        "outcrop_module_compilations_total 1",
        "outcrop_module_compilations_refused_total 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
    }
    node.shutdown().await.expect("it ends in order");
}

fn attribute<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref()
}

fn text(text: &str) -> Option<Value> {
    Some(Value::StringValue(text.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_tell_the_function_its_use_and_its_log() {
    let (address, spans) = receiver();
    let (node, client) = start(config(&format!("http://{address}/v1/traces"))).await;
    client.call::<()>(&key(), "shop.run", &()).await.expect("it runs");
    client.call::<()>(&key(), "shop.spin", &()).await.expect_err("it never ends");
    client.call::<()>(&key(), "shop.fail", &()).await.expect_err("it refuses");
    let mut calls = Vec::new();
    while calls.len() < 3 {
        let span = spans.recv_timeout(PATIENCE).expect("spans leave every second");
        if attribute(&span.attributes, "outcrop.function.name").is_some() {
            calls.push(span);
        }
    }
    let of = |function: &str| {
        let found =
            calls.iter().find(|span| attribute(&span.attributes, "outcrop.function.name").cloned() == text(function));
        found.unwrap_or_else(|| panic!("no span of {function}"))
    };
    let run = of("run");
    let told = |span: &Span, name: &str| attribute(&span.attributes, name).cloned();
    assert_eq!(told(run, "outcrop.module.name"), text("shop"));
    assert_eq!(told(run, "outcrop.module.version"), text("1.2"));
    assert_eq!(told(run, "outcrop.function.host_calls"), Some(Value::IntValue(50)));
    assert_eq!(told(run, "outcrop.function.memory_bytes"), Some(Value::IntValue(131_072)));
    assert_eq!(told(run, "outcrop.function.logs_dropped"), Some(Value::IntValue(18)), "50 lines, 32 are events");
    let logs: Vec<_> = run.events.iter().filter(|event| event.name == "log").collect();
    assert_eq!(logs.len(), 32);
    assert_eq!(attribute(&logs[0].attributes, "outcrop.log.severity").cloned(), text("info"));
    assert_eq!(attribute(&logs[0].attributes, "outcrop.log.body").cloned(), text("not implemented"));
    let spin = of("spin");
    assert_eq!(told(spin, "outcrop.function.limit"), text("fuel"));
    assert_eq!(told(spin, "outcrop.function.fuel"), Some(Value::IntValue(1_000_000)));
    assert_eq!(told(spin, "error.type"), text("function_fuel_limit"));
    assert_eq!(told(of("fail"), "outcrop.function.failure_code"), text("unknown"));
    node.shutdown().await.expect("it ends in order");
}

/// A row function with one row, 7, for each batch; from its second batch on it never comes back.
fn one_row_then_none() -> Guest {
    let archive = archive_value(&outcrop_wire::Value::Int(7)).expect("it is small");
    let row: String = archive.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let len = archive.len();
    let row_batch = format!(
        "(if (global.get $seen) (then (loop $forever (br $forever)))) (global.set $seen (i32.const 1))
         (call $ok_bytes (i32.const 600) (i32.const {}))",
        len + 4
    );
    Guest::new("first", ROW)
        .item(&format!(r#"(data (i32.const 600) "\{len:02x}\00\00\00{row}") (global $seen (mut i32) (i32.const 0))"#))
        .export("row-batch", &row_batch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_query_that_its_limit_ends_tells_what_it_took() {
    let (address, spans) = receiver();
    let (node, client) = start(config(&format!("http://{address}/v1/traces"))).await;
    client.modules().upload("rows", "1.0", &one_row_then_none().component(), None).await.expect("uploaded");
    client.modules().activate("rows", "1.0").await.expect("active");
    // More than one batch takes: the guest is at its second one, for good, when its caller has his row.
    for number in 0..16 {
        let key = Key::new("test", "set", number);
        client.set_bytes(&key, &[1; 60_000], Ttl::Never).await.expect("written");
    }
    let function = client.function("rows.first");
    let rows = function.arguments(&()).rows("test", None, ScanOptions::default().limit(1));
    let rows: Vec<outcrop_wire::Value> = rows.try_collect().await.expect("a row");
    assert_eq!(rows, [outcrop_wire::Value::Int(7)]);
    // The client leaves with its last row, maybe before the node has counted it.
    let text = loop {
        let text = metrics(&node);
        if text.contains("outcrop_function_calls_total{module=\"rows\"") {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let of = |name: &str| -> u64 {
        let start = format!("outcrop_function_{name}{{module=\"rows\",function=\"first\"");
        let line = text.lines().find(|line| line.starts_with(&start)).expect("the query is counted");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert_eq!(of("calls_total"), 1);
    assert!((1..=16).contains(&of("records_total")) && of("fuel_total") > 0 && of("memory_max_bytes") > 0, "{text}");
    assert!(text.contains("outcrop_function_instances 0"), "the guest is gone");
    let span = loop {
        let span = spans.recv_timeout(PATIENCE).expect("spans leave every second");
        if attribute(&span.attributes, "outcrop.function.name").cloned() == self::text("first") {
            break span;
        }
    };
    let told = |name: &str| match attribute(&span.attributes, name) {
        Some(Value::IntValue(value)) => *value as u64,
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(told("outcrop.function.records"), of("records_total"));
    assert_eq!(told("outcrop.function.fuel"), of("fuel_total"));
    node.shutdown().await.expect("it ends in order");
}
