//! Many callers at once on several threads: nothing is lost, nothing is done twice, nobody reads another key's bytes.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outcrop_node::command::keys::KEY_QUEUE_MAX;
use outcrop_wire::archive::{archive_bins, archive_operations};
use outcrop_wire::{BinSelection, Bins, Code, Operation, PutMode, RequestBody, Ttl, Value};
use support::request::{key, payload};
use support::{Answer, Rig, Settings, drive, frame};

fn add(amount: i64) -> Vec<u8> {
    let steps = vec![Operation::Add { bin: "n".into(), amount: Value::Int(amount) }];
    archive_operations(&steps).expect("within the limits")
}

async fn add_to(rig: &Rig, number: i64, operations: &[u8]) -> Answer {
    let (ttl, if_generation) = (Ttl::Default, None);
    rig.ask(&RequestBody::Operate { key: key("counters", number), if_generation, ttl, operations }).await
}

fn counter(answer: &Answer) -> i64 {
    match answer.record().bins.get("n") {
        Some(Value::Int(number)) => *number,
        other => panic!("no counter: {other:?}"),
    }
}

/// Records that lie on the device alone: no cache, and overwrites that keep defrag busy.
fn uncached() -> Settings {
    let settings = Settings { deadline_ms: 60_000, ..Settings::new() };
    settings.with(|policy| policy.cache_bytes = 0)
}

/// Overwrites large records for as long as the flag says, so that segments fill, empty and are used again.
async fn churn(rig: Arc<Rig>, going: Arc<AtomicBool>) -> u64 {
    let mut round = 0;
    while going.load(Ordering::Acquire) {
        let value = Bins::unnamed(payload(round, 30_000));
        let answer = rig.replace(key("ballast", round as i64 % 5), &value, Ttl::Never).await;
        assert!(matches!(answer.code(), Code::Ok | Code::StopWrites), "{:?}", answer.code());
        round += 1;
    }
    round
}

/// Catches: a lost update between read and commit, an addition applied twice after a conflict, an `ok` for one that
/// wasn't applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_addition_counts_once() {
    const KEYS: i64 = 4;
    let rig = Arc::new(Rig::new(uncached()).await);
    let going = Arc::new(AtomicBool::new(true));
    let churning = tokio::spawn(churn(rig.clone(), going.clone()));
    let acked: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let mut tasks = Vec::new();
    for task in 0..32_u64 {
        let (rig, acked) = (rig.clone(), acked.clone());
        tasks.push(tokio::spawn(async move {
            let operations = add(1);
            for round in 0..40 {
                let number = ((task + round) % KEYS as u64) as i64;
                let answer = add_to(&rig, number, &operations).await;
                match answer.code() {
                    Code::Ok => acked[number as usize].fetch_add(1, Ordering::Relaxed),
                    // Refused with nothing done.
                    Code::StopWrites | Code::HotKey | Code::Overloaded => 0,
                    other => panic!("{other:?}: {}", String::from_utf8_lossy(&answer.body)),
                };
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    going.store(false, Ordering::Release);
    assert!(churning.await.expect("it doesn't panic") > 0);
    let sum: u64 = acked.iter().map(|acked| acked.load(Ordering::Relaxed)).sum();
    assert!(sum > 0);
    for number in 0..KEYS {
        let counted = counter(&rig.get(key("counters", number)).await);
        assert_eq!(counted as u64, acked[number as usize].load(Ordering::Relaxed), "counter {number}");
    }
    let rig = Arc::into_inner(rig).expect("all tasks are over").crash(1).await;
    for number in 0..KEYS {
        let counted = counter(&rig.get(key("counters", number)).await);
        assert_eq!(counted as u64, acked[number as usize].load(Ordering::Relaxed), "counter {number} after a crash");
    }
}

/// Catches: a blind write that comes between read and commit and is overwritten by what was computed without it. Each
/// blind write puts the counter to a new million; additions stay below one, so that the last blind write shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blind_write_is_never_undone_by_an_addition() {
    const MILLION: i64 = 1_000_000;
    let rig = Arc::new(Rig::new(uncached()).await);
    let going = Arc::new(AtomicBool::new(true));
    let mut tasks = vec![];
    for _ in 0..8 {
        let (rig, going) = (rig.clone(), going.clone());
        tasks.push(tokio::spawn(async move {
            let operations = add(1);
            while going.load(Ordering::Acquire) {
                add_to(&rig, 0, &operations).await.ok();
            }
        }));
    }
    for round in 1..=150_i64 {
        let bins = Bins::new().with("n", round * MILLION);
        rig.replace(key("counters", 0), &bins, Ttl::Never).await.ok();
        let seen = counter(&rig.get(key("counters", 0)).await);
        assert_eq!(seen / MILLION, round, "acknowledged, then gone: {seen}");
    }
    going.store(false, Ordering::Release);
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// Catches: a merge that was computed from an older version than the one that it replaces.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn merges_of_different_bins_are_all_there() {
    let rig = Arc::new(Rig::new(uncached()).await);
    let mut tasks = vec![];
    for task in 0..16_i64 {
        let rig = rig.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..20_i64 {
                let bins = Bins::new().with(format!("bin{task}"), round);
                rig.put(key("merged", round % 2), PutMode::Upsert, &bins, Ttl::Never).await.ok();
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    for number in 0..2_i64 {
        let record = rig.get(key("merged", number)).await.record();
        assert_eq!(record.bins.bins.len(), 16);
        assert!((0..16).all(|task| record.bins.get(&format!("bin{task}")) == Some(&Value::Int(18 + number))));
        assert_eq!(record.generation, 160, "each merge counted once");
    }
}

/// Catches: a create-only that two callers win, a compare-and-set that two callers win.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_caller_wins() {
    let rig = Arc::new(Rig::new(Settings::new()).await);
    for round in 0..50_i64 {
        let mut tasks = vec![];
        for task in 0..8_i64 {
            let rig = rig.clone();
            tasks.push(tokio::spawn(async move {
                let archive = archive_bins(&Bins::unnamed(task)).expect("within the limits");
                let (mode, if_generation) = match round % 2 {
                    0 => (PutMode::CreateOnly, None),
                    _ => (PutMode::Upsert, Some(1)),
                };
                let key = key("s", round / 2);
                rig.ask(&RequestBody::Put { key, mode, if_generation, ttl: Ttl::Never, archive: &archive }).await.code()
            }));
        }
        let mut won = 0;
        for task in tasks {
            match task.await.expect("no task panics") {
                Code::Ok => won += 1,
                Code::AlreadyExists | Code::GenerationMismatch => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
}

/// Catches: a line without an end, a place in line that is never given back, a refusal that did something.
#[tokio::test(start_paused = true)]
async fn a_hot_key_has_a_line_with_an_end() {
    let settings = Settings { deadline_ms: 600_000, ..Settings::new() };
    let rig = Rig::new(settings.with(|policy| policy.cache_bytes = 0)).await;
    let bins = Bins::new().with("n", 0_i64);
    rig.replace(key("counters", 0), &bins, Ttl::Never).await.ok();
    // Out of memory: its segment is full, and nothing is cached.
    for number in 0..40 {
        rig.replace(key("ballast", number), &Bins::unnamed(payload(1, 30_000)), Ttl::Never).await.ok();
    }
    rig.device.set_latency(Some(Duration::from_millis(20)..=Duration::from_millis(20)));
    let operations = add(1);
    let count = KEY_QUEUE_MAX + 50;
    let additions = (0..count).map(|_| add_to(&rig, 0, &operations));
    let answers = futures_util::future::join_all(additions).await;
    let of = |code| answers.iter().filter(|answer| answer.code() == code).count();
    assert_eq!((of(Code::Ok), of(Code::HotKey)), (KEY_QUEUE_MAX, 50));
    assert_eq!(counter(&rig.get(key("counters", 0)).await), KEY_QUEUE_MAX as i64);
    assert!(!rig.context.keys.busy(0, key("counters", 0).digest()), "the line is gone");
    // Whoever gives up gives the place back too.
    for number in 100..140 {
        rig.replace(key("ballast", number), &Bins::unnamed(payload(1, 30_000)), Ttl::Never).await.ok();
    }
    let (ttl, if_generation) = (Ttl::Default, None);
    let body = RequestBody::Operate { key: key("counters", 0), if_generation, ttl, operations: &operations };
    let impatient = (0..KEY_QUEUE_MAX).map(|_| rig.ask_within(&body, 5));
    for answer in futures_util::future::join_all(impatient).await {
        assert_eq!(answer.code(), Code::DeadlineExceeded);
    }
    assert!(!rig.context.keys.busy(0, key("counters", 0).digest()));
    assert_eq!(counter(&rig.get(key("counters", 0)).await), KEY_QUEUE_MAX as i64, "none of them was carried out");
    add_to(&rig, 0, &operations).await.ok();
}

/// Catches: a read that follows an old place into a segment that was used again and gives another key's bytes, an older
/// version, or says that a record isn't there while it moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_follow_records_that_move() {
    for cache_bytes in [0, 512 << 10] {
        let rig = Rig::new(uncached().with(|policy| policy.cache_bytes = cache_bytes)).await;
        rig.device.set_latency(Some(Duration::ZERO..=Duration::from_micros(300)));
        reads_follow(Arc::new(rig)).await;
    }
}

async fn reads_follow(rig: Arc<Rig>) {
    const KEYS: i64 = 40;
    let value = |number: i64, version: u64| {
        Bins::new().with("number", number).with("version", version as i64).with("bytes", payload(version, 2_000))
    };
    for number in 0..KEYS {
        rig.replace(key("s", number), &value(number, 0), Ttl::Never).await.ok();
    }
    let going = Arc::new(AtomicBool::new(true));
    let churning = tokio::spawn(churn(rig.clone(), going.clone()));
    let versions: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let mut readers = vec![];
    for task in 0..6_u64 {
        let (rig, going, versions) = (rig.clone(), going.clone(), versions.clone());
        readers.push(tokio::spawn(async move {
            let mut reads = 0_u64;
            while going.load(Ordering::Acquire) {
                let number = ((task * 7 + reads) % KEYS as u64) as i64;
                let acked = versions[number as usize].load(Ordering::Acquire);
                let get = RequestBody::Get { key: key("s", number), bins: BinSelection::All };
                let record = drive(&rig.context, frame(&get, 0), rig.now_secs()).await.record();
                let Some(Value::Int(version)) = record.bins.get("version") else { panic!("{record:?}") };
                assert!(*version as u64 >= acked, "{number} at version {version} after {acked} was acknowledged");
                assert_eq!(record.bins, value(number, *version as u64), "another key's bytes");
                reads += 1;
            }
            reads
        }));
    }
    for round in 1..=12_u64 {
        // Some keys are never written again: they only move.
        for number in (0..KEYS).filter(|number| number % 2 == 0) {
            let answer = rig.replace(key("s", number), &value(number, round), Ttl::Never).await;
            match answer.code() {
                Code::Ok => versions[number as usize].store(round, Ordering::Release),
                Code::StopWrites => tokio::time::sleep(Duration::from_millis(5)).await,
                other => panic!("{other:?}"),
            }
        }
        rig.namespace().log.evacuate_oldest();
    }
    going.store(false, Ordering::Release);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.expect("no reader panics");
    }
    churning.await.expect("it doesn't panic");
    assert!(reads > 0);
}

/// Catches: counts that drift when writes, deletes, expiry, truncation, sweeping and defrag meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_hold_after_everything_at_once() {
    let rig = Arc::new(Rig::new(uncached()).await);
    let going = Arc::new(AtomicBool::new(true));
    let churning = tokio::spawn(churn(rig.clone(), going.clone()));
    let mut tasks = vec![];
    for task in 0..6_u64 {
        let rig = rig.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..60_u64 {
                let place = key(["a", "b"][(round % 2) as usize], ((task + round) % 20) as i64);
                match (task + round) % 5 {
                    0 => drop(rig.delete(place).await),
                    1 if round % 20 == 1 => drop(rig.truncate("a").await),
                    2 => drop(rig.replace(place, &Bins::unnamed(payload(round, 300)), Ttl::Secs(1)).await),
                    _ => drop(rig.put(place, PutMode::Upsert, &Bins::unnamed(payload(round, 900)), Ttl::Never).await),
                }
                if round % 10 == 0 {
                    rig.clock.advance_ms(500);
                    rig.sweep();
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    going.store(false, Ordering::Release);
    churning.await.expect("it doesn't panic");
    // Closed, nothing moves any more; open again, everything is counted anew.
    let rig = Arc::into_inner(rig).expect("all tasks are over");
    let before: Vec<_> = rig.namespace().sets.counts();
    let tombstones = rig.namespace().tombstones();
    rig.namespace().log.wait_durable(rig.namespace().log.head()).await.expect("the device is well");
    let rig = rig.restart().await;
    rig.check_invariants().await;
    let after: Vec<_> = rig.namespace().sets.counts();
    let records = |counts: &[outcrop_node::store::sets::SetCounts]| {
        counts.iter().map(|set| (set.name.clone(), set.records)).collect::<Vec<_>>()
    };
    // What expires meanwhile may go, nothing may come.
    assert!(after.iter().zip(&before).all(|(after, before)| after.records <= before.records), "{before:?} {after:?}");
    assert_eq!(records(&after).len(), records(&before).len());
    assert!(tombstones < 100, "at most one a key");
}
