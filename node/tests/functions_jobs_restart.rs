//! Jobs over restarts and power failures: each record at least once, states as they were told.

use std::path::Path;
use std::sync::Arc;

use outcrop_flash::device::memory::MemoryDevice;
use outcrop_flash::log::{Log, LogOptions, SEGMENTS_OFFSET};
use outcrop_node::store::{Commit, Policy};
use outcrop_wire::request::JobOperation;
use outcrop_wire::{Code, Value};

use crate::jobs::{Rig, field, number, text};

mod guest;
mod jobs;

fn on_disk(dir: &Path) -> Policy {
    Policy { cache_bytes: 16 << 20, ..Policy::flash("test", dir.join("test.log"), 192 << 20) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_restart_running_jobs_go_on_and_paused_ones_stay_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = Rig::open(Some(dir.path()), on_disk(dir.path())).await;
    rig.add_module().await;
    rig.fill("s", 400);
    rig.fill("t", 50);
    let running = rig.start_add(&[("records_per_sec", 200.into())]).await;
    let other = [("function", "shop.add".into()), ("set", "t".into()), ("records_per_sec", 10.into())];
    let paused = rig.start(&other).await.expect("it starts");
    rig.of(JobOperation::Pause, paused).await.expect("it runs");
    let gone = rig.start(&[("function", "shop.look".into()), ("records_per_sec", 1.into())]).await.expect("it starts");
    rig.of(JobOperation::Cancel, gone).await.expect("it runs");
    let before = rig.until(running, |job| number(job, "records_seen") > 20).await;
    assert_eq!(field(&before, "kept"), &Value::from(true));
    rig.close().await;
    std::fs::write(dir.path().join("jobs/77.job"), b"no job").expect("written");

    let rig = Rig::open(Some(dir.path()), on_disk(dir.path())).await;
    let job = rig.ended(running).await;
    assert_eq!((text(&job, "state"), number(&job, "failures")), ("done".to_owned(), 0), "{job:?}");
    for id in 0..400 {
        // Those of before the restart lie behind the scan's beginning, and may come again.
        assert!(matches!(rig.n("s", id).await, Value::Int(1..=2)), "record {id}");
    }
    let still = rig.of(JobOperation::Status, paused).await.expect("it is known");
    assert_eq!(text(&still, "state"), "paused");
    assert_eq!(rig.of(JobOperation::Status, gone).await.map(|job| text(&job, "state")), Ok("cancelled".to_owned()));
    assert_eq!(rig.of(JobOperation::Status, 77).await.expect_err("its file is damaged").0, Code::JobUnknown);
    let next = rig.start(&[("function", "shop.look".into())]).await.expect("it starts");
    assert_eq!(next, 78, "a damaged file's number isn't given to another job");
    rig.of(JobOperation::Resume, paused).await.expect("it waits");
    rig.until(paused, |job| number(job, "records_seen") > 2).await;
    // The version goes behind the node's back.
    rig.close().await;
    std::fs::remove_dir_all(dir.path().join("modules")).expect("removed");
    let rig = Rig::open(Some(dir.path()), on_disk(dir.path())).await;
    let job = rig.ended(paused).await;
    assert_eq!(text(&job, "state"), "failed");
    assert!(text(&job, "message").contains("shop"), "{job:?}");
    rig.close().await;
}

/// Catches: a place in the log that is written down before the writes that it rests on are durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_failure_leaves_no_record_out_though_writes_are_acknowledged_from_memory() {
    const RECORDS: i64 = 6_000;
    let device = MemoryDevice::new(SEGMENTS_OFFSET + (96 << 20), 1);
    let options = LogOptions { segment_bytes: 8 << 20, ..LogOptions::default() };
    Log::create(Arc::new(device.clone()), *b"the tests' log\0\0", options).await.expect("the device is blank");
    // Without defrag: after the crash it would move the few records of a segment behind the job's place.
    let (flush_ms, defrag_live_percent) = (600_000, 0);
    let policy = Policy { commit: Commit::Memory, flush_ms, defrag_live_percent, ..Policy::flash("test", "", 0) };
    let (dir, after) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let rig = Rig::open_on(dir.path(), policy.clone(), device.clone()).await;
    rig.add_module().await;
    rig.fill("s", RECORDS);
    rig.namespace.log.wait_durable(rig.namespace.log.head()).await.expect("the device takes it");
    let id = rig.start_add(&[("records_per_sec", 1_000.into())]).await;
    rig.until(id, |job| number(job, "updated_ms") > number(job, "started_ms")).await;
    // The file first: what it says must hold on the device of any later moment.
    let file = std::fs::read(dir.path().join("jobs/1.job")).expect("the job's file");
    let crashed = device.crash(7);
    for place in ["jobs", "modules", "modules/components"] {
        std::fs::create_dir(after.path().join(place)).expect("made");
    }
    for entry in std::fs::read_dir(dir.path().join("modules/components")).expect("listed") {
        let entry = entry.expect("a component");
        std::fs::copy(entry.path(), after.path().join("modules/components").join(entry.file_name())).expect("copied");
    }
    let catalogue = "modules/catalogue.json";
    std::fs::copy(dir.path().join(catalogue), after.path().join(catalogue)).expect("copied");
    std::fs::write(after.path().join("jobs/1.job"), file).expect("written");
    rig.close().await;

    let rig = Rig::open_on(after.path(), policy, crashed).await;
    let before = (0..RECORDS).map(|id| rig.n("s", id));
    let unchanged = futures_util::future::join_all(before).await.iter().filter(|n| **n == Value::Int(0)).count();
    assert!(unchanged > 0, "the power failed in the middle of the job");
    let job = rig.ended(id).await;
    assert_eq!((text(&job, "state"), number(&job, "failures")), ("done".to_owned(), 0), "{job:?}");
    for id in 0..RECORDS {
        assert!(matches!(rig.n("s", id).await, Value::Int(1..=2)), "record {id} has {:?}", rig.n("s", id).await);
    }
    rig.close().await;
}
