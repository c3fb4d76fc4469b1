//! Jobs: every record once; pause, resume and cancel; failures, bounds, refusals.

use std::time::Duration;

use outcrop_node::command::job::{ARGUMENTS_BYTES_MAX, JOBS_ACTIVE_MAX};
use outcrop_node::store::Policy;
use outcrop_node::store::write::WriteError;
use outcrop_wire::archive::archive_value;
use outcrop_wire::request::{JobOperation, JobRequest, ModuleOperation, ModuleRequest};
use outcrop_wire::{Bins, Code, Key, RequestBody, Value, Verb};

use crate::guest::{Guest, RECORD};
use crate::jobs::{Rig, field, map, number, numbers, text};

mod guest;
mod jobs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_of_the_set_is_changed_once_while_others_write() {
    const RECORDS: i64 = 3_000;
    let rig = Rig::new().await;
    rig.fill("s", RECORDS);
    rig.fill("other", 10);
    let id = rig.start_add(&[("parallel", 8.into())]).await;
    // Records that come meanwhile may be visited or not; those of another set are not.
    for id in 0..500 {
        rig.put("s", RECORDS + id, &Bins::new().with("n", 0)).expect("there is room");
        tokio::task::yield_now().await;
    }
    let job = rig.ended(id).await;
    assert_eq!((text(&job, "state"), text(&job, "version")), ("done".to_owned(), "1".to_owned()), "{job:?}");
    for id in 0..RECORDS {
        assert_eq!(rig.n("s", id).await, Value::Int(1), "record {id}");
    }
    let mut came = 0;
    for id in RECORDS..RECORDS + 500 {
        match rig.n("s", id).await {
            Value::Int(n @ 0..=1) => came += n,
            other => panic!("record {id} has {other:?}"),
        }
    }
    assert_eq!(rig.n("other", 3).await, Value::Int(0));
    assert_eq!(numbers(&job), (RECORDS + came, RECORDS + came, 0));
    assert_eq!(field(&job, "progress"), &Value::Float(1.0));
    assert!(number(&job, "ended_ms") >= number(&job, "started_ms") && field(&job, "kept") == &Value::from(false));
    let stats = rig.platform.functions.jobs.stats();
    assert_eq!((stats.done, stats.records, stats.failures), (1, (RECORDS + came) as u64, 0));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_reads_changes_nothing_and_partitions_bound_it() {
    let rig = Rig::new().await;
    rig.fill("s", 400);
    let look = rig.start(&[("function", "shop@1.look".into())]).await.expect("it starts");
    assert_eq!(numbers(&rig.ended(look).await), (400, 0, 0));
    let inside = (0..400).filter(|id| Key::new("test", "s", *id).digest().partition().number() <= 2_000).count();
    let half = rig.start_add(&[("partition_last", 2_000.into())]).await;
    assert_eq!(numbers(&rig.ended(half).await), (inside as i64, inside as i64, 0));
    let nothing = rig.start(&[("function", "shop.add".into()), ("set", "nobody".into())]).await.expect("it starts");
    let job = rig.ended(nothing).await;
    assert_eq!((text(&job, "state"), numbers(&job)), ("done".to_owned(), (0, 0, 0)));
    let Value::List(jobs) = rig.job(JobOperation::List, &map(&[])).await.expect("a list") else { panic!("a list") };
    assert_eq!(jobs.iter().map(|job| number(job, "id")).collect::<Vec<_>>(), [look, half, nothing]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_paused_resumed_cancelled_and_removed() {
    let rig = Rig::new().await;
    rig.fill("s", 600);
    let id = rig.start_add(&[("records_per_sec", 50.into())]).await;
    rig.until(id, |job| number(job, "records_seen") > 5).await;
    let paused = rig.of(JobOperation::Pause, id).await.expect("it runs");
    assert_eq!(text(&paused, "state"), "paused");
    let seen = numbers(&paused);
    // Time for ten more, if it went on.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = rig.of(JobOperation::Status, id).await.expect("it is known");
    assert_eq!(numbers(&later), seen, "nothing goes on once somebody was told that it is paused");
    assert_eq!(rig.of(JobOperation::Pause, id).await.map(|job| text(&job, "state")), Ok("paused".to_owned()));
    assert_eq!(rig.of(JobOperation::Remove, id).await.expect_err("it hasn't ended").0, Code::JobState);
    assert_eq!(rig.of(JobOperation::Resume, id).await.map(|job| text(&job, "state")), Ok("running".to_owned()));
    rig.until(id, |job| number(job, "records_seen") > seen.0 + 5).await;
    let cancelled = rig.of(JobOperation::Cancel, id).await.expect("it runs");
    assert_eq!(text(&cancelled, "state"), "cancelled");
    let seen = number(&cancelled, "records_seen");
    assert!(seen < 600, "at 50 a second it can't be through");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut changed = 0;
    for id in 0..600 {
        changed += i64::from(rig.n("s", id).await == Value::Int(1));
    }
    // A record under way may have been changed without being counted.
    assert!((seen..=seen + 4).contains(&changed), "{changed} of {seen}");
    for refused in [JobOperation::Pause, JobOperation::Resume] {
        assert_eq!(rig.of(refused, id).await.expect_err("it has ended").0, Code::JobState);
    }
    assert!(rig.of(JobOperation::Cancel, id).await.is_ok(), "it is cancelled already");
    rig.of(JobOperation::Remove, id).await.expect("it has ended");
    for operation in [JobOperation::Status, JobOperation::Pause, JobOperation::Cancel, JobOperation::Remove] {
        assert_eq!(rig.of(operation, id).await.expect_err("it is forgotten").0, Code::JobUnknown);
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_counted_up_to_the_number_that_the_job_bears() {
    let rig = Rig::new().await;
    rig.fill("s", 300);
    for id in 0..50 {
        rig.put("s", id, &Bins::new().with("n", "text")).expect("there is room");
    }
    let bears = rig.start_add(&[("failures_max", 50.into())]).await;
    let job = rig.ended(bears).await;
    assert_eq!((text(&job, "state"), numbers(&job)), ("done".to_owned(), (300, 250, 50)));
    let Value::List(failures) = field(&job, "failures_first") else { panic!("{job:?}") };
    assert_eq!(failures.len(), 1, "they all failed the same way");
    assert_eq!((text(&failures[0], "code"), number(&failures[0], "count")), ("function_failed".to_owned(), 50));
    assert_eq!(text(&failures[0], "message"), "no number");
    assert!(text(&failures[0], "key").starts_with("s/"));
    let one_less = rig.start_add(&[("failures_max", 49.into())]).await;
    let job = rig.ended(one_less).await;
    assert_eq!((text(&job, "state"), number(&job, "failures")), ("failed".to_owned(), 50));
    assert!(text(&job, "message").contains("more than 49 records failed; the last: no number"), "{job:?}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_says_why() {
    let rig = Rig::new().await;
    rig.fill("s", 10);
    let refused = async |options: &[(&str, Value)]| rig.start(options).await.expect_err("it is refused").0;
    assert_eq!(refused(&[("function", "nobody.add".into())]).await, Code::ModuleUnknown);
    assert_eq!(refused(&[("function", "shop.nothing".into())]).await, Code::FunctionUnknown);
    assert_eq!(refused(&[("function", "shop.total".into())]).await, Code::FunctionKindMismatch);
    assert_eq!(refused(&[("function", "shop.add".into()), ("parallel", 1_000.into())]).await, Code::InvalidRequest);
    assert_eq!(refused(&[]).await, Code::InvalidRequest);
    let large = Value::Bytes(vec![0; ARGUMENTS_BYTES_MAX]);
    assert_eq!(refused(&[("function", "shop.add".into()), ("arguments", large)]).await, Code::FunctionInputLimit);
    let options = archive_value(&map(&[("function", "shop.add".into())])).expect("a value");
    let body = RequestBody::Job(JobRequest { operation: JobOperation::Start, options: &options });
    assert_eq!(rig.ask(Verb::Job, 9, &body).await.expect_err("no such number").0, Code::NamespaceUnknown);
    assert_eq!(rig.job(JobOperation::Status, &map(&[])).await.expect_err("no id").0, Code::InvalidRequest);
    assert_eq!(rig.of(JobOperation::Status, -1).await.expect_err("no id").0, Code::InvalidRequest);
    let mut active = Vec::new();
    for _ in 0..JOBS_ACTIVE_MAX {
        active.push(rig.start_add(&[("records_per_sec", 1.into())]).await);
    }
    assert_eq!(refused(&[("function", "shop.add".into())]).await, Code::JobsFull);
    rig.of(JobOperation::Cancel, active[3]).await.expect("it runs");
    assert!(rig.start(&[("function", "shop.look".into())]).await.is_ok(), "there is room again");
    rig.close().await;
}

/// Catches: a paused module whose job fails on every record; a version removed from under a job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_a_paused_module_and_keeps_its_version() {
    let rig = Rig::new().await;
    rig.fill("s", 400);
    let id = rig.start_add(&[("records_per_sec", 100.into())]).await;
    rig.until(id, |job| number(job, "records_seen") > 3).await;
    let registry = &rig.platform.functions.registry;
    registry.pause("shop", true).await.expect("paused");
    let waits = rig.until(id, |job| text(job, "message").contains("paused")).await;
    assert_eq!((text(&waits, "state"), number(&waits, "failures")), ("running".to_owned(), 0));
    registry.pause("shop", false).await.expect("resumed");
    rig.until(id, |job| number(job, "records_seen") > number(&waits, "records_seen") + 3).await;
    // Another version becomes active: the job stays with its own.
    registry.add("shop", "2", Guest::new("other", RECORD).component().into(), Vec::new()).await.expect("added");
    registry.activate("shop", "2").await.expect("active");
    let remove = ModuleRequest { name: "shop", version: "1", operation: ModuleOperation::Remove };
    let refused = rig.ask(Verb::Module, 0, &RequestBody::Module(remove)).await.expect_err("a job runs on it");
    assert!(refused.0 == Code::ModuleActive && refused.1.contains("job 1"), "{refused:?}");
    let job = rig.ended(id).await;
    assert_eq!((text(&job, "state"), numbers(&job)), ("done".to_owned(), (400, 400, 0)));
    rig.ask(Verb::Module, 0, &RequestBody::Module(remove)).await.expect("nobody needs it any more");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_set_has_no_records_left_to_visit() {
    let rig = Rig::new().await;
    rig.fill("s", 500);
    let id = rig.start_add(&[("records_per_sec", 200.into())]).await;
    rig.until(id, |job| number(job, "records_seen") > 3).await;
    rig.namespace.truncate("s").await.expect("there is room for the marker");
    let job = rig.ended(id).await;
    assert_eq!(text(&job, "state"), "done");
    let (seen, changed, failures) = numbers(&job);
    assert!(seen < 500 && changed == seen && failures == 0, "{job:?}");
    let (_, stored) = rig.namespace.read(Key::new("test", "s", 0).digest()).await.expect("it can be read");
    assert!(stored.is_none(), "no job brings back what was truncated");
    rig.close().await;
}

/// Catches: a full device that fails a job, or counts its records as failures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_while_the_device_is_full() {
    let rig = Rig::open(None, Policy { high_water_percent: 0, ..Policy::ram("test", 96 << 20) }).await;
    rig.add_module().await;
    rig.fill("s", 200);
    let mut filler = 0;
    // First what fills fast, then what fills the last gap.
    for bytes in [256 << 10, 64] {
        let bins = Bins::new().with("bytes", vec![7; bytes]);
        loop {
            match rig.put("filler", filler, &bins) {
                Ok(()) => filler += 1,
                Err(WriteError::Backpressure) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(WriteError::StopWrites { .. }) => break,
                Err(other) => panic!("{other}"),
            }
        }
    }
    let id = rig.start_add(&[]).await;
    let waits = rig.until(id, |job| text(job, "message").contains("nearly full")).await;
    assert_eq!((text(&waits, "state"), number(&waits, "failures")), ("running".to_owned(), 0));
    rig.namespace.truncate("filler").await.expect("deletions go on");
    let job = rig.ended(id).await;
    assert_eq!((text(&job, "state"), numbers(&job)), ("done".to_owned(), (200, 200, 0)));
    rig.close().await;
}
