//! How hostile modules are run: a bystander beside each, and afterwards a count of everything that must have come back.

use std::sync::Arc;
use std::time::Duration;

use outcrop_node::udf::{Call, CompileOptions, Compiler, FunctionOptions, LimitKind, Limits, Prepared};
use outcrop_wire::{Bins, Code, Key, Value};
use tokio::sync::mpsc;

use crate::guest::Guest;
use crate::guest::host::{Bench, key, options, result};
use crate::guest::source::Batches;

pub mod abi;
pub mod calls;
pub mod queries;
pub mod uploads;

/// Growth of the process over many repetitions that no leak explains: the allocator's own unrest.
const GROWTH_BYTES_MAX: u64 = 48 << 20;
/// Rounds that a bystander makes while an endless guest is under way.
const BYSTANDER_ROUNDS: usize = 5;

/// How a module is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Upload,
    Call,
    Aggregate,
    Rows,
}

/// One hostile module.
pub struct Case {
    pub name: &'static str,
    pub component: Vec<u8>,
    pub used: Use,
    /// What its caller gets.
    pub code: Code,
    /// Which limit the error names.
    pub limit: Option<LimitKind>,
    /// What the message says among other things.
    pub says: &'static str,
    /// Without bounds it would never end.
    pub endless: bool,
}

impl Case {
    pub fn new(name: &'static str, used: Use, component: Vec<u8>, code: Code) -> Self {
        Case { name, component, used, code, limit: None, says: "", endless: false }
    }

    /// An upload that is refused.
    pub fn upload(name: &'static str, component: Vec<u8>, code: Code, says: &'static str) -> Self {
        Case { says, ..Case::new(name, Use::Upload, component, code) }
    }

    /// A call that fails.
    pub fn call(name: &'static str, guest: Guest, code: Code, says: &'static str) -> Self {
        Case { says, ..Case::new(name, Use::Call, guest.component(), code) }
    }

    /// A call, or whatever it is used for, that runs into a limit.
    pub fn limited(name: &'static str, used: Use, guest: Guest, kind: LimitKind) -> Self {
        Case { limit: Some(kind), ..Case::new(name, used, guest.component(), kind.code()) }
    }

    pub fn endless(mut self) -> Self {
        self.endless = true;
        self
    }
}

/// Bounds of hostile calls: generous beside what honest ones need, small beside what a guest may take of a test's time.
fn limits() -> Limits {
    Limits {
        wall: Duration::from_secs(600),
        fuel: 30_000_000,
        memory_bytes: 8 << 20,
        host_calls: 2_000,
        output_bytes: 1 << 20,
        reads: 16,
        ..Limits::RECORD
    }
}

/// The bench of all cases; bounds of modules are small enough to be reached by modules of a test.
pub async fn bench() -> Bench {
    let compile = CompileOptions { data_bytes_max: 1 << 20, ..CompileOptions::default() };
    Bench::with(FunctionOptions { compile, ..options() }, None, Compiler::InProcess).await
}

/// Memory is measured for the whole process: its tests take turns.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// What its caller learns: the code, the limit, and everything that the error says.
type Learned = (Code, Option<LimitKind>, String);

/// A case that has been uploaded, if that is possible.
struct Ready<'a> {
    bench: &'a Bench,
    case: &'a Case,
    module: Option<Prepared>,
    batches: Batches,
}

impl Ready<'_> {
    async fn of<'a>(bench: &'a Bench, case: &'a Case) -> Ready<'a> {
        let module = match case.used {
            Use::Upload => None,
            _ => Some(bench.try_prepare(case.component.clone()).await.unwrap_or_else(|refusal| {
                panic!("{}: {:?}: {refusal}", case.name, refusal.code);
            })),
        };
        Ready { bench, case, module, batches: Batches::of_numbers(bench, 12, 3) }
    }

    /// Uses the module once.
    async fn once(&self, limits: Limits) -> Learned {
        let batches = self.batches.again();
        let call = Call { limits: Arc::new(limits), ..self.bench.call(&Value::Null) };
        let failed = match (&self.module, self.case.used) {
            (None, _) => match self.bench.try_prepare(self.case.component.clone()).await {
                Ok(_) => return (Code::Ok, None, String::new()),
                Err(refusal) => return (refusal.code, None, refusal.message),
            },
            (Some(module), Use::Aggregate) => module.aggregate(call, batches.sources(2)).await.map(|_| ()),
            (Some(module), Use::Rows) => {
                let (sender, mut receiver) = mpsc::channel(1);
                let taking = async { while receiver.recv().await.is_some() {} };
                let (ended, ()) = tokio::join!(module.rows(call, batches, sender), taking);
                ended.map(|_| ())
            }
            (Some(module), _) => module.call_record(call, self.bench.subject(&key("a"))).await.map(|_| ()),
        };
        match failed {
            Ok(()) => (Code::Ok, None, String::new()),
            Err(failed) => (failed.code, failed.details.limit.map(|hit| hit.kind), failed.message),
        }
    }
}

/// Honest work: a read, and a call that adds one to a number.
struct Bystander<'a> {
    bench: &'a Bench,
    module: Prepared,
    key: Key,
}

impl<'a> Bystander<'a> {
    async fn of(bench: &'a Bench) -> Self {
        let guest = Guest::record(
            "(call $record.bin-add (i32.const 600) (i32.const 1) (i64.const 1) (i32.const 64)) (call $ok)",
        );
        let guest = guest.import(&["record.bin-add"]).item(r#"(data (i32.const 600) "n")"#);
        let key = key("bystander");
        bench.put(&key, &Bins::new().with("n", 41));
        Bystander { bench, module: bench.prepare(&guest).await, key }
    }

    async fn round(&self) {
        let (lookup, stored) = self.bench.namespace.read(self.key.digest()).await.expect("a read is answered");
        assert!(lookup.entry.is_some() && stored.is_some());
        let ran = self.bench.run(&self.module, &self.key, &Value::Null).await.expect("an honest call runs");
        assert_eq!(result(&ran), Value::Null);
        assert_eq!(crate::guest::host::staged(&ran).get("n"), Some(&Value::Int(42)));
    }
}

/// Runs every case, with a bystander beside it; what is to come back comes back, and repetitions add nothing.
pub async fn run(cases: Vec<Case>) {
    let bench = bench().await;
    let bystander = Bystander::of(&bench).await;
    let mut ready = Vec::new();
    for case in &cases {
        ready.push(Ready::of(&bench, case).await);
    }
    let owners = Arc::strong_count(&bench.namespace);
    let mut wrong = Vec::new();
    for ready in &ready {
        if let Err(what) = one(ready, &bystander).await {
            wrong.push(format!("{}: {what}", ready.case.name));
        }
        came_back(ready, owners).await;
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    full_house(&bench).await;
    repetitions_add_nothing(&ready).await;
}

/// One case, up to what its caller learns.
async fn one(ready: &Ready<'_>, bystander: &Bystander<'_>) -> Result<(), String> {
    let case = ready.case;
    let learned = {
        let mut hostile = std::pin::pin!(ready.once(limits()));
        loop {
            tokio::select! {
                biased;
                learned = &mut hostile => break learned,
                () = bystander.round() => {}
            }
        }
    };
    bystander.round().await;
    if case.endless {
        still_answered(ready, bystander).await?;
    }
    let (code, limit, says) = learned;
    match code == case.code && limit == case.limit && says.contains(case.says) {
        true => Ok(()),
        false => Err(format!("{} {limit:?} {says:?}, not {} {:?}", code.name(), case.code.name(), case.limit)),
    }
}

/// Others get their answers while the guest is under way, and it ends when nobody waits for it any more.
async fn still_answered(ready: &Ready<'_>, bystander: &Bystander<'_>) -> Result<(), String> {
    let unbounded = Limits { fuel: u64::MAX >> 1, ..limits() };
    let mut hostile = std::pin::pin!(ready.once(unbounded));
    let mut rounds = 0;
    while rounds < BYSTANDER_ROUNDS {
        tokio::select! {
            learned = &mut hostile => return Err(format!("it ended after {rounds} rounds: {learned:?}")),
            () = bystander.round() => rounds += 1,
        }
    }
    Ok(())
}

/// Instances, places and references are as before.
async fn came_back(ready: &Ready<'_>, owners: usize) {
    let name = ready.case.name;
    let running = || ready.module.as_ref().map_or(0, Prepared::running);
    for _ in 0..30_000 {
        let all = ready.bench.host.instances_free() == options().instances_max as usize;
        if all && running() == 0 && Arc::strong_count(&ready.bench.namespace) == owners {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!(
        "{name}: {} instances are free, {} calls under way, {} owners of the namespace in place of {owners}",
        ready.bench.host.instances_free(),
        running(),
        Arc::strong_count(&ready.bench.namespace)
    );
}

/// As many calls as there are instances find one each at the same time: the engine has lost none.
async fn full_house(bench: &Bench) {
    let module = bench.prepare(&Guest::record("(loop $forever (br $forever)) unreachable")).await;
    let instances = options().instances_max;
    let unbounded = Limits { fuel: u64::MAX >> 1, ..limits() };
    let calls = (0..instances).map(|_| bench.run_within(&module, unbounded.clone()));
    let all = futures_util::future::select_all(calls.map(Box::pin));
    let full = async {
        while bench.host.instances_free() > 0 || module.running() < instances {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A call that was refused its instance by the engine would have ended by now or soon.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::select! {
        (ended, ..) = all => panic!("{:?}", ended.map(|_| ())),
        () = full => {}
    }
}

/// The same again and again: the process grows no more than an allocator does.
async fn repetitions_add_nothing(ready: &[Ready<'_>]) {
    let mut before = 0;
    for round in 0..4 {
        for ready in ready.iter().filter(|ready| ready.module.is_some()) {
            ready.once(limits()).await;
        }
        if round == 0 {
            before = resident_bytes();
        }
    }
    let after = resident_bytes();
    assert!(after < before + GROWTH_BYTES_MAX, "the process grew from {before} to {after} bytes");
}

/// Memory of this process that is in use.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells of its processes");
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.expect("the second number is the resident set") * 4_096
}
