//! The part of a node that jobs need, and jobs asked for as a client asks.

#![allow(dead_code)] // each test uses its part

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_node::command::{Context, execute_later};
use outcrop_node::platform::{Equipment, Platform, PlatformOptions};
use outcrop_node::store::open::{Opened, Tasks};
use outcrop_node::store::write::{Expect, WriteError};
use outcrop_node::store::{Namespace, Policy};
use outcrop_node::telemetry::{NodeStats, StatsSource};
use outcrop_node::udf::FunctionOptions;
use outcrop_node::world::{SeededEntropy, SystemClock};
use outcrop_wire::archive::{archive_bins, archive_value, decode_bins, decode_value};
use outcrop_wire::request::{JobOperation, JobRequest, encode_request};
use outcrop_wire::{
    Bins, Code, Key, MapKey, NamespaceId, Reply, RequestBody, RequestHeader, StoredRecord, Ttl, Value, Verb,
};

use super::guest::{AGGREGATE, Guest, RECORD};

/// What doesn't happen within this time on a busy machine is taken for never to come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// `add`: one more in the bin `n`, a failure if that is no number; `look`: nothing; `total`: no record function.
pub fn component() -> Vec<u8> {
    let body = r#"
      (if (local.get $function) (then (return (call $ok))))
      (call $record.bin-add (i32.const 600) (i32.const 1) (i64.const 1) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (return (call $failure (i32.const 601) (i32.const 9) (i32.const 610) (i32.const 4)))))
      (call $ok)"#;
    Guest::new("add", RECORD)
        .function("look", RECORD, false, true)
        .function("total", AGGREGATE, false, false)
        .import(&["record.bin-add"])
        .item(r#"(data (i32.const 600) "nno numbertype")"#)
        .export("call-record", body)
        .component()
}

struct NoStats;

impl StatsSource for NoStats {
    fn snapshot(&self) -> NodeStats {
        NodeStats::default()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

/// The part of a node that jobs need, with one namespace.
pub struct Rig {
    context: Arc<Context>,
    pub platform: Platform,
    pub namespace: Arc<Namespace>,
    tasks: Tasks,
}

impl Rig {
    /// In memory, with the module `shop`.
    pub async fn new() -> Rig {
        let rig = Rig::open(None, Policy::ram("test", 64 << 20)).await;
        rig.add_module().await;
        rig
    }

    pub async fn open(dir: Option<&Path>, policy: Policy) -> Rig {
        let opened = Namespace::open(NamespaceId(0), policy, Arc::new(SystemClock)).await;
        Rig::with(dir, opened.expect("the namespace opens")).await
    }

    /// On a device in memory, whose writes can be lost.
    pub async fn open_on(dir: &Path, policy: Policy, device: MemoryDevice) -> Rig {
        let opened = Namespace::open_on(NamespaceId(0), policy, Arc::new(device), Arc::new(SystemClock)).await;
        Rig::with(Some(dir), opened.expect("the namespace opens")).await
    }

    pub async fn with(dir: Option<&Path>, Opened { namespace, .. }: Opened) -> Rig {
        let clock = Arc::new(SystemClock);
        let tasks = namespace.start();
        let host = FunctionOptions { instances_max: 32, memory_bytes_ceiling: 64 << 20, ..FunctionOptions::default() };
        let options = PlatformOptions { threads: 2, host, ..PlatformOptions::default() };
        let world = (clock, Arc::new(SeededEntropy::new(7)));
        let world = (world.0 as _, world.1 as _);
        let platform = Platform::start(&options, &Equipment::default(), dir, world, (1, 1)).await;
        let platform = platform.expect("it starts").expect("functions are on");
        let context = Context::new(vec![namespace.clone()], 60_000, 64 << 20, Arc::new(NoStats));
        let context = Arc::new(context.with_functions(platform.functions.clone()));
        platform.functions.jobs.resume(&context);
        Rig { context, platform, namespace, tasks }
    }

    pub async fn add_module(&self) {
        let registry = &self.platform.functions.registry;
        registry.add("shop", "1", component().into(), Vec::new()).await.expect("added");
        registry.activate("shop", "1").await.expect("active");
    }

    /// As a node closes.
    pub async fn close(self) {
        self.platform.functions.jobs.stop(PATIENCE).await;
        self.namespace.close(self.tasks).await.expect("it closes");
        let pool = self.platform.pool;
        drop(self.context);
        tokio::task::spawn_blocking(move || drop(pool)).await.expect("the threads end");
    }

    pub fn put(&self, set: &str, id: i64, bins: &Bins) -> Result<(), WriteError> {
        let key = Key::new("test", set, id);
        let archive = archive_bins(bins).expect("within the limits");
        let done = self.namespace.put(&key.digest(), key.borrow(), &archive, Ttl::Never, Expect::default());
        done.map(|_| ()).map_err(|refused| refused.error)
    }

    pub fn fill(&self, set: &str, count: i64) {
        (0..count).for_each(|id| self.put(set, id, &Bins::new().with("n", 0)).expect("there is room"));
    }

    /// The bin `n` of a record.
    pub async fn n(&self, set: &str, id: i64) -> Value {
        let (_, stored) = self.namespace.read(Key::new("test", set, id).digest()).await.expect("it can be read");
        let stored = stored.expect("the record is there");
        let record = StoredRecord::parse(stored.as_ref()).expect("a record");
        let bins = decode_bins(record.archive).expect("bins");
        bins.get("n").expect("it has n").clone()
    }

    pub async fn ask(&self, verb: Verb, namespace: u16, body: &RequestBody<'_>) -> Result<Value, (Code, String)> {
        let header =
            RequestHeader { request_id: 1, verb, namespace: NamespaceId(namespace), deadline_ms: 0, trace: None };
        let mut frame = Vec::new();
        encode_request(&header, body, &mut frame);
        let finished = execute_later(self.context.clone(), Bytes::from(frame), None).await;
        let bytes = [finished.content.as_slice(), finished.value.as_deref().unwrap_or_default()].concat();
        let reply = Reply::parse(&bytes).expect("a reply");
        match reply.header.code {
            Code::Ok => Ok(decode_value(reply.body).expect("an archived value")),
            code => Err((code, reply.message())),
        }
    }

    pub async fn job(&self, operation: JobOperation, options: &Value) -> Result<Value, (Code, String)> {
        let options = archive_value(options).expect("a value");
        self.ask(Verb::Job, 0, &RequestBody::Job(JobRequest { operation, options: &options })).await
    }

    pub async fn start(&self, options: &[(&str, Value)]) -> Result<i64, (Code, String)> {
        self.job(JobOperation::Start, &map(options)).await.map(|job| number(&job, "id"))
    }

    /// A job of `shop.add` on the set `s`.
    pub async fn start_add(&self, more: &[(&str, Value)]) -> i64 {
        let options = [&[("function", Value::from("shop.add")), ("set", "s".into())], more].concat();
        self.start(&options).await.expect("it starts")
    }

    pub async fn of(&self, operation: JobOperation, id: i64) -> Result<Value, (Code, String)> {
        self.job(operation, &map(&[("id", id.into())])).await
    }

    /// Looks at a job until it is as wanted.
    pub async fn until(&self, id: i64, wanted: impl Fn(&Value) -> bool) -> Value {
        let looking = async {
            loop {
                let job = self.of(JobOperation::Status, id).await.expect("it is known");
                if wanted(&job) {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(job) => job,
            Err(_) => panic!("it never came to that: {:?}", self.of(JobOperation::Status, id).await),
        }
    }

    pub async fn ended(&self, id: i64) -> Value {
        self.until(id, |job| !["running", "paused"].contains(&text(job, "state").as_str())).await
    }
}

pub fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(name, value)| (MapKey::from(*name), value.clone())).collect())
}

pub fn field<'a>(job: &'a Value, name: &str) -> &'a Value {
    job.get(&MapKey::from(name)).unwrap_or_else(|| panic!("{name} of {job:?}"))
}

pub fn number(job: &Value, name: &str) -> i64 {
    match field(job, name) {
        Value::Int(number) => *number,
        other => panic!("{name} is {other:?}"),
    }
}

pub fn text(job: &Value, name: &str) -> String {
    match field(job, name) {
        Value::Text(text) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

pub fn numbers(job: &Value) -> (i64, i64, i64) {
    (number(job, "records_seen"), number(job, "records_changed"), number(job, "failures"))
}
