//! Instances that serve one call after the other: whatever a call did, the next one finds memory and globals as a fresh
//! instance has them, or gets a fresh instance.

use outcrop_node::udf::{Call, Limits, Prepared, Ran};
use outcrop_wire::{Code, Value};
use std::sync::Arc;

use crate::guest::Guest;
use crate::guest::host::{Bench, key};

mod guest;

/// Tells what it finds in all of its memory and its globals as one number, then overwrites everything that it can reach.
const SCRIBBLES: &str = r#"
  (local $at i32) (local $seen i64)
  (local.set $seen (i64.xor (global.get $a) (i64.extend_i32_u (global.get $heap))))
  (local.set $seen (i64.xor (local.get $seen) (i64.reinterpret_f64 (global.get $b))))
  (loop $more
    (local.set $seen (i64.mul
      (i64.xor (i64.rotl (local.get $seen) (i64.const 5)) (i64.load (local.get $at))) (i64.const 0x100000001b3)))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $more (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
  (call $context.count (i32.const 600) (i32.const 4) (local.get $seen))
  (memory.fill (i32.const 0) (i32.const 0xee) (i32.mul (memory.size) (i32.const 65536)))
  (memory.init $spare (i32.const 100) (i32.const 0) (i32.const 5))
  (global.set $a (i64.const 99)) (global.set $b (f64.const nan)) (global.set $heap (i32.const 1))"#;

fn scribbles(then: &str) -> Guest {
    Guest::record(&format!("{SCRIBBLES} {then}")).import(&["context.count"]).item(
        r#"(global $a (mut i64) (i64.const -7)) (global $b (mut f64) (f64.const 1.5)) (data $spare "spare")
           (data (i32.const 600) "seen") (data (i32.const 70000) "at the end of the heap")"#,
    )
}

fn seen(ran: &Ran) -> u64 {
    assert_eq!(ran.trace.counters.len(), 1);
    ran.trace.counters[0].1
}

#[tokio::test]
async fn a_wiped_instance_is_as_a_fresh_one() {
    let bench = Bench::new().await;
    let well = bench.prepare(&scribbles("(call $ok_bytes (i32.const 0) (i32.const 0))")).await;
    let first = bench.run(&well, &key("a"), &Value::Null).await.expect("it runs");
    let size = first.trace.usage.memory_bytes;
    for round in 0..50 {
        let ran = bench.run(&well, &key("a"), &Value::Null).await.expect("it runs");
        assert_eq!(seen(&ran), seen(&first), "round {round}");
        assert_eq!(ran.trace.usage.memory_bytes, size, "memory is counted as of a fresh one");
        assert_eq!(ran.trace.usage.fuel, first.trace.usage.fuel, "wiping isn't the guest's work");
    }
    let stats = bench.host.stats();
    assert_eq!((stats.instances_reused, stats.instances_kept, stats.instances_in_use), (50, 1, 0));
    assert_eq!(bench.host.instances_free(), 16, "a kept one is free for whoever needs it");
    // With other arguments the memory differs: the number does look at it.
    let other = bench.run(&well, &key("a"), &Value::from(1)).await.expect("it runs");
    assert_ne!(seen(&other), seen(&first));
    let Ok(other) = bench.run(&well, &key("a"), &Value::Null).await else { panic!("it runs") };
    assert_eq!(seen(&other), seen(&first), "nothing of those arguments is left");
    drop((well, first));
    assert_eq!(bench.host.stats().instances_kept, 0, "its instances go with the module");
}

#[tokio::test]
async fn a_refusal_leaves_nothing_and_a_trap_ends_the_instance() {
    let bench = Bench::new().await;
    let refuses = "(memory.fill (i32.const 512) (i32.const 65) (i32.const 64))
        (call $failure (i32.const 512) (i32.const 16) (i32.const 528) (i32.const 7))";
    let refuses = bench.prepare(&scribbles(refuses)).await;
    let mut found = Vec::new();
    for _ in 0..5 {
        let failed = bench.run(&refuses, &key("a"), &Value::Null).await.expect_err("it refuses");
        assert_eq!((failed.code, failed.message.as_str()), (Code::FunctionFailed, "AAAAAAAAAAAAAAAA"));
        found.push(failed.details.trace.counters);
    }
    assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
    assert_eq!(bench.host.stats().instances_reused, 4);
    let traps = bench.prepare(&scribbles("unreachable")).await;
    let mut found = Vec::new();
    for _ in 0..5 {
        let failed = bench.run(&traps, &key("a"), &Value::Null).await.expect_err("it traps");
        assert_eq!(failed.code, Code::FunctionTrapped);
        found.push(failed.details.trace.counters);
    }
    assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
    assert_eq!(bench.host.stats().instances_reused, 4, "none that trapped served again");
    assert_eq!(bench.host.instances_free(), 16);
}

/// A call that runs out of fuel, time or patience leaves an instance that is in the middle of something.
#[tokio::test]
async fn an_instance_that_was_stopped_or_grew_serves_no_other_call() {
    let bench = Bench::new().await;
    let grows = bench
        .prepare(&scribbles("(drop (memory.grow (i32.const 1))) (call $ok_bytes (i32.const 0) (i32.const 0))"))
        .await;
    let endless = bench.prepare(&scribbles("(loop $ever (br $ever)) unreachable")).await;
    let first = bench.run(&grows, &key("a"), &Value::Null).await.expect("it runs");
    for _ in 0..3 {
        let ran = bench.run(&grows, &key("a"), &Value::Null).await.expect("it runs");
        assert_eq!((seen(&ran), ran.trace.usage.memory_bytes), (seen(&first), first.trace.usage.memory_bytes));
        let failed = bench.run(&endless, &key("a"), &Value::Null).await.expect_err("it has no end");
        assert!(matches!(failed.code, Code::FunctionFuelLimit | Code::FunctionTimeLimit), "{failed:?}");
    }
    let dropped = endless.call_record(bench.call(&Value::Null), bench.subject(&key("a")));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(3), dropped).await.is_err(), "dropped in mid-call");
    let stats = bench.host.stats();
    assert_eq!((stats.instances_reused, stats.instances_kept), (0, 0));
}

#[tokio::test]
async fn limits_that_became_tighter_are_kept() {
    let bench = Bench::new().await;
    let module = bench.prepare(&scribbles("(call $ok_bytes (i32.const 0) (i32.const 0))")).await;
    bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    let tight = Limits { memory_bytes: 64 << 10, ..Limits::RECORD };
    let failed = bench.run_within(&module, tight).await.expect_err("its memory is larger");
    assert_eq!(failed.code, Code::FunctionMemoryLimit);
    assert_eq!(bench.host.stats().instances_reused, 0);
}

/// Kept instances are no loss to those who need one: they are taken down when the pool is empty.
#[tokio::test]
async fn kept_instances_make_room() {
    let options = outcrop_node::udf::FunctionOptions { instances_max: 4, ..guest::host::options() };
    let bench = Bench::with(options, None, outcrop_node::udf::Compiler::InProcess).await;
    let kept = bench.prepare(&scribbles("(call $ok_bytes (i32.const 0) (i32.const 0))")).await;
    bench.run(&kept, &key("a"), &Value::Null).await.expect("it runs");
    assert_eq!(bench.host.stats().instances_kept, 1);
    let waits = bench.prepare(&scribbles("(loop $ever (br $ever)) unreachable")).await;
    let unbounded = Limits { fuel: u64::MAX / 4, ..Limits::RECORD };
    let call = Call { limits: Arc::new(unbounded), on_pool: true, ..bench.call(&Value::Null) };
    let start = |module: &Prepared| tokio::spawn(module.call_record(call.clone(), bench.subject(&key("a"))));
    let running: Vec<_> = (0..4).map(|_| start(&waits)).collect();
    while bench.host.instances_free() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.host.stats().instances_kept, 0, "four at once need the whole pool");
    running.iter().for_each(tokio::task::JoinHandle::abort);
    while bench.host.instances_free() < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    bench.run(&kept, &key("a"), &Value::Null).await.expect("it runs");
}
