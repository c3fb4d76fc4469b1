//! Every bound has its own code and says what was allowed; a guest that reaches one leaves the node as it was.

use std::time::Duration;

use outcrop_node::udf::{Failed, LimitHit, LimitKind, Limits};
use outcrop_wire::{Bins, Code, Value};

use crate::guest::Guest;
use crate::guest::host::{Bench, key};

mod guest;

fn hit(failed: &Failed) -> LimitHit {
    failed.details.limit.unwrap_or_else(|| panic!("{failed:?} names no limit"))
}

const FOREVER: &str = "(loop $forever (br $forever)) unreachable";

#[tokio::test]
async fn an_endless_loop_ends_by_its_fuel_and_says_where_it_was() {
    let bench = Bench::new().await;
    let guest = Guest::record("(call $spin)").item(&format!("(func $spin (result i32) {FOREVER})"));
    let module = bench.prepare(&guest).await;
    let limits = Limits { fuel: 3_000_000, wall: Duration::from_secs(600), ..Limits::RECORD };
    let failed = bench.run_within(&module, limits).await.expect_err("it never ends");
    assert_eq!(failed.code, Code::FunctionFuelLimit);
    assert_eq!(hit(&failed), LimitHit { kind: LimitKind::Fuel, allowed: 3_000_000, used: 3_000_000 });
    assert!(failed.details.backtrace[0].starts_with("spin at"), "{:?}", failed.details.backtrace);
    assert_eq!(failed.details.trace.usage.fuel, 3_000_000);
}

#[tokio::test]
async fn an_endless_loop_ends_by_its_time_while_others_go_on() {
    let bench = Bench::new().await;
    let guest = Guest::record("(call $spin)").item(&format!("(func $spin (result i32) {FOREVER})"));
    let module = bench.prepare(&guest).await;
    let good = bench.prepare(&Guest::record("(call $ok)")).await;
    let limits = Limits { fuel: u64::MAX >> 1, wall: Duration::from_millis(30), ..Limits::RECORD };
    let others = async {
        for _ in 0..20 {
            bench.run(&good, &key("a"), &Value::Null).await.expect("others run");
        }
    };
    let (failed, ()) = tokio::join!(bench.run_within(&module, limits), others);
    let failed = failed.expect_err("it never ends");
    assert_eq!(failed.code, Code::FunctionTimeLimit);
    let hit = hit(&failed);
    assert!(hit.kind == LimitKind::Wall && hit.allowed == 30 && hit.used >= 30, "{hit:?}");
    assert!(failed.details.backtrace[0].starts_with("spin at"), "{:?}", failed.details.backtrace);
    assert!(failed.details.trace.usage.yields > 0, "it let others run");
}

#[tokio::test]
async fn memory_and_tables_end_at_their_bounds() {
    let bench = Bench::new().await;
    let alloc = Guest::record("(drop (call $alloc (i32.const 2000000))) (call $ok)");
    let module = bench.prepare(&alloc).await;
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::RECORD };
    let failed = bench.run_within(&module, limits.clone()).await.expect_err("it isn't given so much");
    assert_eq!(failed.code, Code::FunctionMemoryLimit);
    assert_eq!(hit(&failed), LimitHit { kind: LimitKind::Memory, allowed: 1 << 20, used: (1 << 20) + 65_536 });
    // What the guest begins with counts too.
    let tiny = Limits { memory_bytes: 65_536, ..Limits::RECORD };
    let failed = bench.run_within(&module, tiny).await.expect_err("it begins with two pages");
    assert_eq!(failed.code, Code::FunctionMemoryLimit);
    // A guest that takes a refusal well isn't punished for asking.
    let asks =
        Guest::record("(if (i32.ne (memory.grow (i32.const 999)) (i32.const -1)) (then unreachable)) (call $ok)");
    assert!(bench.run_within(&bench.prepare(&asks).await, limits).await.is_ok());
    let grows = Guest::record(
        "(if (i32.eq (table.grow $t (ref.null func) (i32.const 500)) (i32.const -1)) (then unreachable)) (call $ok)",
    )
    .item("(table $t 1 funcref)");
    let module = bench.prepare(&grows).await;
    let failed = bench.run_within(&module, Limits { table_elements: 100, ..Limits::RECORD }).await;
    let failed = failed.expect_err("it isn't given so many");
    assert_eq!(failed.code, Code::FunctionTableLimit);
    let tables = hit(&failed);
    assert!(tables.allowed == 100 && tables.used > 500, "{tables:?}");
}

#[tokio::test]
async fn a_deep_recursion_ends_at_the_stack() {
    let bench = Bench::new().await;
    let guest = Guest::record("(call $deep (i32.const 1))")
        .item("(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (local.get 0)))");
    let module = bench.prepare(&guest).await;
    let failed = bench.run_within(&module, Limits::RECORD).await.expect_err("it has no end");
    assert_eq!(failed.code, Code::FunctionStackLimit);
    assert_eq!(hit(&failed).allowed, 512 << 10);
    let frames = &failed.details.backtrace;
    assert!(frames.len() > 2 && frames.iter().all(|frame| frame.starts_with("deep")), "{frames:?}");
}

#[tokio::test]
async fn host_calls_reads_input_and_output_are_bounded() {
    let bench = Bench::new().await;
    let storm = Guest::record("(loop $more (drop (call $context.now-ms)) (br $more)) unreachable");
    let module = bench.prepare(&storm.import(&["context.now-ms"])).await;
    let failed = bench.run_within(&module, Limits { host_calls: 100, ..Limits::RECORD }).await;
    let failed = failed.expect_err("it calls for ever");
    assert_eq!(failed.code, Code::FunctionHostCallLimit);
    assert_eq!(hit(&failed), LimitHit { kind: LimitKind::HostCalls, allowed: 100, used: 101 });

    let reader = r#"(loop $more
      (call $other.read (i32.const 600) (i32.const 3) (i32.const 1) (i64.const 603) (i32.const 1) (i32.const 64))
      (br $more)) unreachable"#;
    let module = Guest::record(reader).import(&["other.read"]).item(r#"(data (i32.const 600) "setb")"#);
    let module = bench.prepare(&module).await;
    bench.put(&key("b"), &Bins::new().with("n", "x".repeat(1_000)));
    let failed = bench.run_within(&module, Limits { reads: 3, ..Limits::RECORD }).await.expect_err("no end");
    assert_eq!((failed.code, hit(&failed).used), (Code::FunctionReadLimit, 4));
    let failed = bench.run_within(&module, Limits { read_bytes: 2_000, ..Limits::RECORD }).await.expect_err("no end");
    assert_eq!((failed.code, hit(&failed).kind), (Code::FunctionReadLimit, LimitKind::ReadBytes));

    let huge = Guest::record("(call $ok_bytes (call $alloc (i32.const 3000)) (i32.const 3000))");
    let module = bench.prepare(&huge).await;
    let failed = bench.run_within(&module, Limits { output_bytes: 2_999, ..Limits::RECORD }).await;
    let failed = failed.expect_err("it returns too much");
    assert_eq!(failed.code, Code::FunctionOutputLimit);
    assert_eq!(hit(&failed), LimitHit { kind: LimitKind::Output, allowed: 2_999, used: 3_000 });
    let failed = bench.run_within(&module, Limits { input_bytes: 1, ..Limits::RECORD }).await.expect_err("a null");
    assert_eq!((failed.code, hit(&failed).kind), (Code::FunctionInputLimit, LimitKind::Input));
}

#[tokio::test]
async fn what_a_guest_hands_over_in_one_go_is_bounded() {
    let bench = Bench::new().await;
    // A log line of 20 MiB, more than any record or result may have.
    let body =
        r#"(call $context.log (i32.const 0) (call $alloc (i32.const 20971520)) (i32.const 20971520)) (call $ok)"#;
    let module = bench.prepare(&Guest::record(body).import(&["context.log"])).await;
    let failed = bench.run_within(&module, Limits::RECORD).await.expect_err("it is too much");
    assert_eq!(failed.code, Code::FunctionOutputLimit, "{failed}");
}

#[tokio::test]
async fn logs_are_dropped_and_counted_beyond_their_bound() {
    let bench = Bench::new().await;
    let body = r#"(local $n i32)
      (loop $more
        (call $context.log (i32.const 1) (i32.const 512) (i32.const 10))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const 100))))
      (call $ok)"#;
    let module = bench.prepare(&Guest::record(body).import(&["context.log"])).await;
    let ran = bench.run_within(&module, Limits { log_lines: 7, ..Limits::RECORD }).await.expect("no error");
    assert_eq!((ran.trace.logs.len(), ran.trace.usage.logs_dropped), (7, 93));
    let ran = bench.run_within(&module, Limits { log_bytes: 35, ..Limits::RECORD }).await.expect("no error");
    assert_eq!((ran.trace.logs.len(), ran.trace.usage.logs_dropped), (3, 97));
}

#[tokio::test]
async fn calls_of_one_module_at_once_are_bounded() {
    let bench = Bench::new().await;
    let module = bench.prepare(&Guest::record(FOREVER)).await;
    let limits = Limits { concurrent_calls: 2, fuel: u64::MAX >> 1, wall: Duration::from_secs(600), ..Limits::RECORD };
    let mut calls = Vec::new();
    for _ in 0..2 {
        let mut call = Box::pin(bench.run_within(&module, limits.clone()));
        // Until it has left this thread: it is under way, and stays so.
        while module.running() as usize <= calls.len() {
            tokio::select! {
                biased;
                ran = &mut call => panic!("{ran:?}"),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        calls.push(call);
    }
    let failed = bench.run_within(&module, limits.clone()).await.expect_err("there is no place");
    assert_eq!(failed.code, Code::FunctionConcurrencyLimit);
    assert_eq!(hit(&failed), LimitHit { kind: LimitKind::Concurrency, allowed: 2, used: 3 });
    // Who gives up stops the guests, and their places and instances come back.
    drop(calls);
    while module.running() > 0 || bench.host.instances_free() < 16 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failed = bench.run_within(&module, Limits { fuel: 1_000, ..limits }).await.expect_err("it never ends");
    assert_eq!(failed.code, Code::FunctionFuelLimit);
}
