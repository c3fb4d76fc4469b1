//! Aggregates and row functions: several instances and their merge, back-pressure, ends before the end.

use std::sync::Arc;
use std::time::Duration;

use outcrop_node::udf::batch::items;
use outcrop_node::udf::{Call, LimitKind, Limits, Prepared};
use outcrop_wire::archive::{archive_value, decode_value};
use outcrop_wire::{Code, Value};
use tokio::sync::mpsc;

use crate::guest::host::{Bench, key, result};
use crate::guest::source::Batches;
use crate::guest::{AGGREGATE, Guest, ROW};

mod guest;

/// The archive of an integer, and where in it the integer lies.
fn integer_template() -> (Vec<u8>, usize) {
    let number = 0x1122_3344_5566_7788_i64;
    let archive = archive_value(&Value::Int(number)).expect("it is small");
    let place = archive.windows(8).position(|bytes| bytes == number.to_le_bytes()).expect("it is in there");
    (archive, place)
}

/// Items that sum the bin `n` of a batch: `$each` calls `$take` with each number; `$integer` archives one at 800.
fn items_of_sums() -> String {
    let (archive, place) = integer_template();
    let bytes: String = archive.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"
  (data (i32.const 600) "n") (data (i32.const 800) "{bytes}")
  (global $sum (mut i64) (i64.const 0))
  (func $each
    (loop $more
      (if (call $batch.next) (then
        (call $record.bin-get-integer (i32.const 600) (i32.const 1) (i32.const 64))
        (call $take (i64.load (i32.const 80)))
        (br $more)))))
  (func $integer (param i64) (result i32)
    (i64.store (i32.const {}) (local.get 0))
    (call $ok_bytes (i32.const 800) (i32.const {})))"#,
        800 + place,
        archive.len()
    )
}

const IMPORTS: [&str; 2] = ["batch.next", "record.bin-get-integer"];

fn sum() -> Guest {
    Guest::new("sum", AGGREGATE)
        .import(&IMPORTS)
        .item(&items_of_sums())
        .item("(func $take (param i64) (global.set $sum (i64.add (global.get $sum) (local.get 0))))")
        .export("aggregate-accept", "(call $each) (call $ok)")
        .export(
            "aggregate-state",
            "(i64.store (i32.const 700) (global.get $sum)) (call $ok_bytes (i32.const 700) (i32.const 8))",
        )
        .export("aggregate-merge", "(call $take (i64.load (local.get $ptr))) (call $ok)")
        .export("aggregate-finish", "(call $integer (global.get $sum))")
}

fn query(bench: &Bench, limits: Limits) -> Call {
    Call { limits: Arc::new(limits), ..bench.call(&Value::Null) }
}

#[tokio::test]
async fn several_instances_share_the_batches_and_one_merges() {
    let bench = Bench::new().await;
    let module = bench.prepare(&sum()).await;
    assert_eq!(module.query_width(), 2);
    for width in [1, 2, 5] {
        let batches = Batches::of_numbers(&bench, 1_000, 30);
        let ran = module.aggregate(query(&bench, Limits::QUERY), batches.sources(width)).await;
        let ran = ran.expect("it runs");
        assert_eq!(result(&ran), Value::Int(999 * 500), "with {width} instances, and nothing of the last query");
        let usage = &ran.trace.usage;
        assert_eq!((usage.records, usage.instances), (1_000, width as u32));
        assert!(usage.fuel > 0 && usage.bytes > 100_000 && usage.host_calls > 2_000);
        assert_eq!(batches.left(), 0);
    }
    assert_eq!((module.running(), bench.host.instances_free()), (0, 16));
}

#[tokio::test]
async fn a_query_ends_with_the_first_failure() {
    let bench = Bench::new().await;
    let failing = sum().export(
        "aggregate-accept",
        "(call $each) (if (i64.gt_u (global.get $sum) (i64.const 5000)) (then unreachable)) (call $ok)",
    );
    let module = bench.prepare(&failing).await;
    let batches = Batches::of_numbers(&bench, 1_000, 30);
    let failed = module.aggregate(query(&bench, Limits::QUERY), batches.sources(2)).await.expect_err("it traps");
    assert_eq!(failed.code, Code::FunctionTrapped, "{failed}");
    assert!(failed.details.trace.usage.records > 0);
    let broken = Batches { fails: true, ..Batches::of_numbers(&bench, 60, 30) };
    let module = bench.prepare(&sum()).await;
    let failed = module.aggregate(query(&bench, Limits::QUERY), broken.sources(2)).await.expect_err("no device");
    assert_eq!((failed.code, failed.message.as_str()), (Code::DeviceError, "the device is gone"));
    let failed = module.aggregate(query(&bench, Limits::QUERY), Vec::<Batches>::new()).await.expect_err("no source");
    assert_eq!(failed.code, Code::InvalidRequest);
}

#[tokio::test]
async fn a_query_ends_in_time_or_when_nobody_waits_for_it() {
    let bench = Bench::new().await;
    let spinning = sum().export("aggregate-accept", "(loop $forever (br $forever)) unreachable");
    for guest in [spinning, sum()] {
        let module = bench.prepare(&guest).await;
        let endless = Batches { endless: true, ..Batches::of_numbers(&bench, 30, 30) };
        let limits = Limits { wall: Duration::from_millis(40), fuel: u64::MAX >> 1, ..Limits::QUERY };
        let failed = module.aggregate(query(&bench, limits.clone()), endless.sources(2)).await.expect_err("no end");
        assert_eq!(failed.code, Code::FunctionTimeLimit);
        assert_eq!(failed.details.limit.map(|hit| (hit.kind, hit.allowed)), Some((LimitKind::Wall, 40)));
        let limits = Limits { wall: Duration::from_secs(600), ..limits };
        let running = module.aggregate(query(&bench, limits), endless.sources(2));
        let given_up = tokio::time::timeout(Duration::from_millis(20), running).await;
        assert!(given_up.is_err());
        stopped(&bench, &module).await;
    }
}

/// Waits until nothing runs any more.
async fn stopped(bench: &Bench, module: &Prepared) {
    while module.running() > 0 || bench.host.instances_free() < 16 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_state_that_never_stops_growing_ends_the_query() {
    let bench = Bench::new().await;
    let keeps = "(drop (call $alloc (i32.const 100000))) (call $ok)";
    let module = bench.prepare(&sum().export("aggregate-accept", keeps)).await;
    let batches = Batches::of_numbers(&bench, 300, 3);
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::QUERY };
    let failed = module.aggregate(query(&bench, limits), batches.sources(2)).await.expect_err("it grows");
    assert_eq!(failed.code, Code::FunctionMemoryLimit);
    let state = "(call $ok_bytes (i32.const 0) (i32.const 60000))";
    let module = bench.prepare(&sum().export("aggregate-state", state)).await;
    let batches = Batches::of_numbers(&bench, 300, 3);
    let limits = Limits { output_bytes: 50_000, ..Limits::QUERY };
    let failed = module.aggregate(query(&bench, limits), batches.sources(2)).await.expect_err("it is large");
    assert_eq!(failed.code, Code::FunctionOutputLimit);
}

/// A row for each even number: the archived integer behind its length.
fn even_rows() -> Guest {
    let (archive, _) = integer_template();
    let len = archive.len();
    let take = format!(
        r#"(func $take (param i64)
      (local $at i32)
      (if (i64.eqz (i64.and (local.get 0) (i64.const 1))) (then
        (drop (call $integer (local.get 0)))
        (local.set $at (call $append (i32.const {})))
        (i32.store (local.get $at) (i32.const {len}))
        (memory.copy (i32.add (local.get $at) (i32.const 4)) (i32.const 800) (i32.const {len})))))
      (global $rows (mut i32) (i32.const 0)) (global $end (mut i32) (i32.const 0))
      (func $append (param $size i32) (result i32) (local $at i32)
        (local.set $at (global.get $end))
        (global.set $end (i32.add (local.get $at) (local.get $size)))
        (local.get $at))"#,
        len + 4
    );
    Guest::new("even", ROW).import(&IMPORTS).item(&items_of_sums()).item(&take).export(
        "row-batch",
        "(global.set $rows (call $alloc (i32.const 8192))) (global.set $end (global.get $rows))
         (call $each) (call $ok_bytes (global.get $rows) (i32.sub (global.get $end) (global.get $rows)))",
    )
}

#[tokio::test]
async fn rows_come_in_order_with_the_marks_of_their_batches() {
    let bench = Bench::new().await;
    let module = bench.prepare(&even_rows()).await;
    let (sender, mut receiver) = mpsc::channel(1);
    let batches = Batches::of_numbers(&bench, 100, 7);
    let running = module.rows(query(&bench, Limits::QUERY), batches, sender);
    let taking = async {
        let (mut rows, mut marks) = (Vec::new(), Vec::new());
        while let Some(part) = receiver.recv().await {
            let before = rows.len();
            for range in items(&part.rows) {
                rows.push(decode_value(&part.rows[range.expect("the lengths fit")]).expect("rows are validated"));
            }
            assert_eq!(rows.len() - before, part.count as usize);
            marks.push(part.mark);
        }
        (rows, marks)
    };
    let (trace, (rows, marks)) = tokio::join!(running, taking);
    assert_eq!(rows, (0..100).step_by(2).map(Value::Int).collect::<Vec<_>>());
    assert_eq!(marks, (0..15).collect::<Vec<_>>());
    assert_eq!(trace.expect("it runs").usage.records, 100);
}

#[tokio::test]
async fn nobody_takes_rows_and_the_query_waits_or_ends() {
    let bench = Bench::new().await;
    let module = bench.prepare(&even_rows()).await;
    let (sender, mut receiver) = mpsc::channel(1);
    let batches = Batches::of_numbers(&bench, 100, 5);
    let limits = Limits { wall: Duration::from_millis(200), ..Limits::QUERY };
    let running = tokio::spawn(module.rows(query(&bench, limits), batches.clone(), sender));
    receiver.recv().await.expect("a first part");
    // Longer than it may take: waits for the taker don't count.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!running.is_finished() && batches.left() >= 16, "it waits: {} batches are left", batches.left());
    drop(receiver);
    let trace = running.await.expect("it didn't panic").expect("an end that the taker chose is none in error");
    assert!(trace.usage.records < 100);
    stopped(&bench, &module).await;
}

#[tokio::test]
async fn rows_that_arent_valid_are_refused() {
    let bench = Bench::new().await;
    for body in [
        // A length over the end, and a value that is none.
        r#"(i32.store (i32.const 700) (i32.const 9)) (call $ok_bytes (i32.const 700) (i32.const 8))"#,
        r#"(i32.store (i32.const 700) (i32.const 4)) (i32.store (i32.const 704) (i32.const -1)) (call $ok_bytes (i32.const 700) (i32.const 8))"#,
    ] {
        let module = bench.prepare(&Guest::new("bad", ROW).export("row-batch", body)).await;
        let (sender, mut receiver) = mpsc::channel(4);
        let batches = Batches::of_numbers(&bench, 5, 5);
        let failed = module.rows(query(&bench, Limits::QUERY), batches, sender).await.expect_err("it isn't valid");
        assert_eq!(failed.code, Code::FunctionResultInvalid, "{failed}");
        assert!(receiver.recv().await.is_none());
    }
}

#[tokio::test]
async fn a_function_runs_only_as_what_it_is() {
    let bench = Bench::new().await;
    let module = bench.prepare(&sum()).await;
    let failed = bench.run(&module, &key("a"), &Value::Null).await.expect_err("an aggregate isn't called");
    assert_eq!(failed.code, Code::FunctionKindMismatch);
    let call = Call { function: 1, ..query(&bench, Limits::QUERY) };
    let failed = module.aggregate(call, Batches::default().sources(1)).await.expect_err("there is no second");
    assert_eq!(failed.code, Code::FunctionUnknown);
    let module = bench.prepare(&Guest::record("(call $ok)")).await;
    let failed = module.aggregate(query(&bench, Limits::QUERY), Batches::default().sources(1)).await;
    assert_eq!(failed.expect_err("a record function isn't aggregated").code, Code::FunctionKindMismatch);
}
