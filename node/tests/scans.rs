//! Scans while everything moves: each record that is there all the while is given exactly once, with what it held at some
//! moment of the scan; by one reader and by several.
//!
//! `OUTCROP_SCAN_CASES` sets how many cases are tried (64).

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outcrop_flash::device::memory::MemoryDevice;
use outcrop_node::index::WARM_MAX;
use outcrop_node::store::scan::ledger::LEDGERS_MAX;
use outcrop_node::store::scan::{ParallelScan, Progress, ScanError, Scanner, SegmentScan};
use outcrop_node::store::write::{Expect, WriteError};
use outcrop_node::store::{Namespace, Policy};
use outcrop_node::world::SystemClock;
use outcrop_wire::archive::archive_bins;
use outcrop_wire::{Bins, NamespaceId, Ttl};
use proptest::prelude::*;
use support::records::{Given, KEYS, Records, Step, filter, small};
use support::request::{key, payload};
use support::{Rig, Settings};

fn cases() -> u32 {
    std::env::var("OUTCROP_SCAN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..KEYS, 1..60_i64).prop_map(|(first, count)| Step::Write(first, count)),
        2 => (0..KEYS, 1..120_u32).prop_map(|(number, times)| Step::Hammer(number, times)),
        4 => (1..40_u64).prop_map(Step::Churn),
        4 => Just(Step::Evacuate),
        2 => Just(Step::Settle),
        2 => (0..10_i64).prop_map(Step::Come),
        2 => (0..10_i64).prop_map(Step::Go),
        1 => Just(Step::Checkpoint),
    ]
}

/// How far the scan goes before a step: batches at most, records at most; and which worker goes.
fn moves() -> impl Strategy<Value = Vec<(Step, u8, usize, usize)>> {
    prop::collection::vec((step(), 0..6_u8, 1..50_usize, 0..3_usize), 1..40)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// The scan of one reader with the steps in between.
async fn scan_with(settings: Settings, moves: Vec<(Step, u8, usize, usize)>) {
    let mut records = Records::new(settings).await;
    let before = records.versions.clone();
    let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), None).expect("a new one");
    let mut given = Given::default();
    for (step, batches, room, _) in &moves {
        given.room = *room;
        for _ in 0..*batches {
            if scanner.advance(&mut given).await.expect("the device is well") != Progress::More {
                break;
            }
        }
        records.apply(step).await;
    }
    given.room = usize::MAX;
    while scanner.advance(&mut given).await.expect("the device is well") != Progress::End {}
    assert!(scanner.ledger().is_some_and(|ledger| ledger.is_exact()));
    records.check(&before, &given);
    drop(scanner);
    assert_eq!(records.rig.namespace().scans.notes(), 0, "a scan that is over keeps nothing");
    records.rig.check_invariants().await;
}

/// The same with three workers, of which each step lets one go on.
async fn scan_in_parallel_with(settings: Settings, moves: Vec<(Step, u8, usize, usize)>) {
    let mut records = Records::new(settings).await;
    let before = records.versions.clone();
    let scan = ParallelScan::new(records.rig.namespace().clone(), &filter("s"));
    let mut workers: [Option<SegmentScan>; 3] = [None, None, None];
    let mut given = Given::default();
    for (step, batches, room, worker) in &moves {
        given.room = *room;
        for _ in 0..*batches {
            if workers[*worker].is_none() {
                // It waits while the others hold the last segments of a round.
                let next = tokio::time::timeout(Duration::from_millis(1), scan.next_segment()).await;
                workers[*worker] = next.ok().and_then(|next| next.expect("the device is well"));
            }
            let Some(segment) = &mut workers[*worker] else { break };
            match segment.advance(&mut given).await.expect("the device is well") {
                Progress::End => workers[*worker] = None,
                Progress::Full => break,
                Progress::More => {}
            }
        }
        records.apply(step).await;
    }
    given.room = usize::MAX;
    for segment in workers.iter_mut().flatten() {
        while segment.advance(&mut given).await.expect("the device is well") != Progress::End {}
    }
    drop(workers);
    while let Some(mut segment) = scan.next_segment().await.expect("the device is well") {
        while segment.advance(&mut given).await.expect("the device is well") != Progress::End {}
    }
    assert!(scan.is_exact());
    records.check(&before, &given);
    records.rig.check_invariants().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_record_comes_once_while_records_are_written_and_moved(
        moves in moves(),
        cache_bytes in prop::sample::select(vec![0_u64, 512 << 10, 64 << 20]),
    ) {
        run(scan_with(small(cache_bytes), moves));
    }

    #[test]
    fn each_record_comes_to_one_of_several_workers(
        moves in moves(),
        cache_bytes in prop::sample::select(vec![0_u64, 512 << 10, 64 << 20]),
    ) {
        run(scan_in_parallel_with(small(cache_bytes), moves));
    }
}

/// Gives `count` records, then stops.
async fn give_some(scanner: &mut Scanner, given: &mut Given, count: usize) {
    given.room = count;
    while scanner.advance(given).await.expect("the device is well") != Progress::Full {}
    given.room = usize::MAX;
}

async fn give_rest(scanner: &mut Scanner, given: &mut Given) {
    while scanner.advance(given).await.expect("the device is well") != Progress::End {}
}

/// Catches: a chain of copies that is followed from link to link, and breaks where a segment with nothing but garbage was
/// freed before the scan came to it.
#[tokio::test(start_paused = true)]
async fn what_was_given_stays_given_however_often_it_is_overwritten() {
    let mut records = Records::new(small(0)).await;
    let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), None).expect("a new one");
    let mut given = Given::default();
    give_some(&mut scanner, &mut given, 40).await;
    let freed = records.rig.namespace().log.stats().freed_segments;
    for _ in 0..20 {
        for number in 0..KEYS {
            records.write(number).await;
        }
        records.rig.settle().await;
    }
    assert!(records.rig.namespace().log.stats().freed_segments > freed + 20, "most copies were never seen");
    give_rest(&mut scanner, &mut given).await;
    given.assert_each_once(KEYS);
}

/// Catches: memory without a bound; a record left out, or silence, where the bound is reached.
#[tokio::test(start_paused = true)]
async fn beyond_the_bound_records_come_at_least_once_and_it_is_said() {
    let mut records = Records::new(small(64 << 20)).await;
    records.rig.namespace().scans.allow_notes(10);
    let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), None).expect("a new one");
    let mut given = Given::default();
    give_some(&mut scanner, &mut given, 60).await;
    for number in 0..KEYS {
        records.write(number).await;
    }
    assert_eq!(records.rig.namespace().scans.notes(), 10);
    give_rest(&mut scanner, &mut given).await;
    assert!((0..KEYS).all(|number| given.versions.contains_key(&number)), "{:?}", given.versions);
    let twice = given.versions.values().filter(|versions| versions.len() == 2).count();
    assert!((1..=60).contains(&twice), "what was noted before the bound is heeded: {twice}");
    assert!(scanner.ledger().is_some_and(|ledger| !ledger.is_exact()));
    assert!(records.rig.namespace().stats().scan_notes_refused > 0);
    drop(scanner);
    assert_eq!(records.rig.namespace().scans.notes(), 0);
}

/// Catches: writers that look at scans without a bound; a scan over the bound that claims to be exact, or leaves out.
#[tokio::test(start_paused = true)]
async fn one_scan_too_many_is_not_exact_until_another_ends() {
    let mut records = Records::new(small(64 << 20)).await;
    let begin = |rig: &Rig| Scanner::new(rig.namespace().clone(), filter("s"), None).expect("a new one");
    let exact = |scanner: &Scanner| scanner.ledger().is_some_and(|ledger| ledger.is_exact());
    let mut scanners: Vec<Scanner> = (0..LEDGERS_MAX).map(|_| begin(&records.rig)).collect();
    assert!(scanners.iter().all(exact));
    let mut late = begin(&records.rig);
    assert!(!exact(&late));
    let mut given = Given::default();
    give_some(&mut late, &mut given, 30).await;
    for number in 0..KEYS {
        records.write(number).await;
    }
    give_rest(&mut late, &mut given).await;
    assert!((0..KEYS).all(|number| given.versions.contains_key(&number)));
    scanners.pop();
    assert!(exact(&begin(&records.rig)));
}

/// Catches: a record passed over for good because it was damaged when the scan came by, and written anew afterwards.
#[tokio::test(start_paused = true)]
async fn a_damaged_record_that_is_written_anew_is_given() {
    let mut records = Records::new(small(0)).await;
    // Out of memory: its segment is sealed, and nothing is cached.
    records.churn(30).await;
    let digest = key("s", 5).digest();
    let entry = records.rig.namespace().index.read(digest.partition()).get(&digest).expect("it was written");
    let place = records.rig.device_offset(entry.location.segment().0, entry.location.offset() + 200);
    let device: &MemoryDevice = &records.rig.device;
    device.flip_bit(place, 3);
    let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), None).expect("a new one");
    let mut given = Given::default();
    give_some(&mut scanner, &mut given, 60).await;
    assert!(given.versions.contains_key(&6) && !given.versions.contains_key(&5), "it is damaged");
    assert_eq!(scanner.damaged(), 1, "and the scan's caller is told");
    for number in 0..20 {
        records.write(number).await;
    }
    give_rest(&mut scanner, &mut given).await;
    given.assert_each_once(KEYS);
}

/// Catches: the entry of a deletion given as if it were a record, because the record was created anew behind the end of
/// the scan.
#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_overtaken_is_no_record() {
    let mut records = Records::new(small(64 << 20)).await;
    let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), None).expect("a new one");
    let mut given = Given::default();
    give_some(&mut scanner, &mut given, 10).await;
    // Behind the beginning: a record to stop at; more entries than are judged at once; a deletion.
    records.write(KEYS + 1).await;
    records.churn(WARM_MAX as u64 + 1).await;
    let gone = KEYS - 1;
    records.rig.delete(key("s", gone)).await.ok();
    give_some(&mut scanner, &mut given, KEYS as usize - 11).await;
    assert!(!given.versions.contains_key(&gone), "it was deleted before the scan came by");
    // The end is known by now; this lies behind it.
    records.write(gone).await;
    give_rest(&mut scanner, &mut given).await;
    assert!(!given.versions.contains_key(&gone) && given.versions.contains_key(&(KEYS + 1)));
    given.assert_each_once(gone);
}

/// Catches: a cursor that loses what moved in front of it while nobody scanned; a resumed scan that gives a record again
/// that is written after it was resumed.
#[tokio::test(start_paused = true)]
async fn a_resumed_scan_leaves_nothing_out() {
    let mut records = Records::new(small(512 << 10)).await;
    let mut given = Given::default();
    let mut cursor = None;
    for part in 0..4_i64 {
        let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), cursor).expect("its own cursor");
        give_some(&mut scanner, &mut given, 20).await;
        // Known to the scan: these come once.
        for number in 0..20 {
            records.write(number).await;
        }
        give_some(&mut scanner, &mut given, 5).await;
        cursor = Some(scanner.cursor());
        drop(scanner);
        // Unknown to any scan: these may come again.
        for number in part * 30..part * 30 + 30 {
            records.write(number % KEYS).await;
        }
        records.churn(20).await;
        records.rig.settle().await;
    }
    let mut scanner = Scanner::new(records.rig.namespace().clone(), filter("s"), cursor).expect("its own cursor");
    give_rest(&mut scanner, &mut given).await;
    assert!((0..KEYS).all(|number| given.versions.contains_key(&number)), "{:?}", given.versions);
    assert!(given.versions.values().all(|versions| versions.len() <= 5), "once in each part at most");
}

/// Catches: a resumed scan that doesn't know what the part before it has read, and gives that again when it is written.
#[tokio::test(start_paused = true)]
async fn a_resumed_scan_knows_what_lies_before_its_cursor() {
    let mut records = Records::new(small(64 << 20)).await;
    let mut given = Given::default();
    let begin = |rig: &Rig, cursor| Scanner::new(rig.namespace().clone(), filter("s"), cursor).expect("its own cursor");
    let mut scanner = begin(&records.rig, None);
    give_some(&mut scanner, &mut given, 40).await;
    let mut scanner = begin(&records.rig, Some(scanner.cursor()));
    for number in 0..80 {
        records.write(number).await;
    }
    give_rest(&mut scanner, &mut given).await;
    given.assert_each_once(KEYS);
}

/// Catches: workers that wait for each other for ever, or call a scan whole of which a part was given up.
#[tokio::test(start_paused = true)]
async fn a_worker_that_gives_up_ends_the_scan_for_all() {
    let records = Records::new(small(64 << 20)).await;
    let namespace = records.rig.namespace();
    assert!(ParallelScan::new(namespace.clone(), &filter("none")).next_segment().await.expect("no error").is_none());
    let scan = ParallelScan::new(namespace.clone(), &filter("s"));
    let first = scan.next_segment().await.expect("no error").expect("there are records");
    let other = {
        let scan = scan.clone();
        tokio::spawn(async move {
            let mut given = Given::all();
            while let Some(mut segment) = scan.next_segment().await? {
                while segment.advance(&mut given).await? != Progress::End {}
            }
            Ok::<_, ScanError>(())
        })
    };
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!other.is_finished(), "more may follow once the first segment is read");
    drop(first);
    assert_eq!(other.await.expect("it doesn't panic"), Err(ScanError::Abandoned));
    assert_eq!(scan.next_segment().await.err(), Some(ScanError::Abandoned));
}

/// Catches: a count or sum that is off because a record moved or was rewritten from one worker's part of the log into
/// another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_workers_count_and_add_up_exactly_under_writes_and_defrag() {
    for cache_bytes in [0, 512 << 10, 64 << 20] {
        let rig = Rig::new(small(cache_bytes)).await;
        count_exactly(rig.namespace(), 400).await;
    }
}

/// The same without a device: segments of a namespace in RAM are freed the moment they are empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn they_do_so_in_ram_too() {
    let clock = Arc::new(SystemClock);
    let opened = Namespace::open(NamespaceId(0), Policy::ram("ram", 64 << 20), clock).await.expect("memory");
    let _tasks = opened.namespace.start();
    count_exactly(&opened.namespace, 6_000).await;
}

const COUNT: i64 = 600;

/// Writes a record with the value that it has for ever; waits if the log can't take it.
async fn write_same(namespace: &Namespace, number: i64, pad_bytes: usize) {
    let bins = Bins::new().with("key", number).with("version", number * 3).with("pad", payload(1, pad_bytes));
    let (key, archive) = (key("s", number), archive_bins(&bins).expect("within the limits"));
    while let Err(refused) = namespace.put(&key.digest(), key, &archive, Ttl::Never, Expect::default()) {
        let error = refused.error;
        assert!(matches!(error, WriteError::Backpressure | WriteError::StopWrites { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn count_exactly(namespace: &Arc<Namespace>, pad_bytes: usize) {
    for number in 0..COUNT {
        write_same(namespace, number, pad_bytes).await;
    }
    let going = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..2_i64)
        .map(|writer| {
            let (namespace, going) = (namespace.clone(), going.clone());
            tokio::spawn(async move {
                let mut written = 0_i64;
                while going.load(Ordering::Acquire) {
                    write_same(&namespace, (written * 7 + writer * 311) % COUNT, pad_bytes).await;
                    written += 1;
                    if written % 50 == 0 {
                        namespace.log.evacuate_oldest();
                        // Whom this wakes may be waiting behind this very task.
                        tokio::task::yield_now().await;
                    }
                }
                written
            })
        })
        .collect();
    for round in 0..12 {
        let scan = ParallelScan::new(namespace.clone(), &filter("s"));
        let workers: Vec<_> = (0..2).map(|_| tokio::spawn(gather(scan.clone()))).collect();
        let mut given = Given::default();
        for worker in workers {
            given = given.merge(worker.await.expect("it doesn't panic"));
        }
        assert!(scan.is_exact());
        given.assert_each_once(COUNT);
        let (count, sum) = (given.versions.len() as i64, given.versions.values().flatten().sum::<i64>());
        assert_eq!((count, sum), (COUNT, 3 * COUNT * (COUNT - 1) / 2), "round {round}");
    }
    going.store(false, Ordering::Release);
    for writer in writers {
        assert!(writer.await.expect("it doesn't panic") > 0);
    }
}

/// What one worker is given.
async fn gather(scan: Arc<ParallelScan>) -> Given {
    let mut given = Given::all();
    while let Some(mut segment) = scan.next_segment().await.expect("the device is well") {
        while segment.advance(&mut given).await.expect("the device is well") != Progress::End {
            tokio::task::yield_now().await;
        }
    }
    given
}
