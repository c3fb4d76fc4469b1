//! Record functions: what a guest sees of its record, what it stages, and that nothing of one call reaches another.

use outcrop_node::udf::{FunctionKind, LogLevel, Staged};
use outcrop_wire::{Bins, Code, Ttl, Value};

use crate::guest::Guest;
use crate::guest::host::{Bench, NOW_MS, key, result, staged};

mod guest;

/// Adds 5 to the bin `n`; the sum is the result's only byte (see [`sum_of`]).
const ADD: &str = r#"
  (call $record.bin-add (i32.const 600) (i32.const 1) (i64.const 5) (i32.const 64))
  (if (i32.load8_u (i32.const 64)) (then unreachable))
  (call $ok_bytes (i32.const 0) (i32.const 0))"#;

fn add() -> Guest {
    Guest::record(ADD).import(&["record.bin-add"]).item(r#"(data (i32.const 600) "n")"#)
}

#[tokio::test]
async fn a_function_changes_one_bin_and_leaves_the_others() {
    let bench = Bench::new().await;
    let module = bench.prepare(&add()).await;
    let (number, info) = module.function("run").expect("it is described");
    assert_eq!((number, info.kind, info.read_only), (0, FunctionKind::Record, false));
    assert_eq!(module.info().doc, "a guest of the tests");
    bench.put(&key("a"), &Bins::new().with("other", "text").with("n", 37));
    let ran = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    assert_eq!(staged(&ran), Bins::new().with("other", "text").with("n", 42));
    assert!(matches!(ran.staged, Staged::Write { ttl: Ttl::Keep, .. }));
    assert_eq!(result(&ran), Value::Null);
    assert!(ran.trace.usage.fuel > 0 && ran.trace.usage.memory_bytes >= 2 * 65_536);
    assert_eq!((ran.trace.usage.host_calls, ran.trace.usage.instances), (1, 1));
}

#[tokio::test]
async fn a_function_makes_the_record_if_it_isnt_there() {
    let bench = Bench::new().await;
    let module = bench.prepare(&add()).await;
    let ran = bench.run(&module, &key("new"), &Value::Null).await.expect("it runs");
    assert_eq!(staged(&ran), Bins::new().with("n", 5));
    assert!(matches!(ran.staged, Staged::Write { ttl: Ttl::Default, .. }), "there is nothing to keep");
}

#[tokio::test]
async fn what_cant_be_staged_is_told_to_the_guest() {
    let bench = Bench::new().await;
    // The tag of the access error at 72 is the result: overflow is 3, wrong-type 2.
    let body = r#"
      (call $record.bin-add (i32.const 600) (i32.const 1) (i64.const 5) (i32.const 64))
      (call $failure (i32.const 600) (i32.const 1) (i32.add (i32.const 604) (i32.load8_u (i32.const 72))) (i32.const 1))"#;
    let guest = Guest::record(body).import(&["record.bin-add"]).item(r#"(data (i32.const 600) "n   01234")"#);
    let module = bench.prepare(&guest).await;
    let read_only = bench.prepare(&guest.read_only()).await;
    for (value, module, expected) in
        [(Value::Int(i64::MAX), &module, "3"), (Value::from("x"), &module, "2"), (Value::Int(1), &read_only, "0")]
    {
        bench.put(&key("a"), &Bins::new().with("n", value.clone()));
        let failed = bench.run(module, &key("a"), &Value::Null).await.expect_err("it refuses");
        assert_eq!(failed.code, Code::FunctionFailed);
        assert_eq!(failed.details.failure_code.as_deref(), Some(expected), "{value:?}");
        assert_eq!(failed.message, "n");
    }
}

#[tokio::test]
async fn deleting_and_making_anew_gives_a_record_of_its_own() {
    let bench = Bench::new().await;
    let delete = "(call $record.delete (i32.const 64))";
    let imports = ["record.delete", "record.bin-add", "record.set-ttl"];
    let data = r#"(data (i32.const 600) "n")"#;
    let module = bench.prepare(&Guest::record(&format!("{delete} (call $ok)")).import(&imports[..1])).await;
    bench.put(&key("a"), &Bins::new().with("n", 1).with("m", 2));
    let ran = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    assert_eq!(ran.staged, Staged::Delete);
    let module = bench.prepare(&Guest::record(&format!("{delete} {ADD}")).import(&imports[..2]).item(data)).await;
    let ran = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    assert_eq!(staged(&ran), Bins::new().with("n", 5), "what was deleted doesn't come back");
    assert!(matches!(ran.staged, Staged::Write { ttl: Ttl::Default, .. }));
    // set-ttl(seconds(60)) alone is a write that changes no bin; of a record that isn't there, none.
    let body = "(call $record.set-ttl (i32.const 3) (i32.const 60) (i32.const 64)) (call $ok)";
    let module = bench.prepare(&Guest::record(body).import(&imports[2..])).await;
    let ran = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    assert_eq!(staged(&ran), Bins::new().with("n", 1).with("m", 2));
    assert!(matches!(ran.staged, Staged::Write { ttl: Ttl::Secs(60), .. }));
    let ran = bench.run(&module, &key("nobody"), &Value::Null).await.expect("it runs");
    assert_eq!(ran.staged, Staged::Nothing);
}

#[tokio::test]
async fn arguments_and_results_cross_unchanged() {
    let bench = Bench::new().await;
    // Gives its arguments back.
    let module = bench.prepare(&Guest::record("(call $ok_bytes (local.get $ptr) (local.get $len))")).await;
    let value = Value::List(vec![Value::Int(1), Value::from("two"), Value::Bytes(vec![0, 255]), Value::Float(0.5)]);
    let ran = bench.run(&module, &key("a"), &value).await.expect("it runs");
    assert_eq!(result(&ran), value);
    assert_eq!(ran.staged, Staged::Nothing);
    // A result that is no archive.
    let guest = Guest::record("(call $ok_bytes (i32.const 512) (i32.const 5))");
    let module = bench.prepare(&guest).await;
    let failed = bench.run(&module, &key("a"), &Value::Null).await.expect_err("it isn't valid");
    assert_eq!(failed.code, Code::FunctionResultInvalid, "{failed}");
}

#[tokio::test]
async fn logs_counters_time_and_seed() {
    let bench = Bench::new().await;
    let body = r#"
      (call $context.log (i32.const 2) (i32.const 600) (i32.const 5))
      (call $context.count (i32.const 605) (i32.const 4) (i64.const 3))
      (call $context.count (i32.const 605) (i32.const 4) (i64.const 4))
      (if (i64.ne (call $context.now-ms) (i64.load (i32.const 616))) (then unreachable))
      (if (i64.ne (call $context.seed) (i64.const 42)) (then unreachable))
      (call $ok)"#;
    let now: String = NOW_MS.to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let guest = Guest::record(body)
        .import(&["context.log", "context.count", "context.now-ms", "context.seed"])
        .item(&format!(r#"(data (i32.const 600) "hellohits") (data (i32.const 616) "{now}")"#));
    let module = bench.prepare(&guest).await;
    let ran = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    let logs: Vec<_> = ran.trace.logs.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(logs, [(LogLevel::Warn, "hello")]);
    assert_eq!(ran.trace.counters, [("hits".to_owned(), 7)]);
}

/// Looks for a marker in all of its memory and in a global; then leaves it there.
const RESIDUE: &str = r#"
  (local $at i32)
  (if (global.get $mark) (then unreachable))
  (global.set $mark (i32.const 1))
  (if (i32.eqz (ref.is_null (table.get $funcs (i32.const 3)))) (then unreachable))
  (table.set $funcs (i32.const 3) (ref.func $alloc))
  (drop (memory.grow (i32.const 30)))
  (local.set $at (i32.const 4096))
  (loop $more
    (if (i32.ne (i32.load (local.get $at)) (i32.const 0)) (then
      (if (i32.lt_u (local.get $at) (i32.const 65536)) (then unreachable))))
    (i32.store (local.get $at) (i32.const 0x5eed5eed))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (br_if $more (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
  (if (i32.eqz (i32.eq (memory.size) (i32.const 32))) (then unreachable))"#;

#[tokio::test]
async fn nothing_written_by_one_call_is_readable_by_the_next() {
    let bench = Bench::new().await;
    let items = r#"(global $mark (mut i32) (i32.const 0)) (table $funcs 4 funcref) (elem declare func $alloc)"#;
    let well = Guest::record(&format!("{RESIDUE} (call $ok)"));
    let well = bench.prepare(&well.item(items)).await;
    let trap = bench.prepare(&Guest::record(&format!("{RESIDUE} unreachable")).item(items)).await;
    for round in 0..40 {
        let ran = bench.run(&well, &key("a"), &Value::Null).await;
        assert!(ran.is_ok(), "round {round}: {ran:?}");
        let failed = bench.run(&trap, &key("a"), &Value::Null).await.expect_err("it traps");
        assert_eq!(failed.code, Code::FunctionTrapped);
    }
    assert_eq!(bench.host.instances_free(), 16, "every instance was given back");
}

#[tokio::test]
async fn a_trap_tells_where_and_leaves_others_alone() {
    let bench = Bench::new().await;
    let guest = Guest::record("(call $outer)")
        .item("(func $outer (result i32) (call $inner))")
        .item("(func $inner (result i32) (i32.div_u (i32.const 1) (i32.const 0)))");
    let module = bench.prepare(&guest).await;
    let good = bench.prepare(&add()).await;
    let (a, b) = (key("a"), key("b"));
    let (failed, ran) = tokio::join!(bench.run(&module, &a, &Value::Null), bench.run(&good, &b, &Value::Null));
    let failed = failed.expect_err("it divides by zero");
    assert_eq!(failed.code, Code::FunctionTrapped);
    assert!(failed.message.contains("divide by zero"), "{failed}");
    let frames = &failed.details.backtrace;
    assert!(frames[0].starts_with("inner at guest:0x") && frames[1].starts_with("outer at"), "{frames:?}");
    assert!(ran.is_ok());
}

/// Catches: a stack in the guest's memory that overflowed, told as nothing but a bad access.
#[tokio::test]
async fn a_bad_access_many_calls_deep_points_at_the_stack() {
    let bench = Bench::new().await;
    let deep = Guest::record("(call $deep (i32.const 60000)) (call $ok)").item(
        "(func $deep (param $at i32) (i32.store (local.get $at) (i32.const 1))
           (call $deep (i32.sub (local.get $at) (i32.const 512))))",
    );
    let failed = bench.run(&bench.prepare(&deep).await, &key("a"), &Value::Null).await.expect_err("it traps");
    assert_eq!(failed.code, Code::FunctionTrapped);
    assert!(failed.message.contains("out of bounds") && failed.message.contains("stack-kib"), "{failed}");
    let flat = Guest::record("(i32.store (i32.const -4) (i32.const 1)) (call $ok)");
    let failed = bench.run(&bench.prepare(&flat).await, &key("a"), &Value::Null).await.expect_err("it traps");
    assert!(failed.message.contains("out of bounds") && !failed.message.contains("stack-kib"), "{failed}");
}

#[tokio::test]
async fn other_records_are_read_as_committed() {
    let bench = Bench::new().await;
    // Reads the record `set/b` whole: at 64 the outer result, at 68 whether it is there, at 72 and 76 its bytes.
    let body = r#"
      (call $other.read (i32.const 600) (i32.const 3) (i32.const 1) (i64.const 603) (i32.const 1) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then unreachable))
      (call $failure (i32.const 600) (i32.load (i32.const 76)) (i32.add (i32.const 604) (i32.load8_u (i32.const 68))) (i32.const 1))"#;
    let guest = Guest::record(body).import(&["other.read"]).item(r#"(data (i32.const 600) "setb01")"#);
    let module = bench.prepare(&guest).await;
    let failed = bench.run(&module, &key("a"), &Value::Null).await.expect_err("it refuses");
    assert_eq!(failed.details.failure_code.as_deref(), Some("0"), "there is none");
    bench.put(&key("b"), &Bins::new().with("n", 1));
    let failed = bench.run(&module, &key("a"), &Value::Null).await.expect_err("it refuses");
    assert_eq!(failed.details.failure_code.as_deref(), Some("1"), "there it is");
    let subject = bench.subject(&key("b"));
    let stored = subject.stored().expect("it was written");
    assert_eq!(failed.message.len(), stored.len());
    assert_eq!(failed.details.trace.usage.reads, 1);
    assert_eq!(failed.details.trace.usage.read_bytes, stored.len() as u64);
}

/// Catches: a bin that isn't there being removed as a write, which made an empty record of none.
#[tokio::test]
async fn removing_a_bin_that_is_not_there_is_no_write() {
    let bench = Bench::new().await;
    let removes = "(call $record.bin-remove (i32.const 600) (i32.const 1) (i32.const 64)) (call $ok)";
    let guest = Guest::record(removes).import(&["record.bin-remove"]).item(r#"(data (i32.const 600) "n")"#);
    let module = bench.prepare(&guest).await;
    let nobody = bench.run(&module, &key("nobody"), &Value::Null).await.expect("it runs");
    assert_eq!(nobody.staged, Staged::Nothing);
    bench.put(&key("a"), &Bins::new().with("m", 1));
    let other = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
    assert_eq!(other.staged, Staged::Nothing);
    bench.put(&key("b"), &Bins::new().with("m", 1).with("n", 2));
    let there = bench.run(&module, &key("b"), &Value::Null).await.expect("it runs");
    assert_eq!(staged(&there), Bins::new().with("m", 1));
}
