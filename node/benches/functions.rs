//! What a function costs the node: a fresh instance with a trivial call, an increment, and an aggregate in batches beside
//! the same loop written natively.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outcrop_node::udf::batch::{items, push};
use outcrop_node::udf::{BatchSource, Call, Limits, SourceError};
use outcrop_wire::archive::archive_value;
use outcrop_wire::{Bins, StoredRecord, Value, peek};

use crate::guest::host::{Bench, key};
use crate::guest::{AGGREGATE, Guest};

#[path = "../tests/guest/mod.rs"]
mod guest;

/// Records of a batch, and batches of one query.
const IN_BATCH: usize = 128;
const BATCHES: usize = 400;

/// The same batch again and again, as from a cache.
#[derive(Clone)]
struct Same {
    batch: Arc<Vec<u8>>,
    left: usize,
}

impl BatchSource for Same {
    type Mark = ();

    async fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<()>, SourceError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        out.extend_from_slice(&self.batch);
        Ok(Some(()))
    }
}

/// Ten bins, about 1 KiB.
fn bins(number: i64) -> Bins {
    let text = "x".repeat(90);
    (0..9).fold(Bins::new(), |bins, place| bins.with(format!("bin-{place}"), text.as_str())).with("amount", number)
}

/// Sums the bin `amount` with the accessors, 128 records a crossing.
fn sum() -> Guest {
    let archive = archive_value(&Value::Int(0)).expect("it is small");
    let bytes: String = archive.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let body = r#"
      (loop $more
        (if (call $batch.next) (then
          (call $record.bin-get-integer (i32.const 600) (i32.const 6) (i32.const 64))
          (global.set $sum (i64.add (global.get $sum) (i64.load (i32.const 80))))
          (br $more))))
      (call $ok)"#;
    Guest::new("sum", AGGREGATE)
        .json()
        .import(&["batch.next", "record.bin-get-integer"])
        .item(&format!(
            r#"(data (i32.const 600) "amount") (data (i32.const 800) "{bytes}") (global $sum (mut i64) (i64.const 0))"#
        ))
        .export("aggregate-accept", body)
        .export(
            "aggregate-state",
            "(i64.store (i32.const 700) (global.get $sum)) (call $ok_bytes (i32.const 700) (i32.const 8))",
        )
        .export(
            "aggregate-merge",
            "(global.set $sum (i64.add (global.get $sum) (i64.load (local.get $ptr)))) (call $ok)",
        )
        .export("aggregate-finish", "(call $ok_bytes (i32.const 0) (i32.const 0))")
}

fn functions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bench = runtime.block_on(Bench::new());
    let trivial = runtime.block_on(bench.prepare(&Guest::record("(call $ok)")));
    let increment = r#"
      (call $record.bin-add (i32.const 600) (i32.const 6) (i64.const 1) (i32.const 64)) (call $ok)"#;
    let increment = Guest::record(increment).import(&["record.bin-add"]).item(r#"(data (i32.const 600) "amount")"#);
    let increment = runtime.block_on(bench.prepare(&increment));
    bench.put(&key("a"), &bins(7));
    let call = bench.call(&Value::Null);
    let mut group = criterion.benchmark_group("record");
    for (name, module) in [("trivial", &trivial), ("increment", &increment)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                runtime.block_on(async {
                    let (key, begun) = (key("a"), Instant::now());
                    for _ in 0..times {
                        let subject = bench.subject(&key);
                        black_box(module.call_record(call.clone(), subject).await.expect("it runs"));
                    }
                    begun.elapsed()
                })
            });
        });
    }
    group.finish();
    aggregates(criterion, &runtime, &bench);
}

fn aggregates(criterion: &mut Criterion, runtime: &tokio::runtime::Runtime, bench: &Bench) {
    let mut batch = Vec::new();
    for number in 0..IN_BATCH {
        bench.put(&key(&format!("{number}")), &bins(number as i64));
        push(&mut batch, bench.subject(&key(&format!("{number}"))).stored.expect("it was written").as_ref());
    }
    let source = Same { batch: Arc::new(batch), left: BATCHES };
    let module = runtime.block_on(bench.prepare(&sum()));
    let call = Call { limits: Arc::new(Limits::QUERY), ..bench.call(&Value::Null) };
    let mut group = criterion.benchmark_group("sum of a bin, a record");
    group.throughput(Throughput::Elements((IN_BATCH * BATCHES) as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.bench_function("native, one thread", |bencher| {
        bencher.iter(|| {
            let mut sum = 0;
            let mut copy = Vec::new();
            for _ in 0..BATCHES {
                copy.clear();
                copy.extend_from_slice(&source.batch);
                for range in items(&copy) {
                    let record = StoredRecord::parse(&copy[range.expect("its lengths fit")]).expect("a record");
                    sum += peek::bin(record.archive, "amount").ok().flatten().and_then(|bin| bin.as_int()).unwrap_or(0);
                }
            }
            black_box(sum)
        });
    });
    for width in [1, 2] {
        group.bench_function(format!("guest with accessors, {width} instances"), |bencher| {
            bencher.iter_custom(|times| {
                let begun = Instant::now();
                for _ in 0..times {
                    let part = Same { left: BATCHES / width, ..source.clone() };
                    let running = module.aggregate(call.clone(), vec![part; width]);
                    black_box(runtime.block_on(running).expect("it runs"));
                }
                begun.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, functions);
criterion_main!(benches);
