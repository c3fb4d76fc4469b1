//! What a request costs in the node, beside the transport: nanoseconds, allocations and allocated bytes for each verb.
//!
//! `cargo bench -p outcrop-node --bench verbs`. Requests go through `command::execute`, bytes in and bytes out, as a
//! lane gives them; records of 1 KiB lie in memory. Each figure is the median of five rounds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_flash::device::void::VoidDevice;
use outcrop_node::command::{Context, Step, execute};
use outcrop_node::store::{Namespace, Policy};
use outcrop_node::telemetry::{NodeStats, StatsSource};
use outcrop_node::world::{Clock, SystemClock};
use outcrop_wire::archive::{archive_bins, archive_operations, archive_unnamed};
use outcrop_wire::request::{BatchItem, encode_request};
use outcrop_wire::{
    BinSelection, Bins, KeyRef, NamespaceId, Operation, PutMode, RequestBody, RequestHeader, Ttl, UserKeyRef, Value,
};
use tokio::time::Instant;

const RECORDS: i64 = 200_000;
const ROUNDS: usize = 5;
const REQUESTS: usize = 100_000;
/// Requests that write: together less than the segments that stand ready.
const WRITES: usize = 5_000;
/// Between rounds the log makes new segments ready.
const PAUSE: Duration = Duration::from_millis(100);

struct NoStats;

impl StatsSource for NoStats {
    fn snapshot(&self) -> NodeStats {
        NodeStats::default()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

fn frame(body: &RequestBody<'_>) -> Bytes {
    let verb = body.verb();
    let header = RequestHeader { request_id: 7, verb, namespace: NamespaceId(0), deadline_ms: 0, trace: None };
    let mut out = Vec::new();
    encode_request(&header, body, &mut out);
    out.into()
}

fn key(number: i64) -> KeyRef<'static> {
    KeyRef { set: "bench", user_key: UserKeyRef::Int(number) }
}

/// Numbers in an order that caches can't guess.
fn scattered(count: usize) -> impl Iterator<Item = i64> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as i64) % RECORDS
    })
    .take(count)
}

async fn run(context: &Arc<Context>, name: &str, per_request: usize, frames: &[Bytes]) {
    let now_secs = SystemClock.now_secs();
    let mut out = Vec::with_capacity(1 << 20);
    let mut later = 0_u64;
    let mut round = || {
        for frame in frames {
            out.clear();
            if let Step::Later { .. } = execute(context, frame, None, now_secs, &mut out) {
                later += 1;
            }
            black_box(&out);
        }
    };
    round();
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        tokio::time::sleep(PAUSE).await;
        let began = Instant::now();
        round();
        times.push(began.elapsed().as_nanos() as f64 / frames.len() as f64);
    }
    times.sort_by(f64::total_cmp);
    tokio::time::sleep(PAUSE).await;
    let counted = allocation_counter::measure(&mut round);
    let each = |total: u64| total as f64 / frames.len() as f64;
    println!(
        "{name:<28} {:>9.0} ns {:>9.0} ns/record {:>7.2} allocations {:>9.0} bytes{}",
        times[ROUNDS / 2],
        times[ROUNDS / 2] / per_request as f64,
        each(counted.count_total),
        each(counted.bytes_total),
        if later > 0 { format!("  ({later} had to wait)") } else { String::new() },
    );
}

fn ten_bins() -> Bins {
    (0..10).fold(Bins::new(), |bins, number| bins.with(format!("bin{number}"), vec![number as u8; 88])).with("n", 1_i64)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let policy = Policy { defrag_live_percent: 0, ..Policy::ram("bench", 6 << 30) };
    let device = Arc::new(VoidDevice::new("bench", 6 << 30));
    let opened = Namespace::open_on(NamespaceId(0), policy, device, Arc::new(SystemClock)).await;
    let namespace = opened.expect("a void device opens").namespace;
    let _tasks = namespace.start();
    let context = Arc::new(Context::new(vec![namespace], 1_000, 256 << 20, Arc::new(NoStats)));
    let archive = archive_unnamed(&[7; 1_024]).expect("within the limits");
    let put = |number| {
        let mode = PutMode::Replace;
        frame(&RequestBody::Put { key: key(number), mode, if_generation: None, ttl: Ttl::Default, archive: &archive })
    };
    let bins = archive_bins(&ten_bins()).expect("within the limits");
    let put_bins = |number| {
        let (mode, if_generation) = (PutMode::Replace, None);
        frame(&RequestBody::Put { key: key(number), mode, if_generation, ttl: Ttl::Default, archive: &bins })
    };
    println!("{RECORDS} records of 1 KiB in memory; {REQUESTS} requests a round, median of {ROUNDS} rounds");
    let in_order: Vec<Bytes> = (0..RECORDS).map(put).collect();
    // Loading fills segments faster than one task prepares them; the flusher gets its turns here.
    for frames in in_order.chunks(1_000) {
        let mut out = Vec::new();
        for frame in frames {
            out.clear();
            if let Step::Later { reply, .. } = execute(&context, frame, None, SystemClock.now_secs(), &mut out) {
                reply.await;
            }
        }
    }
    let of = |make: &dyn Fn(i64) -> Bytes| scattered(REQUESTS).map(make).collect::<Vec<_>>();
    run(&context, "get (hit)", 1, &of(&|n| frame(&RequestBody::Get { key: key(n), bins: BinSelection::All }))).await;
    run(&context, "get (miss)", 1, &of(&|n| frame(&RequestBody::Get { key: key(-n - 1), bins: BinSelection::All })))
        .await;
    run(&context, "exists", 1, &of(&|n| frame(&RequestBody::Exists { key: key(n) }))).await;
    let batches: Vec<Bytes> = (0..1_000)
        .map(|_| {
            let items = scattered(100).map(|n| BatchItem {
                namespace: NamespaceId(0),
                body: RequestBody::Get { key: key(n), bins: BinSelection::All },
            });
            frame(&RequestBody::Batch { items: items.collect() })
        })
        .collect();
    run(&context, "batch of 100 gets", 100, &batches).await;
    run(&context, "put (replace)", 1, &of(&put)[..WRITES]).await;
    run(&context, "put (replace, 11 bins)", 1, &of(&put_bins)[..WRITES]).await;
    let add = vec![Operation::Add { bin: "n".into(), amount: Value::Int(1) }];
    let add = archive_operations(&add).expect("within the limits");
    let operate =
        |n| frame(&RequestBody::Operate { key: key(n % 1_000), if_generation: None, ttl: Ttl::Keep, operations: &add });
    let mut out = Vec::new();
    (0..1_000).for_each(|n| drop(execute(&context, &put_bins(n), None, SystemClock.now_secs(), &mut out)));
    run(&context, "operate (add, 11 bins)", 1, &of(&operate)[..WRITES]).await;
    let names = vec!["bin3", "n"];
    let some = |n| frame(&RequestBody::Get { key: key(n % 1_000), bins: BinSelection::Named(names.clone()) });
    run(&context, "get (2 of 11 bins)", 1, &of(&some)).await;
    let touch = |n| frame(&RequestBody::Touch { key: key(n % 1_000), if_generation: None, ttl: Ttl::Secs(1_000) });
    run(&context, "touch", 1, &of(&touch)[..WRITES]).await;
    let delete = |n| frame(&RequestBody::Delete { key: key(n), if_generation: None });
    run(&context, "delete (or not found)", 1, &of(&delete)[..WRITES]).await;
}
