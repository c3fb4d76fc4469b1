//! kill -9 under a running job, again and again: it goes on by itself, and visits every record at least once.

use std::time::Duration;

use outcrop_client::{Bins, Client, Job, JobSpec, JobState, Key, Value};
use outcrop_cluster_tests::{NodeProcess, Settings, size};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Records of the set.
const RECORDS: i64 = 9_000;
/// Beyond this a job that doesn't come on is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(180);

fn key(number: i64) -> Key {
    Key::new("test", "products", number)
}

/// Adds one to `visits` of each record: what one visit does, the next one shows.
fn visits() -> JobSpec {
    let arguments = std::collections::BTreeMap::from([("path", "$.visits")]);
    let spec = JobSpec::new("test", "products", "document.increment").records_per_sec(1_500).parallel(8);
    spec.arguments(&arguments).expect("values")
}

async fn until(client: &Client, id: u64, wanted: impl Fn(&Job) -> bool) -> Job {
    let looking = async {
        loop {
            let job = client.jobs().status(id).await.expect("the job is known");
            if wanted(&job) {
                return job;
            }
            assert!(!job.state.has_ended(), "it ended early: {job:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the job goes on")
}

async fn visits_of(client: &Client, number: i64) -> i64 {
    let record = client.get(&key(number)).await.expect("read").expect("the record is there");
    match record.to_bins().expect("bins").get("visits") {
        Some(Value::Int(visits)) => *visits,
        other => panic!("record {number} has {other:?} visits"),
    }
}

/// Waits until the device has everything: what was acknowledged from memory alone may be lost, and isn't the job's.
async fn settle(node: &NodeProcess) {
    let settled = |text: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with("outcrop_log_unflushed_bytes{"));
        lines.next().is_some_and(|line| line.ends_with(" 0"))
    };
    let settling = async {
        while !node.http("/metrics").is_some_and(|text| settled(&text)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settling).await.expect("the device follows");
}

/// Kills the node in the middle of the job, by turns right after its place was written down and at any moment.
async fn killed_again_and_again(settings: Settings) {
    let rounds = size::from_env("OUTCROP_KILL_ROUNDS", 5).min(8) as i64 - 2;
    let mut rng = StdRng::seed_from_u64(20_261_127);
    let mut node = NodeProcess::start(settings);
    let client = node.client().await.expect("the node serves");
    for number in 0..RECORDS {
        let bins = Bins::new().with("visits", 0).with("padding", vec![7; 200]);
        client.put(&key(number), &bins, Default::default()).await.expect("written");
    }
    settle(&node).await;
    let started = client.jobs().start(&visits()).await.expect("started");
    assert!(started.kept, "it survives the node");
    let mut client = client;
    for round in 0..rounds {
        let before = until(&client, started.id, |job| job.records_seen > 0).await;
        if round % 2 == 0 {
            // Right after the job's place was written down: the latest writes are on no device unless it waited for them.
            until(&client, started.id, |job| job.updated_ms > before.updated_ms).await;
        } else {
            let more = rng.random_range(1..1_500);
            until(&client, started.id, |job| job.records_seen > before.records_seen + more).await;
        }
        node = NodeProcess::start(node.kill());
        client = node.client().await.expect("the node serves");
        let job = client.jobs().status(started.id).await.expect("it is known after the kill");
        assert_eq!(job.state, JobState::Running, "round {round}: {job:?}");
    }
    let ended = tokio::time::timeout(PATIENCE, client.jobs().wait(started.id)).await;
    let ended = ended.expect("the job comes to its end").expect("the node serves");
    assert_eq!((ended.state, ended.failures), (JobState::Done, 0), "{ended:?}");
    let (mut most, mut again) = (0, 0);
    for number in 0..RECORDS {
        let visits = visits_of(&client, number).await;
        assert!(visits >= 1, "record {number} was left out");
        most = most.max(visits);
        again += i64::from(visits > 1);
    }
    assert!(most <= rounds + 1, "a record was visited {most} times in {} lives of the node", rounds + 1);
    println!("{rounds} kills: {again} of {RECORDS} records visited more than once, {most} times at most");
    // A node that stops in order leaves the job as it is, too.
    let (settings, status, said) = node.terminate();
    assert!(status.success(), "{said}");
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("the node serves");
    assert_eq!(client.jobs().status(started.id).await.expect("it is kept").state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_kill_9() {
    killed_again_and_again(Settings::flash("192MiB")).await;
}

/// What the process had not handed to the device is gone with it. That the place waits for the device is what
/// `node/tests/functions_jobs_restart.rs` shows, where no defrag moves what would be left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_kill_9_where_writes_are_acknowledged_from_memory() {
    let mut settings = Settings::flash("192MiB");
    settings.namespace = "size = \"192MiB\"\nvalues = \"flash\"\ncommit = \"memory\"\nflush_ms = 5000".to_owned();
    killed_again_and_again(settings).await;
}
