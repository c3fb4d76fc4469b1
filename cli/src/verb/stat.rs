//! `outcrop stat`: the node's statistics as tables, or as the JSON that the node gives.

use clap::Args;
use outcrop_client::{Client, Value};

use crate::failure::{Exit, Failure};
use crate::json::parse_value;
use crate::output::{Out, OutputFormat, bytes_text, grouped, table, value_text};
use crate::target::{Target, suggest};

const HELP: &str = "\
Examples:
  outcrop stat
  outcrop stat test                                       one namespace with its sets
  outcrop stat --output json | jq .namespaces[0].records";

/// Show statistics.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct StatArgs {
    /// Only this namespace, with its sets
    pub namespace: Option<String>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Asks and prints.
pub async fn run(args: &StatArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let topic = args.namespace.as_deref().unwrap_or("");
    let text = match client.info(topic).await {
        Ok(text) => text,
        Err(error) => return Err(suggest(&client, topic, None, error.into()).await),
    };
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.line(&text)?,
        OutputFormat::Table => print(&mut out, &client, &read(&text)?, args.namespace.is_some())?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

fn read(text: &str) -> Result<Value, Failure> {
    const DEPTH_MAX: usize = 16;
    parse_value(text.as_bytes(), DEPTH_MAX).map_err(|error| {
        Failure::of_code(outcrop_client::Code::Internal, format!("the node's statistics can't be read: {error}"))
    })
}

fn print(out: &mut Out, client: &Client, stats: &Value, one: bool) -> Result<(), Failure> {
    if one {
        return print_namespace(out, stats);
    }
    let uptime = number(stats, &["uptime_secs"]);
    let connections = number(stats, &["quic", "connections"]);
    out.line(&format!(
        "node {}, version {}, up {}, {} workers, {} connections, {} in memory{}",
        shown(stats, &["node_id"]),
        shown(stats, &["version"]),
        duration(uptime),
        number(stats, &["workers"]),
        connections,
        bytes_text(number(stats, &["process", "resident_bytes"])),
        if field(stats, &["draining"]) == Some(&Value::Bool(true)) { ", shutting down" } else { "" },
    ))?;
    let mut namespaces =
        table(["namespace", "values", "records", "live", "used", "capacity", "index", "expired", "evicted", "state"]);
    for namespace in list(stats, "namespaces") {
        namespaces.add_row([
            shown(namespace, &["name"]),
            shown(namespace, &["values"]),
            grouped(number(namespace, &["records"])),
            bytes_text(number(namespace, &["log", "live_bytes"])),
            bytes_text(number(namespace, &["log", "used_bytes"])),
            bytes_text(number(namespace, &["log", "capacity_bytes"])),
            bytes_text(number(namespace, &["index", "bytes"])),
            grouped(number(namespace, &["expired"])),
            grouped(number(namespace, &["evicted"])),
            state(namespace),
        ]);
    }
    if list(stats, "namespaces").is_empty() {
        let names: Vec<String> = client.namespaces().into_iter().map(|info| info.name).collect();
        out.line(&format!("namespaces: {}", names.join(", ")))?;
    } else {
        out.table(&namespaces)?;
    }
    print_requests(out, stats)
}

fn print_requests(out: &mut Out, stats: &Value) -> Result<(), Failure> {
    let verbs = list(stats, "requests");
    if verbs.is_empty() {
        return Ok(());
    }
    let mut requests = table(["verb", "requests", "errors", "received", "sent", "p50 µs", "p99 µs", "p99.9 µs"]);
    for verb in verbs {
        requests.add_row([
            shown(verb, &["verb"]),
            grouped(number(verb, &["requests"])),
            grouped(number(verb, &["errors"])),
            bytes_text(number(verb, &["received_bytes"])),
            bytes_text(number(verb, &["sent_bytes"])),
            grouped(number(verb, &["latency_us_p50"])),
            grouped(number(verb, &["latency_us_p99"])),
            grouped(number(verb, &["latency_us_p999"])),
        ]);
    }
    out.line("")?;
    out.table(&requests)
}

/// Everything about one namespace: its fields, one a line, then its sets.
fn print_namespace(out: &mut Out, stats: &Value) -> Result<(), Failure> {
    let mut fields = table(["field", "value"]);
    if let Value::Map(entries) = stats {
        for (name, value) in entries {
            let name = value_text(&key_text(name));
            match value {
                Value::List(_) => {}
                Value::Map(inner) => {
                    for (inner_name, value) in inner {
                        let name = format!("{name}.{}", value_text(&key_text(inner_name)));
                        fields.add_row([name.clone(), scalar(&name, value)]);
                    }
                }
                value => drop(fields.add_row([name.clone(), scalar(&name, value)])),
            }
        }
    }
    out.table(&fields)?;
    out.line("")?;
    let mut sets = table(["set", "records", "bytes"]);
    for set in list(stats, "sets") {
        let bytes = bytes_text(number(set, &["bytes"]));
        sets.add_row([shown(set, &["name"]), grouped(number(set, &["records"])), bytes]);
    }
    if list(stats, "sets").is_empty() { out.line("no sets") } else { out.table(&sets) }
}

fn key_text(key: &outcrop_client::MapKey) -> Value {
    match key {
        outcrop_client::MapKey::Text(text) => Value::from(text.as_str()),
        outcrop_client::MapKey::Int(number) => Value::Int(*number),
        outcrop_client::MapKey::Bytes(bytes) => Value::from(bytes.as_slice()),
    }
}

/// A field's value; counts of bytes with their unit.
fn scalar(name: &str, value: &Value) -> String {
    match value {
        Value::Int(number) if name.ends_with("bytes") => bytes_text(u64::try_from(*number).unwrap_or(0)),
        Value::Int(number) => u64::try_from(*number).map_or_else(|_| number.to_string(), grouped),
        Value::Float(float) => format!("{float:.3}"),
        Value::Null => "-".to_owned(),
        other => value_text(other),
    }
}

fn state(namespace: &Value) -> String {
    match (field(namespace, &["log", "poisoned"]), field(namespace, &["stop_writes"])) {
        (Some(Value::Text(why)), _) => format!("poisoned: {why}"),
        (_, Some(Value::Bool(true))) => "no writes: nearly full".to_owned(),
        _ => "ok".to_owned(),
    }
}

fn field<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(&(*name).into()))
}

fn number(value: &Value, path: &[&str]) -> u64 {
    match field(value, path) {
        Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

fn shown(value: &Value, path: &[&str]) -> String {
    field(value, path).map_or_else(String::new, value_text)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    match value.get(&name.into()) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn duration(secs: u64) -> String {
    match (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}
