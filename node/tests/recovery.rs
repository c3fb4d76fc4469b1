//! What must stay gone stays gone, and what must come back comes back, whatever a crash left: each test names the bug
//! that it would show.

#![allow(missing_docs)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use outcrop_flash::log::CheckpointOutcome;
use outcrop_wire::{Bins, Code, PartitionId, PutMode, RequestBody, Ttl};
use support::request::{Piece, key, payload};
use support::{Rig, START_MS, Settings};

fn bins(tag: u64, len: usize) -> Bins {
    Bins::unnamed(payload(tag, len))
}

/// Overwrites a few large records until every segment of before has been used again.
async fn churn(rig: &Rig, rounds: u64) {
    for round in 0..rounds {
        for number in 0..24 {
            let value = bins(round * 24 + number, 30_000);
            rig.replace(key("ballast", number as i64 % 6), &value, Ttl::Never).await.ok();
        }
        rig.settle().await;
    }
}

/// A log that never gets an owner never evacuates: only segments without a single live record come free.
#[tokio::test(start_paused = true)]
async fn defrag_moves_what_is_live_out_of_segments_that_are_mostly_garbage() {
    let rig = Rig::new(Settings::new()).await;
    for round in 0..100_u64 {
        // One record of each round lives on, in a segment of garbage.
        rig.replace(key("kept", round as i64), &bins(round, 1_000), Ttl::Never).await.ok();
        churn(&rig, 1).await;
    }
    let stats = rig.namespace().log.stats();
    assert!(stats.moved_entries >= 100, "{stats:?}");
    assert!(stats.free_segments > stats.segments / 2, "{stats:?}");
    for round in 0..100_u64 {
        assert_eq!(rig.get(key("kept", round as i64)).await.record().bins, bins(round, 1_000));
    }
    rig.check_invariants().await;
}

/// A checkpoint names a record whose segment was freed and used again since, and whose expiry left nothing in the log:
/// taken over as it is, its entry points into another record's bytes.
#[tokio::test(start_paused = true)]
async fn places_of_a_checkpoint_that_were_used_again_are_left_out() {
    let rig = Rig::new(Settings::new()).await;
    for number in 0..20 {
        rig.replace(key("brief", number), &bins(number as u64, 2_000), Ttl::Secs(10)).await.ok();
    }
    rig.checkpoint().await;
    rig.clock.advance_ms(11_000);
    rig.sweep();
    churn(&rig, 12).await;
    let rig = rig.crash(5).await;
    assert!(matches!(rig.opened.log.checkpoint, CheckpointOutcome::Loaded { .. }));
    assert_eq!(rig.namespace().index.len(), 6, "only the ballast is left");
    rig.check_invariants().await;
}

/// The same for a truncated set whose marker has served its time: its records would be back, with other bytes.
#[tokio::test(start_paused = true)]
async fn a_truncated_set_stays_empty_when_an_old_checkpoint_still_names_its_records() {
    let rig = Rig::new(Settings::new()).await;
    for number in 0..20 {
        rig.replace(key("s", number), &bins(number as u64, 2_000), Ttl::Never).await.ok();
    }
    rig.checkpoint().await;
    rig.truncate("s").await.ok();
    churn(&rig, 12).await;
    for _ in 0..4 {
        rig.namespace().log.evacuate_oldest();
        rig.settle().await;
    }
    let rig = rig.crash(6).await;
    for number in 0..20 {
        assert_eq!(rig.get(key("s", number)).await.code(), Code::NotFound);
    }
    rig.check_invariants().await;
}

/// A truncation holds once its marker is durable, though its caller gave up before every partition was swept. A
/// checkpoint that still has the records brings them back: the marker lies before its start.
#[tokio::test(start_paused = true)]
async fn a_truncation_that_was_given_up_holds_through_a_checkpoint() {
    for crash in [false, true] {
        let rig = Rig::new(Settings::new()).await;
        for number in 0..500 {
            rig.replace(key("s", number), &bins(number as u64, 100), Ttl::Never).await.ok();
        }
        {
            let mut truncation = std::pin::pin!(rig.namespace().truncate("s"));
            assert!(futures_util::poll!(truncation.as_mut()).is_pending());
        }
        rig.checkpoint().await;
        assert_eq!(rig.get(key("s", 3)).await.code(), Code::NotFound);
        let rig = if crash { rig.crash(2).await } else { rig.restart().await };
        for number in 0..500 {
            assert_eq!(rig.get(key("s", number)).await.code(), Code::NotFound);
        }
        rig.check_invariants().await;
    }
}

/// A marker is live until what it hides is gone. Not counted as such after a restart, its segment is freed with it, and
/// a full replay brings the records back.
#[tokio::test(start_paused = true)]
async fn a_marker_outlives_the_segment_that_it_was_logged_in() {
    let rig = Rig::new(Settings::new()).await;
    // Truncated records share their segment with ones that stay, so that it isn't evacuated.
    for number in 0..60 {
        rig.replace(key("s", number), &bins(number as u64, 500), Ttl::Never).await.ok();
        rig.replace(key("stays", number), &bins(number as u64, 15_000), Ttl::Never).await.ok();
    }
    churn(&rig, 1).await;
    rig.truncate("s").await.ok();
    churn(&rig, 1).await;
    let rig = rig.restart().await;
    churn(&rig, 3).await;
    assert_eq!(rig.namespace().truncations().0, 1, "it still hides something");
    let rig = rig.crash_without_checkpoint(4).await;
    for number in 0..60 {
        assert_eq!(rig.get(key("s", number)).await.code(), Code::NotFound);
        assert_eq!(rig.get(key("stays", number)).await.record().bins, bins(number as u64, 15_000));
    }
    rig.check_invariants().await;
}

/// Markers are given up once nothing is left that they could hide, and truncating works with nothing on the device.
#[tokio::test(start_paused = true)]
async fn markers_go_when_what_they_hide_is_gone() {
    let rig = Rig::new(Settings::new()).await;
    for round in 0..5 {
        rig.replace(key("s", round), &bins(1, 500), Ttl::Never).await.ok();
        rig.truncate("s").await.ok();
    }
    churn(&rig, 12).await;
    for _ in 0..6 {
        rig.namespace().log.evacuate_oldest();
        rig.settle().await;
    }
    rig.truncate("ballast").await.ok();
    assert!(rig.namespace().truncations().0 <= 1, "{:?}", rig.namespace().truncations());
    rig.check_invariants().await;
}

/// Who is told that a truncated record isn't there must not find it back after a crash.
#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_a_truncation_that_is_not_durable() {
    let rig = Rig::new(Settings::new()).await;
    for number in 0..2 {
        rig.replace(key("s", number), &bins(1, 100), Ttl::Never).await.ok();
    }
    rig.device.set_latency(Some(Duration::from_secs(5)..=Duration::from_secs(5)));
    let truncated = rig.namespace().truncate("s").await.expect("there is room");
    assert!(truncated.end > rig.namespace().log.durable_lsn());
    let get = RequestBody::Get { key: key("s", 0), bins: outcrop_wire::BinSelection::All };
    assert_eq!(rig.ask_within(&get, 100).await.code(), Code::DeadlineExceeded);
    let delete = RequestBody::Delete { key: key("s", 1), if_generation: None };
    assert_eq!(rig.ask_within(&delete, 100).await.code(), Code::DeadlineExceeded);
    assert_eq!(rig.get(key("s", 0)).await.code(), Code::NotFound, "once it is durable");
}

/// A crash at any moment of a truncation leaves the set whole or empty, and empty for ever once it was acknowledged.
#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_of_a_truncation_leaves_all_or_nothing() {
    for after_us in (0..4_000).step_by(250) {
        for checkpoint_first in [false, true] {
            let rig = Rig::new(Settings::new()).await;
            for number in 0..50 {
                rig.replace(key("s", number), &bins(number as u64, 300), Ttl::Never).await.ok();
            }
            if checkpoint_first {
                rig.checkpoint().await;
            }
            rig.device.set_latency(Some(Duration::from_micros(300)..=Duration::from_micros(1_500)));
            let acked = tokio::select! {
                biased;
                answer = rig.truncate("s") => answer.code() == Code::Ok,
                () = tokio::time::sleep(Duration::from_micros(after_us)) => false,
            };
            let rig = rig.crash(after_us).await;
            let mut there = 0;
            for number in 0..50 {
                there += usize::from(rig.get(key("s", number)).await.code() == Code::Ok);
            }
            assert!(there == 0 || (there == 50 && !acked), "{there} after {after_us} us, acked: {acked}");
            let rig = rig.crash_without_checkpoint(after_us).await;
            let left = rig.scan(Some("s"), 100).await.len();
            assert_eq!(left, there, "the next opening says the same");
            rig.check_invariants().await;
        }
    }
}

/// Deleted and expired records stay gone over a full replay, in whatever order defrag freed the segments of their
/// versions: a tombstone given up too early brings an older version back.
#[tokio::test(start_paused = true)]
async fn a_full_replay_brings_nothing_back() {
    for seed in 0..6_u64 {
        let rig = Rig::new(Settings::new()).await;
        for version in 0..3_u64 {
            for number in 0..30_i64 {
                let ttl = if number % 3 == 0 { Ttl::Secs(60) } else { Ttl::Never };
                rig.replace(key("s", number), &bins(version, 3_000), ttl).await.ok();
                // Old versions lie beside what stays, so that their segments outlive the tombstones' ones.
                let stays = version as i64 * 30 + number;
                rig.replace(key("stays", stays), &bins(version, 15_000), Ttl::Never).await.ok();
            }
            churn(&rig, seed % 2).await;
        }
        for number in (0..30).filter(|number| number % 3 == 1) {
            rig.delete(key("s", number)).await.ok();
        }
        rig.clock.advance_ms(61_000);
        for round in 0..6 {
            if (seed >> (round % 3)) & 1 == 1 {
                rig.namespace().log.evacuate_oldest();
            }
            rig.sweep();
            churn(&rig, 1).await;
            if round == seed {
                rig.checkpoint().await;
            }
        }
        let rig = rig.crash_without_checkpoint(seed).await;
        for number in 0..30_i64 {
            let answer = rig.get(key("s", number)).await;
            match number % 3 {
                2 => assert_eq!(answer.record().bins, bins(2, 3_000)),
                _ => assert_eq!(answer.code(), Code::NotFound, "seed {seed}: {number} came back"),
            }
        }
        rig.check_invariants().await;
    }
}

/// Tombstones don't pile up: once every older version is off the device, they go.
#[tokio::test(start_paused = true)]
async fn tombstones_go_when_nothing_older_is_left() {
    let rig = Rig::new(Settings::new()).await;
    for number in 0..200 {
        rig.replace(key("s", number), &bins(1, 500), Ttl::Never).await.ok();
        rig.delete(key("s", number)).await.ok();
    }
    assert_eq!(rig.namespace().tombstones(), 200);
    churn(&rig, 4).await;
    for _ in 0..8 {
        rig.namespace().log.evacuate_oldest();
        churn(&rig, 1).await;
        rig.sweep();
    }
    assert_eq!(rig.namespace().tombstones(), 0);
    rig.check_invariants().await;
}

/// A scan reads a segment while it fills: what was appended behind the end that its reader saw, and sealed before it
/// got there, was skipped.
#[tokio::test(start_paused = true)]
async fn a_scan_gives_what_was_appended_to_the_segment_that_it_was_reading() {
    use futures_util::future::join_all;
    use outcrop_node::index::WARM_MAX;
    use outcrop_node::store::scan::{Progress, ScanFilter, Scanner};
    let rig = Rig::new(Settings::new().with(|policy| policy.defrag_live_percent = 0)).await;
    // More than a scan judges at once.
    let (judged, all) = (WARM_MAX as i64, WARM_MAX as i64 + 20);
    // At once: each sync takes a block of its own.
    let (before, after) = (bins(0, 1_000), bins(1, 1_000));
    join_all((0..all).map(|number| rig.replace(key("s", number), &before, Ttl::Never))).await;
    let filter = ScanFilter { set: Some("s".to_owned()), partition_first: 0, partition_last: 4_095 };
    let mut scanner = Scanner::new(rig.namespace().clone(), filter, None).expect("from the beginning");
    let mut piece = Piece { room: 1, records: Vec::new() };
    while scanner.advance(&mut piece).await.expect("all in memory") != Progress::Full {}
    // The rest moves behind the end that the scan knows, and the segment fills up.
    join_all((judged..all).map(|number| rig.replace(key("s", number), &after, Ttl::Never))).await;
    for number in 0..12 {
        rig.replace(key("ballast", number), &bins(2, 30_000), Ttl::Never).await.ok();
    }
    let segment = rig.namespace().log.segments()[0];
    assert!(segment.sealed, "it filled up");
    for number in judged..all {
        let digest = key("s", number).digest();
        let entry = rig.namespace().index.read(digest.partition()).get(&digest).expect("it was written");
        assert_eq!(entry.location.segment(), segment.id, "behind the end that the scan knows");
    }
    piece.room = usize::MAX;
    while scanner.advance(&mut piece).await.expect("all in memory") != Progress::End {}
    let mut found: Vec<_> = piece.records.iter().map(|stored| support::request::got(stored, true)).collect();
    assert_eq!(found.len(), all as usize, "each was there all the while");
    found.retain(|record| record.bins == after);
    assert_eq!(found.len(), 20, "those that moved before they were judged");
}

/// A record read from the device is cached although it was overwritten while the read was under way: its place will be
/// another record's, which is then served with these bytes.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_overwritten_while_it_is_read_is_not_cached() {
    let rig = Rig::new(Settings::new().with(|policy| policy.cache_bytes = 1 << 20)).await;
    for number in 0..400 {
        rig.replace(key("s", number), &bins(number as u64, 3_000), Ttl::Never).await.ok();
    }
    let digest = key("s", 5).digest();
    let location = rig.namespace().index.read(digest.partition()).get(&digest).expect("it was written").location;
    assert!(rig.namespace().log.resident(location).is_none(), "it lies on the device alone");
    rig.device.set_latency(Some(Duration::from_millis(10)..=Duration::from_millis(10)));
    let read = rig.get(key("s", 5));
    let value = bins(1, 10);
    let (read, write) = tokio::join!(read, rig.replace(key("s", 5), &value, Ttl::Never));
    write.ok();
    read.ok();
    assert!(rig.namespace().cache.get(location).is_none(), "nobody will ask for it, and nobody will take it out");
    rig.get(key("s", 6)).await.ok();
    assert_eq!(rig.namespace().cache.records(), 1, "one that stays is cached");
}

/// Writes that don't happen take no set numbers, of which there are 4,095 for ever.
#[tokio::test(start_paused = true)]
async fn refused_writes_make_no_sets() {
    let rig = Rig::new(Settings::new()).await;
    let names: Vec<String> = (0..5_000).map(|number| format!("set{number}")).collect();
    for name in &names {
        let answer = rig.put(key(name, 1), PutMode::ReplaceOnly, &bins(1, 10), Ttl::Never).await;
        assert_eq!(answer.code(), Code::NotFound);
    }
    assert_eq!(rig.namespace().sets.names().len(), 0);
    rig.replace(key("at last", 1), &bins(1, 10), Ttl::Never).await.ok();
}

/// One record that lives for ten years made the histogram's buckets three days wide: the first of them held everything
/// else, and all of it was evicted.
#[tokio::test(start_paused = true)]
async fn eviction_takes_about_a_twentieth_of_what_expires_soonest() {
    let rig = Rig::new(Settings::new().with(|policy| policy.high_water_percent = 1)).await;
    rig.replace(key("s", 10_000), &bins(1, 500), Ttl::Secs(315_360_000)).await.ok();
    rig.replace(key("s", 10_001), &bins(1, 500), Ttl::Never).await.ok();
    let count = 400_i64;
    for number in 0..count {
        rig.replace(key("s", number), &bins(1, 500), Ttl::Secs(3_600 + number as u32)).await.ok();
    }
    rig.namespace().evict_if_high();
    let mut evicted = Vec::new();
    for number in 0..count {
        if rig.get(key("s", number)).await.code() == Code::NotFound {
            evicted.push(number);
        }
    }
    assert!((10..=40).contains(&evicted.len()), "{} of {count} went", evicted.len());
    let expected: Vec<i64> = (0..evicted.len() as i64).collect();
    assert_eq!(evicted, expected, "the soonest to expire go first");
    for number in [10_000, 10_001] {
        rig.get(key("s", number)).await.ok();
    }
    assert_eq!(rig.namespace().counters.evicted.load(Ordering::Relaxed), evicted.len() as u64);
    let rig = rig.crash_without_checkpoint(1).await;
    for number in evicted {
        assert_eq!(rig.get(key("s", number)).await.code(), Code::NotFound, "and stay gone");
    }
}

/// All of a batch import expires in the same second: eviction must not take it all.
#[tokio::test(start_paused = true)]
async fn eviction_stops_at_its_goal_within_one_second_of_expiry() {
    let rig = Rig::new(Settings::new().with(|policy| policy.high_water_percent = 1)).await;
    for number in 0..400 {
        rig.replace(key("s", number), &bins(1, 500), Ttl::Secs(3_600)).await.ok();
    }
    let evicted = rig.namespace().evict_if_high();
    assert!((10..=40).contains(&evicted), "{evicted} of 400 went");
    rig.check_invariants().await;
}

/// Closing in the middle of a checkpoint left that one's segments taken and wrote none at the end.
#[tokio::test(start_paused = true)]
async fn closing_during_a_checkpoint_still_writes_the_last_one() {
    let rig = Rig::new(Settings::new().with(|policy| policy.checkpoint_secs = 1)).await;
    for number in 0..50 {
        rig.replace(key("s", number), &bins(1, 100), Ttl::Never).await.ok();
    }
    rig.device.set_latency(Some(Duration::from_millis(400)..=Duration::from_millis(400)));
    rig.replace(key("s", 1), &bins(2, 100), Ttl::Never).await.ok();
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.device.set_latency(None);
    let rig = rig.restart().await;
    assert!(rig.opened.log.clean);
    assert!(matches!(rig.opened.log.checkpoint, CheckpointOutcome::Loaded { .. }), "{:?}", rig.opened.log);
    assert_eq!(rig.opened.log.entries, 0, "the last checkpoint has everything");
    assert_eq!(rig.get(key("s", 1)).await.record().bins, bins(2, 100));
}

/// An entry of the index outlives its segment if a partition's sequence or set numbers are lost on the way.
#[tokio::test(start_paused = true)]
async fn sequences_and_sets_go_on_where_they_were() {
    let mut rig = Rig::new(Settings::new()).await;
    let mut last = (0, 0);
    for round in 0..6_u64 {
        let answer = rig.replace(key("s", 1), &bins(round, 100), Ttl::Never).await.ok();
        assert_eq!(u64::from(answer.header.generation), round + 1);
        assert!((answer.header.epoch, answer.header.sequence) > last, "writes are ordered over restarts");
        last = (answer.header.epoch, answer.header.sequence);
        let name = format!("set of round {round}");
        rig.replace(key(&name, 1), &bins(round, 100), Ttl::Never).await.ok();
        rig = match round % 3 {
            0 => rig.restart().await,
            1 => rig.crash(round).await,
            _ => {
                rig.checkpoint().await;
                rig.crash(round).await
            }
        };
        assert_eq!(rig.namespace().sets.counts().len(), round as usize + 2);
    }
    assert!(PartitionId::all().any(|id| rig.namespace().index.read(id).sequence == last.1));
    assert!(u64::from(rig.now_secs()) >= START_MS / 1_000);
    rig.check_invariants().await;
}

/// Catches: every log of a node called the same (sixteen zeros), so that a cursor of one served for another, and what an
/// earlier log left on a device that was wiped halfway could pass for the new one's.
#[tokio::test]
async fn each_log_has_a_name_of_its_own_and_keeps_it() {
    use outcrop_node::node::policy_of;
    use outcrop_node::options::NamespaceOptions;
    use outcrop_node::store::Namespace;
    use outcrop_node::store::scan::{ScanError, ScanFilter, Scanner};
    use outcrop_node::world::{SeededEntropy, SystemClock};
    use outcrop_wire::NamespaceId;
    let folder = tempfile::tempdir().expect("a folder");
    let entropy = SeededEntropy::new(7);
    let open = async |name: &str| {
        let mut options = NamespaceOptions::new("test", 64 << 20);
        options.device = Some(folder.path().join(name));
        let policy = policy_of(&options, &entropy);
        let opened = Namespace::open(NamespaceId(0), policy, std::sync::Arc::new(SystemClock)).await;
        opened.expect("opened").namespace
    };
    let (first, second) = (open("first.log").await, open("second.log").await);
    let identity = first.log.identity();
    assert!(identity != [0; 16] && identity != second.log.identity());
    let filter = || ScanFilter { set: None, partition_first: 0, partition_last: 4_095 };
    let cursor = Scanner::new(first.clone(), filter(), None).expect("a scan").cursor();
    assert!(Scanner::new(first.clone(), filter(), Some(cursor)).is_ok(), "of its own log");
    assert!(matches!(Scanner::new(second, filter(), Some(cursor)), Err(ScanError::Cursor)), "of another log");
    first.log.close().await.expect("closed");
    drop(first);
    assert_eq!(open("first.log").await.log.identity(), identity, "a log that is there keeps its name");
}
