//! The index by itself: memory a record at every count, look-ups, inserts, the longest insert, snapshot and restore.
//!
//! `cargo bench -p outcrop-node --bench index [-- RECORDS_MAX]`. Memory is the growth of the process's resident set
//! (Linux's /proc/self/statm), so that allocator overhead and fragmentation count; ns are processor time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use outcrop_flash::Location;
use outcrop_node::index::{Entry, Index, SetId};
use outcrop_wire::{Digest, PartitionId};

const LOOKUPS: u64 = 2_000_000;

/// SplitMix64: digests are made anew from numbers, so that no list of keys weighs on the figures.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn digest(number: u64) -> Digest {
    Digest::from_u128(u128::from(mix(number)) << 64 | u128::from(mix(!number)))
}

fn entry(number: u64) -> Entry {
    Entry {
        set: SetId::new(1).expect("twelve bits"),
        location: Location::from_bits(number + 1).expect("62 bits"),
        tombstone: false,
        expiry_secs: 0,
        generation: 1,
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("its second field");
    pages * 4_096
}

const OVER_US: [u64; 4] = [50, 100, 200, 1_000];

/// Processor time of this process so far, to 10 ms: what else runs on the machine is not in it.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(") ").next().expect("the fields behind the process's name").split(' ');
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("user and system time")).sum();
    Duration::from_millis(ticks * 10)
}

#[derive(Default)]
struct Longest {
    insert: Duration,
    /// Inserts that took over 50, 100, 200 and 1,000 us: the machine's other work is among them.
    over: [u64; 4],
    bytes_a_record: f64,
    at_count: u64,
}

fn insert_up_to(index: &Index, from: u64, to: u64, longest: &mut Longest) -> Duration {
    let begin = cpu_time();
    let mut before = Instant::now();
    for number in from..to {
        let digest = digest(number);
        index.write(digest.partition()).insert(&digest, entry(number));
        let after = Instant::now();
        longest.insert = longest.insert.max(after - before);
        for (count, over_us) in longest.over.iter_mut().zip(OVER_US) {
            *count += u64::from(after - before > Duration::from_micros(over_us));
        }
        before = after;
    }
    cpu_time() - begin
}

/// Nanoseconds of processor time a look-up, in random order; `offset` beyond the count makes misses.
fn lookup_ns(index: &Index, count: u64, offset: u64) -> f64 {
    let begin = cpu_time();
    for nth in 0..LOOKUPS {
        let digest = digest(offset + mix(nth ^ 0x5555) % count);
        black_box(index.read(digest.partition()).get(&digest));
    }
    (cpu_time() - begin).as_nanos() as f64 / LOOKUPS as f64
}

fn main() {
    let records_max = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20_000_000_u64);
    let baseline = resident_bytes();
    let index = Index::new();
    let (mut count, mut longest) = (0_u64, Longest::default());
    let (mut spent, mut timed_at) = (Duration::ZERO, 0);
    println!("   records  bytes/record  asked for  insert ns  hit ns  miss ns  longest insert us");
    while count < records_max {
        // Steps of 1% for memory, so that no bump hides between two counts; timings at a few of them.
        let next = if count < 1_000_000 { 1_000_000 } else { count + count / 100 }.min(records_max);
        spent += insert_up_to(&index, count, next, &mut longest);
        let timed = count == 0 || next == records_max || (next / 1_000_000).ilog2() > (count / 1_000_000).ilog2();
        count = next;
        let bytes_a_record = (resident_bytes() - baseline) as f64 / count as f64;
        if bytes_a_record > longest.bytes_a_record {
            (longest.bytes_a_record, longest.at_count) = (bytes_a_record, count);
        }
        if timed {
            let asked = index.memory_bytes() as f64 / count as f64;
            let (hit, miss) = (lookup_ns(&index, count, 0), lookup_ns(&index, count, 1 << 40));
            let insert_ns = spent.as_nanos() as f64 / (count - timed_at) as f64;
            (spent, timed_at) = (Duration::ZERO, count);
            let longest_us = longest.insert.as_micros();
            println!(
                "{count:>10}  {bytes_a_record:>12.2}  {asked:>9.2}  {insert_ns:>9.0}  {hit:>6.0}  {miss:>7.0}  {longest_us:>17}"
            );
        }
    }
    println!("worst bytes a record: {:.2} at {} records", longest.bytes_a_record, longest.at_count);
    println!("longest insert: {} us; over {OVER_US:?} us: {:?}", longest.insert.as_micros(), longest.over);
    let (median, worst) = growth_us(records_max as usize / 4_096);
    println!("longest insert of a single partition grown to its share: median {median} us, worst of 50 {worst} us");
    snapshot_and_restore(&index, count);
}

/// Grows one partition to so many records, 50 times; the longest insert of each round, median and worst: all steps of
/// growth are in it, and hardly anything of what else the machine does.
fn growth_us(records: usize) -> (u128, u128) {
    let mut longest: Vec<u128> = (0..50)
        .map(|round| {
            let index = Index::new();
            let in_partition = |number: u64| Digest::from_u128(digest(number).as_u128() >> 12);
            let mut partition = index.write(in_partition(0).partition());
            let timed = (0..records as u64).map(|number| {
                let digest = in_partition(number + (round << 32));
                let begin = Instant::now();
                partition.insert(&digest, entry(number));
                begin.elapsed().as_micros()
            });
            timed.max().unwrap_or(0)
        })
        .collect();
    longest.sort_unstable();
    (longest[25], longest[49])
}

fn snapshot_and_restore(index: &Index, count: u64) {
    let (mut bytes, mut snapshot, mut restore) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    let restored = Index::new();
    for id in PartitionId::all() {
        bytes.clear();
        let begin = Instant::now();
        index.read(id).snapshot(&mut bytes);
        snapshot += begin.elapsed();
        let begin = Instant::now();
        restored.write(id).restore(&bytes).expect("a snapshot just taken");
        restore += begin.elapsed();
    }
    assert_eq!(restored.len(), count);
    let bytes_a_record = restored.memory_bytes() as f64 / count as f64;
    println!(
        "snapshot of all: {} ms; restore: {} ms, {bytes_a_record:.2} bytes a record asked for",
        snapshot.as_millis(),
        restore.as_millis()
    );
    let begin = Instant::now();
    let live: usize =
        PartitionId::all().map(|id| restored.read(id).iter().filter(|(_, entry)| !entry.tombstone).count()).sum();
    println!("iterating over {live}: {} ms", begin.elapsed().as_millis());
}
