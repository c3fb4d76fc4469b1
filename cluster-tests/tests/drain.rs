//! SIGTERM: what is under way finishes, nothing acknowledged is lost, the exit code is 0, the next start is a clean one.

use outcrop_cluster_tests::ledger::Ledger;
use outcrop_cluster_tests::load::{Load, verify};
use outcrop_cluster_tests::{NodeProcess, Settings};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_nothing_and_ends_well() {
    let mut settings = Settings::flash("192MiB");
    let mut ledger = Ledger::default();
    for round in 1..=3 {
        let node = NodeProcess::start(settings);
        let client = node.client().await.expect("the node serves");
        verify(&client, &mut ledger).await.unwrap_or_else(|broken| panic!("round {round}:\n{broken}"));
        let load = Load::start(&node.url(), 6, 50, round * 1_000_000_000, &ledger);
        load.acknowledged(300).await;
        let (returned, status, said) = tokio::task::spawn_blocking(|| node.terminate()).await.expect("it ends");
        assert_eq!(status.code(), Some(0), "a drain is no failure:\n{said}");
        assert!(!said.contains("panicked"), "{said}");
        settings = returned;
        ledger = load.stop().await;
    }
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("the node serves");
    verify(&client, &mut ledger).await.unwrap_or_else(|broken| panic!("after the last round:\n{broken}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_does_not_hold_a_drain_up() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("the node serves");
    client.info("").await.expect("served");
    let (_, status, said) = tokio::task::spawn_blocking(|| node.terminate()).await.expect("it ends");
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_is_no_crash() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    node.signal(Signal::TERM);
    node.signal(Signal::TERM);
    let (_, status, said) = tokio::task::spawn_blocking(|| node.terminate()).await.expect("it ends");
    assert!(status.code().is_some_and(|code| code != 101), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}
