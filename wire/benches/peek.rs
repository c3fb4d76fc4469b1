//! A bin of a record of ten: by a peek, after validating the whole, and by an owned copy of everything.
//!
//! Run with `cargo bench -p outcrop-wire --bench peek`.

// criterion's macros make public functions without docs.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use outcrop_wire::archive::{access_bins, archive_bins, archive_value, decode_bins, decode_value, to_value};
use outcrop_wire::peek::{self, BinsWriter, PeekBins, PeekValue};
use outcrop_wire::{Bins, MapKey, Value};

/// A record of about a kilobyte: names in place and not, numbers, texts, bytes, a list and a map.
fn record() -> Bins {
    let tags: Vec<Value> = ["new", "a tag that is not in place", "sale"].into_iter().map(Value::from).collect();
    let sizes = ["small", "medium", "large"].map(|size| (MapKey::from(size), Value::from(3)));
    Bins::new()
        .with("id", 42)
        .with("name", "A lamp with a rather long name")
        .with("description", "x".repeat(300))
        .with("image", vec![7_u8; 300])
        .with("price", 1_999)
        .with("weight_in_kg", 2.5)
        .with("available", true)
        .with("tags", tags)
        .with("stock", Value::Map(sizes.into()))
        .with("updated_at", 1_790_000_000)
}

fn lookups(criterion: &mut Criterion) {
    let archive = archive_bins(&record()).expect("within the limits");
    let mut group = criterion.benchmark_group("one_bin_of_ten");
    for name in ["price", "weight_in_kg", "updated_at", "nothing"] {
        group.bench_function(format!("peek/{name}"), |bencher| {
            bencher.iter(|| peek::bin(black_box(&archive), black_box(name)).expect("valid").and_then(|v| v.as_int()));
        });
    }
    group.bench_function("validate_then_get/price", |bencher| {
        bencher.iter(|| access_bins(black_box(&archive)).expect("valid").get(black_box("price")).is_some());
    });
    let validated = access_bins(&archive).expect("valid");
    group.bench_function("get_of_validated/price", |bencher| {
        bencher.iter(|| black_box(validated).get(black_box("price")).is_some());
    });
    group.bench_function("decode_all/price", |bencher| {
        bencher.iter(|| decode_bins(black_box(&archive)).expect("valid").get(black_box("price")).is_some());
    });
    group.finish();

    let mut group = criterion.benchmark_group("one_bin_copied");
    for name in ["name", "tags"] {
        group.bench_function(format!("peek/{name}"), |bencher| {
            bencher.iter(|| peek::bin(black_box(&archive), name).expect("valid").map(|value| value.to_value()));
        });
        group.bench_function(format!("validate_then_get/{name}"), |bencher| {
            bencher.iter(|| access_bins(black_box(&archive)).expect("valid").get(name).map(to_value));
        });
    }
    group.finish();
}

fn walks(criterion: &mut Criterion) {
    let numbers = archive_value(&Value::List((0..1_000).map(Value::Int).collect())).expect("within the limits");
    let mut group = criterion.benchmark_group("sum_of_1000");
    group.bench_function("peek", |bencher| {
        bencher.iter(|| {
            let list = peek::value(black_box(&numbers)).expect("valid").as_list().expect("a list");
            list.iter().flatten().filter_map(|item: PeekValue<'_>| item.as_int()).sum::<i64>()
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| match decode_value(black_box(&numbers)) {
            Ok(Value::List(items)) => {
                items.iter().map(|item| if let Value::Int(n) = item { *n } else { 0 }).sum::<i64>()
            }
            other => panic!("{other:?}"),
        });
    });
    group.finish();
}

/// Three bins of ten as a record of their own, and one bin of a record changed.
fn copies(criterion: &mut Criterion) {
    let archive = archive_bins(&record()).expect("within the limits");
    let names = ["name", "price", "tags"];
    let mut group = criterion.benchmark_group("three_bins_of_ten");
    group.bench_function("writer", |bencher| {
        bencher.iter(|| {
            let mut writer = BinsWriter::with_capacity(archive.len());
            for bin in PeekBins::new(black_box(&archive)).expect("valid").iter().flatten() {
                if names.contains(&bin.0) {
                    writer.push_peeked(bin.0, bin.1).expect("within the limits");
                }
            }
            writer.finish().expect("within the limits")
        });
    });
    group.bench_function("owned", |bencher| {
        bencher.iter(|| {
            let bins = access_bins(black_box(&archive)).expect("valid");
            let named = bins.bins.iter().filter(|bin| names.contains(&bin.name.as_str()));
            let copied = named.map(|bin| (bin.name.as_str().to_owned(), to_value(&bin.value).expect("valid")));
            archive_bins(&copied.fold(Bins::new(), |bins, (name, value)| bins.with(name, value))).expect("valid")
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("one_bin_changed");
    group.bench_function("writer", |bencher| {
        bencher.iter(|| {
            let mut writer = BinsWriter::with_capacity(archive.len());
            for bin in PeekBins::new(black_box(&archive)).expect("valid").iter() {
                match bin.expect("valid") {
                    ("price", _) => writer.push("price", &1_599.into()),
                    (name, value) => writer.push_peeked(name, value),
                }
                .expect("within the limits");
            }
            writer.finish().expect("within the limits")
        });
    });
    group.bench_function("owned", |bencher| {
        bencher.iter(|| {
            let mut bins = decode_bins(black_box(&archive)).expect("valid");
            bins.set("price", 1_599);
            archive_bins(&bins).expect("within the limits")
        });
    });
    group.finish();
}

criterion_group!(benches, lookups, walks, copies);
criterion_main!(benches);
