//! kill -9 under load, many times: no acknowledged write is lost, nothing deleted or expired comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use outcrop_client::{Key, OperateOptions, Operation, Ttl, Value};
use outcrop_cluster_tests::ledger::Fate;
use outcrop_cluster_tests::ledger::Ledger;
use outcrop_cluster_tests::load::{Load, fate, verify};
use outcrop_cluster_tests::{NodeProcess, Settings, size};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const WRITERS: u64 = 8;
const KEYS_EACH: u64 = 60;
const ADDERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_by_kill_9() {
    let rounds = size::from_env("OUTCROP_KILL_ROUNDS", 5);
    let mut rng = StdRng::seed_from_u64(20_261_123);
    // Small enough that the writers go round it: defrag has to run while the node is killed.
    let mut settings = Settings::flash("192MiB");
    let mut ledger = Ledger::default();
    let (mut acknowledged, mut unknown) = (0, 0);
    for round in 0..rounds {
        let node = NodeProcess::start(settings);
        let client = node.client().await.expect("the node serves");
        verify(&client, &mut ledger).await.unwrap_or_else(|broken| panic!("round {round}:\n{broken}"));
        client.close().await;
        let load = Load::start(&node.url(), WRITERS, KEYS_EACH, (round as u64 + 1) * 1_000_000_000, &ledger);
        load.acknowledged(20).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_800))).await;
        settings = node.kill();
        ledger = load.stop().await;
        acknowledged += ledger.acknowledged;
        unknown += ledger.unknown;
    }
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("the node serves");
    verify(&client, &mut ledger).await.unwrap_or_else(|broken| panic!("after the last round:\n{broken}"));
    println!("{rounds} rounds: {acknowledged} acknowledged writes, {unknown} of unknown fate, none lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_stays_gone_and_what_lives_keeps_its_time() {
    let node = NodeProcess::start(Settings::flash("128MiB"));
    let client = node.client().await.expect("the node serves");
    let key = |name: &str, number: i64| Key::new("test", name, number);
    for number in 0..50 {
        // An older version that never expires lies on the device beneath the one that does.
        client.set_bytes(&key("short", number), b"older", Ttl::Never).await.expect("written");
        client.set_bytes(&key("short", number), b"newer", Ttl::Secs(1)).await.expect("written");
        client.set_bytes(&key("long", number), b"stays", Ttl::Secs(100_000)).await.expect("written");
    }
    let expiry = client.exists(&key("long", 0)).await.expect("read").expect("there").expiry_secs;
    while client.exists(&key("short", 49)).await.expect("read").is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let node = NodeProcess::start(node.kill());
    let client = node.client().await.expect("the node serves");
    for number in 0..50 {
        assert_eq!(client.get_bytes(&key("short", number)).await.expect("read"), None, "short {number} came back");
        assert_eq!(client.get_bytes(&key("long", number)).await.expect("read").as_deref(), Some(&b"stays"[..]));
    }
    assert_eq!(client.exists(&key("long", 0)).await.expect("read").expect("there").expiry_secs, expiry);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_count_every_acknowledged_addition_once() {
    let rounds = size::from_env("OUTCROP_KILL_ROUNDS", 5).min(20);
    let mut settings = Settings::flash("128MiB");
    let (mut certain, mut possible) = (0_i64, 0_i64);
    let counter = Key::new("test", "counters", "visits");
    for round in 0..rounds {
        let node = NodeProcess::start(settings);
        let url = node.url();
        let added = Arc::new(AtomicI64::new(0));
        let adder = |_| tokio::spawn(add_until_gone(url.clone(), counter.clone(), added.clone()));
        let adders: Vec<_> = (0..ADDERS).map(adder).collect();
        let enough = async {
            while added.load(Ordering::Relaxed) < 10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), enough).await.expect("the node takes additions");
        tokio::time::sleep(Duration::from_millis(100 * round as u64)).await;
        settings = node.kill();
        for adder in adders {
            let (acknowledged, unknown) = adder.await.expect("an adder doesn't panic");
            certain += acknowledged;
            possible += unknown;
        }
        let node = NodeProcess::start(settings);
        let client = node.client().await.expect("the node serves");
        let read = client.operate(&counter, vec![Operation::Read { bin: "n".into() }], OperateOptions::default()).await;
        let counted = match read.expect("read").values.as_slice() {
            [Value::Int(counted)] => *counted,
            other => panic!("the counter holds {other:?}"),
        };
        assert!((certain..=certain + possible).contains(&counted), "{counted} of {certain} to {}", certain + possible);
        // What was unknown is known now.
        (certain, possible) = (counted, 0);
        settings = node.kill();
    }
    assert!(certain > 0, "nothing was counted");
}

async fn add_until_gone(url: String, counter: Key, added: Arc<AtomicI64>) -> (i64, i64) {
    let builder = outcrop_client::Client::builder(&url).deadline(Duration::from_secs(5));
    // None if the machine is so busy that the node was killed before this one came to it.
    let Ok(client) = builder.connect().await else { return (0, 0) };
    let (mut acknowledged, mut unknown) = (0, 0);
    loop {
        let add = vec![Operation::Add { bin: "n".into(), amount: Value::Int(1) }];
        let result = client.operate(&counter, add, OperateOptions::default()).await;
        match fate(&result) {
            Fate::Acknowledged => {
                acknowledged += 1;
                added.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Unknown => {
                unknown += 1;
                return (acknowledged, unknown);
            }
            // A full queue is no reason to stop; a node that is gone is.
            Fate::NotDone if result.as_ref().is_err_and(|error| error.code().is_none()) => {
                return (acknowledged, unknown);
            }
            Fate::NotDone => {}
        }
    }
}
