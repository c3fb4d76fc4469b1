//! What a function costs the node: a fresh instance with a trivial call, an increment, and an aggregate in batches beside
//! the same loop written natively.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outcrop_node::udf::batch::{items, push};
use outcrop_node::udf::{BatchSource, Call, Failed, Limits, Prepared, Ran, SourceError};
use outcrop_udf_build::{Options, build};
use outcrop_wire::{Bins, StoredRecord, Value, peek};
use tokio::runtime::Runtime;

use crate::guest::Guest;
use crate::guest::host::{Bench, key};

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
    let text = "x".repeat(95);
    let texts = (0..7).fold(Bins::new(), |bins, place| bins.with(format!("bin-{place}"), text.as_str()));
    texts.with("price", number as f64).with("stock", 3).with("visits", number)
}

/// The example module, built with the SDK: `visit` adds to a bin, `Revenue` sums the product of two.
fn shop() -> Vec<u8> {
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../udfs/examples/shop");
    let options = Options { offline: true, ..Options::new(project) };
    build(&options, &mut |step| eprintln!("{step}")).expect("the example builds").component
}

fn functions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bench = runtime.block_on(Bench::new());
    let trivial = runtime.block_on(bench.prepare(&Guest::record("(call $ok)")));
    let increment = r#"
      (call $record.bin-add (i32.const 600) (i32.const 6) (i64.const 1) (i32.const 64)) (call $ok)"#;
    let increment = Guest::record(increment).import(&["record.bin-add"]).item(r#"(data (i32.const 600) "visits")"#);
    let increment = runtime.block_on(bench.prepare(&increment));
    let shop = runtime.block_on(bench.try_prepare(shop())).expect("the example is a module");
    bench.put(&key("a"), &bins(7));
    let mut group = criterion.benchmark_group("record");
    for (name, module, function) in [
        ("trivial, by hand", &trivial, "run"),
        ("increment, by hand", &increment, "run"),
        ("increment, with the SDK", &shop, "visit"),
    ] {
        let function = module.function(function).expect("it is there").0;
        let call = Call { function, ..bench.call(&Value::Map(Vec::new())) };
        print_allocations(name, &runtime, || module.call_record(call.clone(), bench.subject(&key("a"))));
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
    aggregates(criterion, &runtime, &bench, &shop);
}

/// What one call allocates of the node's memory, once everything is warm; the record and its key included.
fn print_allocations<F: Future<Output = Result<Ran, Failed>>>(name: &str, runtime: &Runtime, call: impl Fn() -> F) {
    let one = || drop(black_box(runtime.block_on(call()).expect("it runs")));
    (0..100).for_each(|_| one());
    let counted = allocation_counter::measure(one);
    println!(
        "{name}: {} allocations of {} bytes, {} at most at once",
        counted.count_total, counted.bytes_total, counted.bytes_max
    );
}

fn aggregates(criterion: &mut Criterion, runtime: &Runtime, bench: &Bench, shop: &Prepared) {
    let mut batch = Vec::new();
    for number in 0..IN_BATCH {
        bench.put(&key(&format!("{number}")), &bins(number as i64));
        push(&mut batch, bench.subject(&key(&format!("{number}"))).stored().expect("it was written"));
    }
    let source = Same { batch: Arc::new(batch), left: BATCHES };
    let function = shop.function("Revenue").or_else(|| shop.function("revenue")).expect("it is there").0;
    let call = Call { function, limits: Arc::new(Limits::QUERY), ..bench.call(&Value::Null) };
    let mut group = criterion.benchmark_group("price times stock, summed");
    group.throughput(Throughput::Elements((IN_BATCH * BATCHES) as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.bench_function("native, one thread", |bencher| bencher.iter(|| black_box(natively(&source))));
    for width in [1, 2] {
        group.bench_function(format!("with the SDK, {width} instances"), |bencher| {
            bencher.iter_custom(|times| {
                let begun = Instant::now();
                for _ in 0..times {
                    let part = Same { left: BATCHES / width, ..source.clone() };
                    let running = shop.aggregate(call.clone(), vec![part; width]);
                    black_box(runtime.block_on(running).expect("it runs"));
                }
                begun.elapsed()
            });
        });
    }
    group.finish();
}

/// The same loop in the node, over a copy of the batch like the guest's.
fn natively(source: &Same) -> f64 {
    let (mut sum, mut copy) = (0.0, Vec::new());
    for _ in 0..source.left {
        copy.clear();
        copy.extend_from_slice(&source.batch);
        for range in items(&copy) {
            let record = StoredRecord::parse(&copy[range.expect("its lengths fit")]).expect("a record");
            let bin = |name: &str| peek::bin(record.archive, name).ok().flatten();
            let (price, stock) = (bin("price"), bin("stock"));
            if let (Some(price), Some(stock)) =
                (price.and_then(|bin| bin.as_number()), stock.and_then(|bin| bin.as_int()))
            {
                sum += price * stock as f64;
            }
        }
    }
    sum
}

criterion_group!(benches, functions);
criterion_main!(benches);
