//! A function host with a pool of two threads and a namespace in memory, as tests drive it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{Log, LogOptions, SEGMENTS_OFFSET};
use outcrop_node::server::worker::Worker;
use outcrop_node::store::open::{Opened, Tasks};
use outcrop_node::store::write::Expect;
use outcrop_node::store::{Namespace, Policy};
use outcrop_node::udf::{
    Call, Compiler, Failed, FunctionOptions, Host, Limits, Prepared, Ran, Refusal, Staged, Subject,
};
use outcrop_node::world::{ManualClock, SeededEntropy};
use outcrop_wire::archive::{archive_bins, archive_value, decode_bins, decode_value_or_null};
use outcrop_wire::{Bins, Key, NamespaceId, Ttl, Value};

use super::Guest;

/// When the clock of all tests stands.
pub const NOW_MS: u64 = 1_794_600_000_000;

/// A host with what it needs.
pub struct Bench {
    pub host: Arc<Host>,
    pub namespace: Arc<Namespace>,
    pub clock: Arc<ManualClock>,
    _tasks: Tasks,
    _pool: Vec<Worker>,
}

/// Few instances, so that a test can use them up; everything else as in a node.
pub fn options() -> FunctionOptions {
    FunctionOptions { instances_max: 16, memory_bytes_ceiling: 64 << 20, ..FunctionOptions::default() }
}

impl Bench {
    pub async fn new() -> Bench {
        Bench::with(options(), None, Compiler::InProcess).await
    }

    pub async fn with(options: FunctionOptions, dir: Option<&Path>, compiler: Compiler) -> Bench {
        let pool: Vec<Worker> = (0..2).map(|number| Worker::start(number).expect("a thread can be made")).collect();
        let handles = pool.iter().map(|worker| worker.handle().clone()).collect();
        let host = Host::start(options, dir, compiler, &SeededEntropy::new(7), handles).expect("the host starts");
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let (namespace, tasks) = namespace(clock.clone()).await;
        Bench { host, namespace, clock, _tasks: tasks, _pool: pool }
    }

    pub async fn prepare(&self, guest: &Guest) -> Prepared {
        self.try_prepare(guest.component()).await.unwrap_or_else(|refusal| {
            panic!("{:?}: {refusal}\n{:#?}\n{}", refusal.code, refusal.backtrace, guest.text())
        })
    }

    pub async fn try_prepare(&self, component: Vec<u8>) -> Result<Prepared, Refusal> {
        Ok(self.host.prepare(component.into()).await?.named("test", "1"))
    }

    /// A call of function 0 with these arguments, in the bounds of record calls.
    pub fn call(&self, arguments: &Value) -> Call {
        Call {
            function: 0,
            arguments: Bytes::from(archive_value(arguments).expect("the value is within the limits")),
            limits: Arc::new(Limits::RECORD),
            namespace: self.namespace.clone(),
            now_ms: NOW_MS,
            seed: 42,
            on_pool: false,
        }
    }

    /// Writes a record.
    pub fn put(&self, key: &Key, bins: &Bins) {
        let archive = archive_bins(bins).expect("the bins are within the limits");
        let done = self.namespace.put(&key.digest(), key.borrow(), &archive, Ttl::Default, Expect::default());
        done.expect("there is room");
    }

    /// The record of a key, to call a function on.
    pub fn subject(&self, key: &Key) -> Subject {
        let (_, stored) = self.namespace.stored_now(&key.digest(), (NOW_MS / 1_000) as u32);
        Subject::new(key.borrow(), stored)
    }

    /// Runs function 0 on a record.
    pub async fn run(&self, prepared: &Prepared, key: &Key, arguments: &Value) -> Result<Ran, Failed> {
        prepared.call_record(self.call(arguments), self.subject(key)).await
    }

    /// Runs function 0 on a record that doesn't exist, in these bounds.
    pub async fn run_within(&self, prepared: &Prepared, limits: Limits) -> Result<Ran, Failed> {
        let call = Call { limits: Arc::new(limits), ..self.call(&Value::Null) };
        prepared.call_record(call, self.subject(&key("nobody"))).await
    }
}

/// A key of set `set`.
pub fn key(name: &str) -> Key {
    Key::new("test", "set", name)
}

/// The result of a call.
pub fn result(ran: &Ran) -> Value {
    decode_value_or_null(&ran.result).expect("results are validated")
}

/// The staged bins of a call.
pub fn staged(ran: &Ran) -> Bins {
    match &ran.staged {
        Staged::Write { bins, .. } => decode_bins(bins).expect("staged bins are an archive"),
        other => panic!("{other:?} is no write"),
    }
}

async fn namespace(clock: Arc<ManualClock>) -> (Arc<Namespace>, Tasks) {
    let segment_bytes = 8 << 20;
    let device = MemoryDevice::new(SEGMENTS_OFFSET + 12 * segment_bytes as u64, 1);
    let options = LogOptions { segment_bytes, ..LogOptions::default() };
    Log::create(Arc::new(device.clone()), *b"the tests' log\0\0", options).await.expect("the device is blank");
    let policy = Policy { commit: outcrop_node::store::Commit::Memory, ..Policy::flash("test", "", 0) };
    let opened = Namespace::open_on(NamespaceId(0), policy, Arc::new(device), clock).await;
    let Opened { namespace, .. } = opened.expect("the device holds a log");
    let tasks = namespace.start();
    (namespace, tasks)
}
