//! What the verbs of functions share: the registry and the engine behind them, and how a call's end is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::archive::archive_value;
use outcrop_wire::reply::{Called, encode_called, encode_failure};
use outcrop_wire::{Code, MapKey, ReplyHeader, Value, Verb};

use super::answer::{Finished, Wait};
use super::error::CommandError;
use super::job::Desk;
use crate::store::Namespace;
use crate::udf::registry::{Registry, Resolved};
use crate::udf::{Call, Failed, Host, LogLine, Ran, Refusal, Trace};
use crate::world::{Clock, Entropy};

/// Everything that a node needs to run functions.
pub struct Functions {
    /// Modules and versions.
    pub registry: Arc<Registry>,
    /// The engine.
    pub host: Arc<Host>,
    /// The wall clock, read once a call.
    pub clock: Arc<dyn Clock>,
    /// For the seeds of calls.
    pub entropy: Arc<dyn Entropy>,
    /// Record functions over whole sets.
    pub jobs: Arc<Desk>,
    /// Instances of one aggregate, side by side: the pool's threads.
    pub parallel: usize,
}

impl Functions {
    /// A call on records of `namespace`, as of now.
    pub fn call(&self, resolved: &Resolved, namespace: &Arc<Namespace>, arguments: Bytes) -> Call {
        Call {
            function: resolved.function,
            arguments,
            limits: resolved.limits.clone(),
            namespace: namespace.clone(),
            now_ms: self.clock.now_ms(),
            seed: self.entropy.next_u64(),
            on_pool: false,
        }
    }

    /// Takes a call's end into its module's numbers and log.
    pub fn record(&self, resolved: &Resolved, ended: Result<&Ran, &Failed>, latency: Duration) {
        let (code, trace) = match ended {
            Ok(ran) => (Code::Ok, &ran.trace),
            Err(failed) => (failed.code, &failed.details.trace),
        };
        resolved.record(code, trace, latency, self.clock.now_ms());
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.backtrace.iter().fold(refusal.message, |text, frame| format!("{text}\n    at {frame}"));
        CommandError::new(refusal.code, text)
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Vec<(MapKey, Value)> {
    entries.into_iter().map(|(key, value)| (MapKey::Text(key.to_owned()), value)).collect()
}

fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn logs_value(lines: &[LogLine]) -> Value {
    let line = |line: &LogLine| {
        Value::Map(map([("level", line.level.name().into()), ("message", line.message.as_str().into())]))
    };
    Value::List(lines.iter().map(line).collect())
}

/// What a caller who asked for it learns of a call: an archived map.
pub fn report(resolved: &Resolved, trace: &Trace) -> Result<Vec<u8>, CommandError> {
    let usage = &trace.usage;
    let micros = |time: Duration| number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let mut entries = map([
        ("module", (&*resolved.live.name).into()),
        ("version", (&*resolved.loaded.version).into()),
        ("function", resolved.name().into()),
        ("fuel", number(usage.fuel)),
        ("memory_bytes", number(usage.memory_bytes)),
        ("wall_us", micros(usage.wall)),
        ("host_calls", number(usage.host_calls)),
        ("logs", logs_value(&trace.logs)),
        ("logs_dropped", number(usage.logs_dropped)),
    ]);
    if usage.instances > 1 || usage.records > 0 {
        entries.extend(map([
            ("records", number(usage.records)),
            ("bytes", number(usage.bytes)),
            ("elapsed_us", micros(usage.wall)),
            ("instances", number(usage.instances.into())),
        ]));
    }
    if usage.damaged_places > 0 {
        entries.extend(map([("damaged_places", number(usage.damaged_places.into()))]));
    }
    Ok(archive_value(&Value::Map(entries))?)
}

/// The answer to a call that ended well.
pub fn answered(header: &ReplyHeader, ran: &Ran, report: &[u8], wait: Option<Wait>) -> Finished {
    let mut content = Vec::with_capacity(ran.result.len() + report.len() + 40);
    encode_called(header, Called { result: &ran.result, report }, &mut content);
    Finished::small(Code::Ok, content, wait)
}

/// The answer to a call that failed: the code, the message, and all that is known of it. `resolved`: what `path` named,
/// if it got that far.
pub fn failed(
    (request_id, verb): (u32, Verb),
    path: &str,
    resolved: Option<&Resolved>,
    failed: &Failed,
    wait: Option<Wait>,
) -> Finished {
    let details = &failed.details;
    let mut entries = map([("function", path.into())]);
    if let Some(resolved) = resolved {
        let (module, version) = (&*resolved.live.name, &*resolved.loaded.version);
        entries.extend(map([("module", module.into()), ("version", version.into())]));
    }
    if let Some(code) = &details.failure_code {
        entries.extend(map([("failure_code", code.as_str().into())]));
    }
    if !details.backtrace.is_empty() {
        let frames = details.backtrace.iter().map(|frame| Value::from(frame.as_str())).collect();
        entries.extend(map([("backtrace", Value::List(frames))]));
    }
    if let Some(hit) = &details.limit {
        let limit =
            map([("name", hit.kind.name().into()), ("allowed", number(hit.allowed)), ("used", number(hit.used))]);
        entries.extend(map([("limit", Value::Map(limit))]));
    }
    if !details.trace.logs.is_empty() {
        entries.extend(map([("logs", logs_value(&details.trace.logs))]));
    }
    let mut content = Vec::with_capacity(256);
    let archived = archive_value(&Value::Map(entries)).unwrap_or_default();
    encode_failure(&ReplyHeader::new(request_id, verb, failed.code), &failed.message, &archived, &mut content);
    Finished::small(failed.code, content, wait)
}
