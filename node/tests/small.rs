//! The smallest namespaces: most of their segments are the log's reserve, and they have to live with the rest.

#![allow(missing_docs)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use outcrop_wire::{Bins, Code, Ttl};
use support::request::{key, payload};
use support::{Rig, Settings};

/// Rounds of the sweeper (some 7 seconds each), which is also when eviction looks; more than any write here should need.
const ROUNDS_MAX: usize = 40;

/// Seven segments, of which four are kept free: as many as 64 MiB have.
fn smallest(high_water_percent: u8) -> Settings {
    let settings = Settings { segments: 7, segment_bytes: 256 << 10, ..Settings::new() };
    settings.with(|policy| policy.high_water_percent = high_water_percent)
}

/// Catches: a high-water mark measured on the whole device, which a namespace with a large reserve never comes to: it
/// stopped writes at 43% and evicted nothing, for ever.
#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_mostly_reserve_evicts_rather_than_stop_for_ever() {
    evicts(false).await;
}

/// The checkpoint takes one more of the few segments.
#[tokio::test(start_paused = true)]
async fn so_does_one_with_a_checkpoint() {
    evicts(true).await;
}

async fn evicts(checkpointed: bool) {
    let rig = Rig::new(smallest(90)).await;
    if checkpointed {
        rig.checkpoint().await;
    }
    let value = |number: i64| Bins::unnamed(payload(number as u64, 20_000));
    // Three times what fits.
    let count = 110;
    for number in 0..count {
        let ttl = Ttl::Secs(3_600 + number as u32);
        let mut rounds = 0;
        loop {
            let answer = rig.replace(key("s", number), &value(number), ttl).await;
            match answer.code() {
                Code::Ok => break,
                Code::StopWrites | Code::Overloaded => {}
                other => panic!("{other:?}: {}", String::from_utf8_lossy(&answer.body)),
            }
            rounds += 1;
            assert!(
                rounds < ROUNDS_MAX,
                "record {number}: nothing was evicted for it; {:?}",
                rig.namespace().log.stats()
            );
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
    }
    let evicted = rig.namespace().counters.evicted.load(Ordering::Relaxed);
    assert!(evicted > 0 && evicted < count as u64, "{evicted}");
    assert_eq!(rig.get(key("s", count - 1)).await.record().bins, value(count - 1), "the newest expire last");
    assert_eq!(rig.get(key("s", 0)).await.code(), Code::NotFound, "the oldest expired first");
    rig.check_invariants().await;
}

/// Catches: a full namespace without eviction that deleting can't help.
#[tokio::test(start_paused = true)]
async fn a_full_one_without_eviction_takes_writes_again_after_deletes() {
    let rig = Rig::new(smallest(0)).await;
    let value = Bins::unnamed(payload(1, 20_000));
    let mut written = 0;
    loop {
        match rig.replace(key("s", written), &value, Ttl::Never).await.code() {
            Code::Ok => written += 1,
            Code::StopWrites => break,
            other => panic!("{other:?}"),
        }
        assert!(written < 100, "seven segments hold less");
    }
    assert!(written >= 30, "three segments hold more than {written} such records");
    for number in 0..written {
        rig.delete(key("s", number)).await.ok();
    }
    let mut rounds = 0;
    while rig.replace(key("s", 1), &value, Ttl::Never).await.code() != Code::Ok {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "{:?}", rig.namespace().log.stats());
        rig.settle().await;
    }
    rig.check_invariants().await;
}
