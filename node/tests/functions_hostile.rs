//! Modules that mean harm: each is answered with the right error, others get their answers meanwhile, and everything
//! that it took comes back. A case is a few lines of WAT in `hostile/`; how it is run stands there as well.

use outcrop_node::udf::{LimitKind, Limits};
use outcrop_wire::{Code, Value};

use crate::guest::Guest;
use crate::guest::host::{Bench, key, result};
use crate::hostile::{Case, abi, calls, queries, uploads};

mod guest;
mod hostile;

#[tokio::test]
async fn uploads_that_are_no_component_of_the_world() {
    let _alone = hostile::alone().await;
    hostile::run(uploads::shapes()).await;
}

#[tokio::test]
async fn uploads_that_are_too_much() {
    let _alone = hostile::alone().await;
    hostile::run(uploads::sizes()).await;
}

#[tokio::test]
async fn descriptions_that_lie() {
    let _alone = hostile::alone().await;
    hostile::run(uploads::descriptions()).await;
}

#[tokio::test]
async fn damaged_bytes_get_an_answer() {
    let _alone = hostile::alone().await;
    let bench = hostile::bench().await;
    for bytes in uploads::damaged() {
        if let Err(refusal) = bench.try_prepare(bytes).await {
            assert!((600..700).contains(&(refusal.code as u16)), "{:?}: {refusal}", refusal.code);
        }
    }
}

#[tokio::test]
async fn allocators_that_lie() {
    let _alone = hostile::alone().await;
    hostile::run(abi::allocators()).await;
}

#[tokio::test]
async fn results_that_lie() {
    let _alone = hostile::alone().await;
    hostile::run(abi::results()).await;
}

#[tokio::test]
async fn arguments_that_lie() {
    let _alone = hostile::alone().await;
    hostile::run(abi::arguments()).await;
}

#[tokio::test]
async fn guests_that_never_end() {
    let _alone = hostile::alone().await;
    hostile::run(calls::endless()).await;
}

#[tokio::test]
async fn guests_that_want_all_there_is() {
    let _alone = hostile::alone().await;
    hostile::run(calls::bounds()).await;
}

#[tokio::test]
async fn traps_of_every_kind() {
    let _alone = hostile::alone().await;
    hostile::run(calls::traps()).await;
}

#[tokio::test]
async fn writes_that_cannot_be() {
    let _alone = hostile::alone().await;
    hostile::run(calls::writes()).await;
}

#[tokio::test]
async fn every_entry_point_traps_or_never_returns() {
    let _alone = hostile::alone().await;
    hostile::run(queries::entries()).await;
}

#[tokio::test]
async fn states_that_never_stop_growing() {
    let _alone = hostile::alone().await;
    hostile::run(queries::states()).await;
}

#[tokio::test]
async fn rows_that_lie() {
    let _alone = hostile::alone().await;
    hostile::run(queries::rows_that_lie()).await;
}

#[test]
fn no_case_stands_there_twice() {
    let all: Vec<Case> = [
        uploads::shapes(),
        uploads::sizes(),
        uploads::descriptions(),
        abi::allocators(),
        abi::results(),
        abi::arguments(),
        calls::endless(),
        calls::bounds(),
        calls::traps(),
        calls::writes(),
        queries::entries(),
        queries::states(),
        queries::rows_that_lie(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: std::collections::HashSet<_> = all.iter().map(|case| case.name).collect();
    let modules: std::collections::HashSet<_> = all.iter().map(|case| &case.component).collect();
    assert_eq!((names.len(), modules.len()), (all.len(), all.len()));
    assert!(all.len() >= 100, "{} cases", all.len());
}

/// Catches: what one call leaves in memory, globals, tables or dropped segments being there for the next.
#[tokio::test]
async fn a_call_finds_nothing_of_the_one_before() {
    let _alone = hostile::alone().await;
    let bench = Bench::new().await;
    let guest = Guest::record(
        "(if (global.get $g) (then unreachable)) (global.set $g (i32.const 1))
         (if (i32.load (i32.const 9000)) (then unreachable)) (i32.store (i32.const 9000) (i32.const 1))
         (if (i32.ne (memory.size) (i32.const 2)) (then unreachable)) (drop (memory.grow (i32.const 3)))
         (if (i32.load (i32.const 200000)) (then unreachable)) (i32.store (i32.const 200000) (i32.const 1))
         (if (i32.ne (table.size $t) (i32.const 1)) (then unreachable)) (drop (table.grow $t (ref.func $f) (i32.const 5)))
         (if (i32.eqz (ref.is_null (table.get $t (i32.const 0)))) (then unreachable))
         (table.set $t (i32.const 0) (ref.func $f))
         (memory.init $d (i32.const 9100) (i32.const 0) (i32.const 4)) (data.drop $d)
         (call $ok)",
    )
    .item(r#"(global $g (mut i32) (i32.const 0)) (table $t 1 funcref) (func $f) (data $d "once") (elem declare func $f)"#);
    let module = bench.prepare(&guest).await;
    for _ in 0..100 {
        bench.run(&module, &key("a"), &Value::Null).await.expect("it begins as if it were the first");
    }
    // A call that trapped in the middle leaves nothing either.
    let traps = Guest::record(
        "(if (i32.load (i32.const 9000)) (then (return (call $ok)))) (i32.store (i32.const 9000) (i32.const 1)) unreachable",
    );
    let module = bench.prepare(&traps).await;
    for _ in 0..50 {
        let failed = bench.run(&module, &key("a"), &Value::Null).await.expect_err("it traps each time");
        assert_eq!(failed.code, Code::FunctionTrapped);
    }
}

/// Catches: bits of NaNs that differ from call to call, or from machine to machine.
#[tokio::test]
async fn what_is_no_number_has_the_same_bits_each_time() {
    let _alone = hostile::alone().await;
    let bench = Bench::new().await;
    let nan = |text: &str| format!("(i64.reinterpret_f64 {text})");
    let tricks = [
        "(f64.div (f64.const 0) (f64.const 0))",
        "(f64.sqrt (f64.const -1))",
        "(f64.add (f64.const nan:0x4000000000001) (f64.const -nan:0x7ffffffffffff))",
        "(f64.promote_f32 (f32.div (f32.const -0) (f32.const 0)))",
        "(f64.mul (f64.const -nan:0x8000000000001) (f64.const inf))",
        "(f64.min (f64.const nan:0xabc) (f64.const 1))",
    ];
    let sets = tricks.iter().enumerate().fold(String::new(), |text, (place, trick)| {
        let name = format!("(i32.const {}) (i32.const 1)", 600 + place);
        text + &format!("(call $record.bin-set-integer {name} {} (i32.const 64)) ", nan(trick))
    });
    let guest = Guest::record(&format!("{sets} (call $ok)"))
        .import(&["record.bin-set-integer"])
        .item(r#"(data (i32.const 600) "abcdef")"#);
    let module = bench.prepare(&guest).await;
    for _ in 0..20 {
        let ran = bench.run(&module, &key("a"), &Value::Null).await.expect("it runs");
        assert_eq!(result(&ran), Value::Null);
        for bin in guest::host::staged(&ran).bins {
            assert_eq!(bin.value, Value::Int(0x7ff8_0000_0000_0000), "{}", bin.name);
        }
    }
}

/// Catches: a lie of the size of a memory that holds in the guest's bounds, but not in the host's.
#[tokio::test]
async fn bins_that_nobody_could_store_do_not_gather_in_the_node() {
    let _alone = hostile::alone().await;
    let bench = hostile::bench().await;
    let case = calls::writes().into_iter().find(|case| case.name == "bins of 4 GB").expect("it is there");
    let module = bench.try_prepare(case.component).await.expect("it is a module");
    let before = peak_bytes();
    let failed = bench.run_within(&module, Limits::RECORD).await.expect_err("no record is so large");
    assert_eq!(failed.code, Code::RecordTooLarge);
    let grown = peak_bytes() - before;
    assert!(grown < 96 << 20, "the node held {grown} bytes for a record of at most 4 MiB");
}

/// Catches: a module of many tables that uses up the pool's while the node believes that most of its instances are free.
#[tokio::test]
async fn many_tables_take_many_places() {
    let _alone = hostile::alone().await;
    let bench = hostile::bench().await;
    let guest = Guest::record("(loop $forever (br $forever)) unreachable").item(&"(table 1 funcref)".repeat(8));
    let module = bench.prepare(&guest).await;
    let unbounded = Limits { fuel: u64::MAX >> 1, wall: std::time::Duration::from_secs(600), ..Limits::RECORD };
    let calls = futures_util::future::join_all((0..4).map(|_| bench.run_within(&module, unbounded.clone())));
    let refused = async {
        while bench.host.instances_free() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        bench.run_within(&module, unbounded.clone()).await.expect_err("there is no table left")
    };
    let failed = tokio::select! {
        ended = calls => panic!("{ended:?}"),
        failed = refused => failed,
    };
    assert_eq!(failed.code, Code::FunctionConcurrencyLimit);
    let limit = failed.details.limit.map(|hit| (hit.kind, hit.allowed));
    assert_eq!(limit, Some((LimitKind::Concurrency, 16)));
}

/// The most memory that this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line of the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
