//! The functions of the faulty node: a few whose answers a test can tell, spoken in the node's own frames.
//!
//! - `test.echo`: gives its arguments back; as an aggregate, with how many records it was told to go over; as a row
//!   function, each item of its arguments as a row, two in a part
//! - `test.fail`: fails with everything that a node can tell of it; `test.fail-once`: only for the key 1
//! - `test.slow`: never answers; whether its stream was stopped is remembered

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outcrop_wire::archive::{archive_value, decode_value_or_null};
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::reply::{Called, SCAN_END, SCAN_MORE, encode_called, encode_error, encode_failure};
use outcrop_wire::request::{
    AggregateRequest, CallRequest, JobOperation, JobRequest, ModuleOperation, ModuleRequest, RowsRequest, Target,
};
use outcrop_wire::{Code, Cursor, MapKey, ReplyHeader, RequestBody, UserKeyRef, Value, Verb};
use quinn::SendStream;

/// What the node remembers of modules and jobs.
#[derive(Debug, Default)]
pub struct Installed {
    /// Every operation on a module, in order: name, version, operation, and of a part its bytes.
    pub operations: Vec<(String, String, &'static str, usize)>,
    /// The component as it came, in parts.
    pub component: Vec<u8>,
    /// The options of the last operation that had some.
    pub options: Value,
    /// Looks at a job until it is done.
    pub looks: usize,
    /// Queries whose stream was stopped before their end.
    pub stopped: Arc<AtomicUsize>,
}

pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (MapKey::from(key), value)).collect())
}

fn archived(value: &Value) -> Vec<u8> {
    archive_value(value).expect("within the limits")
}

/// Carries out what isn't about records.
pub fn carry_out(installed: &mut Installed, reply: ReplyHeader, body: &RequestBody<'_>, out: &mut Vec<u8>) {
    match body {
        RequestBody::Call(call) => self::call(reply, call, out),
        RequestBody::Module(asked) => answer(reply, &module(installed, asked), out),
        RequestBody::Job(asked) => match asked.operation {
            JobOperation::Status if installed.looks == 0 => {
                encode_error(&ReplyHeader { code: Code::JobUnknown, ..reply }, "no such job", out);
            }
            _ => answer(reply, &job(installed, asked), out),
        },
        other => panic!("{:?} isn't for this node", other.verb()),
    }
}

fn answer(reply: ReplyHeader, value: &Value, out: &mut Vec<u8>) {
    reply.encode(out);
    out.extend_from_slice(&archived(value));
}

fn call(mut reply: ReplyHeader, call: &CallRequest<'_>, out: &mut Vec<u8>) {
    let fails_here = call.function.function == "fail"
        || (call.function.function == "fail-once" && call.key.user_key == UserKeyRef::Int(1));
    if fails_here {
        return fail(reply, out);
    }
    let report = map([
        ("module", call.function.module.into()),
        ("version", call.function.version.unwrap_or("active").into()),
        ("fuel", 1_234.into()),
        ("wall_us", 7.into()),
        ("logs", Value::List(vec![map([("level", "info".into()), ("message", "called".into())])])),
    ]);
    reply.generation = call.if_generation.unwrap_or(0) + 1;
    let report = if call.report { archived(&report) } else { Vec::new() };
    let result = archived(&decode_value_or_null(call.arguments).expect("the client archived them"));
    encode_called(&reply, Called { result: &result, report: &report }, out);
}

fn fail(reply: ReplyHeader, out: &mut Vec<u8>) {
    let details = map([
        ("module", "test".into()),
        ("version", "1.0.0".into()),
        ("function", "fail".into()),
        ("failure_code", "told-to".into()),
        ("backtrace", Value::List(vec!["fail at src/lib.rs:7".into()])),
        ("limit", map([("name", "fuel".into()), ("allowed", 10.into()), ("used", 11.into())])),
        ("logs", Value::List(vec![map([("level", "warn".into()), ("message", "about to".into())])])),
    ]);
    let header = ReplyHeader { code: Code::FunctionFailed, ..reply };
    encode_failure(&header, "it was told to", &archived(&details), out);
}

fn module(installed: &mut Installed, asked: &ModuleRequest<'_>) -> Value {
    let (name, version) = (asked.name.to_owned(), asked.version.to_owned());
    let mut bytes = 0;
    let value = match asked.operation {
        ModuleOperation::UploadPart { total_bytes, offset, hash, bytes: part } => {
            assert_eq!(offset, installed.component.len() as u64, "parts come in order");
            installed.component.extend_from_slice(part);
            bytes = part.len();
            let received = installed.component.len() as u64;
            let done = received == total_bytes;
            assert!(!done || *blake3::hash(&installed.component).as_bytes() == hash, "the hash is of the whole");
            map([("done", done.into()), ("received", (received as i64).into())])
        }
        ModuleOperation::Rollback => map([("active", "0.9.0".into())]),
        ModuleOperation::List => Value::List(vec![map([("name", "shop".into()), ("calls", 5.into())])]),
        ModuleOperation::Stats => map([("name", "shop".into()), ("counters", map([("hits", 3.into())]))]),
        ModuleOperation::Logs { options } | ModuleOperation::SetLimits { limits: options } => {
            installed.options = decode_value_or_null(options).expect("the client archived them");
            Value::List(vec![map([("sequence", 8.into()), ("message", "a line".into())])])
        }
        ModuleOperation::Describe => {
            let function = map([("name", "discount".into()), ("kind", "record".into()), ("read_only", true.into())]);
            let version = map([("version", asked.version.into()), ("bytes", 7.into())]);
            map([("name", asked.name.into()), ("version", version), ("functions", Value::List(vec![function]))])
        }
        _ => map([]),
    };
    installed.operations.push((name, version, asked.operation.name(), bytes));
    value
}

fn job(installed: &mut Installed, asked: &JobRequest<'_>) -> Value {
    if !asked.options.is_empty() {
        installed.options = decode_value_or_null(asked.options).expect("the client archived them");
    }
    let state = match asked.operation {
        JobOperation::Start => {
            installed.looks = 3;
            "running"
        }
        JobOperation::Status => {
            installed.looks -= 1;
            if installed.looks == 0 { "done" } else { "running" }
        }
        JobOperation::Pause => "paused",
        JobOperation::Cancel => "cancelled",
        _ => "running",
    };
    let failure = map([("key", "products/7".into()), ("message", "no price".into())]);
    let job = map([
        ("id", 7.into()),
        ("function", "shop.discount".into()),
        ("state", state.into()),
        ("progress", 0.5.into()),
        ("failures", 1.into()),
        ("failures_first", Value::List(vec![failure])),
    ]);
    if asked.operation == JobOperation::List { Value::List(vec![job]) } else { job }
}

/// Answers an aggregate on its stream.
pub async fn aggregate(stopped: Arc<AtomicUsize>, id: u32, asked: &AggregateRequest<'_>, mut send: SendStream) {
    let reply = ReplyHeader::new(id, Verb::Aggregate, Code::Ok);
    let mut out = Vec::new();
    let start = begin_frame(&mut out);
    match asked.function.function {
        "slow" => {
            // Only the caller ends it.
            if send.stopped().await.is_ok_and(|code| code.is_some()) {
                stopped.fetch_add(1, Ordering::SeqCst);
            }
            return;
        }
        "fail" => fail(reply, &mut out),
        _ => {
            let over = match &asked.target {
                Target::Scan { set, partition_first, partition_last } => Value::List(vec![
                    set.map_or(Value::Null, Value::from),
                    i64::from(*partition_first).into(),
                    i64::from(*partition_last).into(),
                ]),
                Target::Keys(keys) => (keys.len() as i64).into(),
            };
            let arguments = decode_value_or_null(asked.arguments).expect("the client archived them");
            let result = archived(&Value::List(vec![over, arguments]));
            encode_called(&reply, Called { result: &result, report: &[] }, &mut out);
        }
    }
    end_frame(&mut out, start);
    // An error: the caller has gone.
    let _ = send.write_all(&out).await;
    let _ = send.finish();
}

/// The parts of a row query from its cursor on: two rows each, the last one with what is left.
pub fn row_parts(id: u32, asked: &RowsRequest<'_>) -> Vec<Vec<u8>> {
    let Value::List(items) = decode_value_or_null(asked.arguments).expect("the client archived them") else {
        let mut out = Vec::new();
        let start = begin_frame(&mut out);
        fail(ReplyHeader::new(id, Verb::Rows, Code::Ok), &mut out);
        end_frame(&mut out, start);
        return vec![out];
    };
    let begin = asked.scan.cursor.map_or(0, |cursor| cursor.position_lsn as usize);
    let limit = if asked.scan.limit == 0 { usize::MAX } else { asked.scan.limit as usize };
    let wanted = items.len().min(begin.saturating_add(limit));
    let mut parts = Vec::new();
    let mut place = begin;
    loop {
        let end = (place + 2).min(wanted);
        let mut out = Vec::new();
        let start = begin_frame(&mut out);
        ReplyHeader::new(id, Verb::Rows, Code::Ok).encode(&mut out);
        out.push(if end < wanted { SCAN_MORE } else { SCAN_END });
        Cursor { log_id: 1, start_lsn: 0, position_lsn: end as u64, emitted: end as u64 }.encode(&mut out);
        out.extend_from_slice(&((end - place) as u32).to_le_bytes());
        for item in &items[place..end] {
            let row = archived(item);
            out.extend_from_slice(&(row.len() as u32).to_le_bytes());
            out.extend_from_slice(&row);
        }
        end_frame(&mut out, start);
        parts.push(out);
        if end >= wanted {
            return parts;
        }
        place = end;
    }
}
