//! A device whose writes stand still (a frozen file system, a storage array that fails over): reads go on, a write that
//! reached the log is indeterminate, one that didn't is refused, and when the device goes on, so does the node.

use std::time::{Duration, Instant};

use outcrop_client::{Bins, Client, ClientError, Code, PutOptions, Ttl};
use outcrop_cluster_tests::ledger::{Fate, value};
use outcrop_cluster_tests::load::{fate, key, read};
use outcrop_cluster_tests::mount::Mounted;
use outcrop_cluster_tests::{NodeProcess, Settings, size};

const IMAGE_BYTES: u64 = 512 << 20;
/// Of a write whose end is known to be far away.
const SHORT: Duration = Duration::from_millis(300);
/// What isn't seen in so long is taken for never to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Large enough that a few hundred fill what the node buffers for its device.
const LARGE_BYTES: usize = 512 << 10;

fn settings(commit: &str) -> Option<(Settings, Mounted)> {
    let mut settings = Settings::flash("256MiB");
    let Some(mounted) = Mounted::ext4(IMAGE_BYTES) else {
        size::skipped("this user can't mount an ext4, or mkfs.ext4 is missing");
        return None;
    };
    settings.device = mounted.path().join("test.log");
    settings.namespace = format!(
        "size = \"256MiB\"\nvalues = \"flash\"\ncommit = \"{commit}\"\ncache = \"32MiB\"\nwrite_buffer = \"16MiB\""
    );
    Some((settings, mounted))
}

async fn client(node: &NodeProcess) -> Client {
    Client::builder(&node.url()).deadline(PATIENCE).connect().await.expect("served")
}

/// Waits until `/readyz` answers this status with this in its body.
async fn until_readiness(node: &NodeProcess, status: &str, said: &str) {
    let began = Instant::now();
    loop {
        let reply = node.http("/readyz").expect("the admin port answers whatever the device does");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
        if head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(said) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "still {head}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_for_a_sync_are_indeterminate_and_reads_go_on() {
    let Some((settings, mut mounted)) = settings("flash") else { return };
    let node = NodeProcess::start(settings);
    let client = client(&node).await;
    client.set_bytes(&key(1), &value(1, 1), Ttl::Never).await.expect("written");
    if !mounted.freeze() {
        return size::skipped("this file system can't be frozen");
    }
    let options = PutOptions::new().deadline(SHORT);
    let written = client.put(&key(2), &Bins::new(), options).await;
    assert!(matches!(written, Err(ClientError::Indeterminate { .. })), "it may reach the device later: {written:?}");
    assert_eq!(read(&client, 1).await, Ok(Some(1)), "a read needs no write");
    until_readiness(&node, "503", "namespace test: its device hasn't answered").await;
    assert!(node.http("/livez").is_some_and(|reply| reply.starts_with("HTTP/1.1 200")), "the node lives");
    mounted.thaw();
    client.put(&key(3), &Bins::new(), PutOptions::new()).await.expect("it takes writes again");
    until_readiness(&node, "200", "ready").await;
    assert!(client.exists(&key(2)).await.expect("served").is_some(), "what was in the log is there after all");
    let (settings, status, said) = node.terminate();
    assert!(status.success(), "{said}");
    drop((settings, mounted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_write_buffer_refuses_clearly_and_loses_nothing_acknowledged() {
    let Some((settings, mut mounted)) = settings("memory") else { return };
    let node = NodeProcess::start(settings);
    let client = client(&node).await;
    if !mounted.freeze() {
        return size::skipped("this file system can't be frozen");
    }
    let large = vec![7; LARGE_BYTES];
    let mut fates = Vec::new();
    // Whatever the buffer holds, 128 of these are more.
    for number in 0..128 {
        let bins = Bins::new().with("large", large.as_slice());
        let written = client.put(&key(number), &bins, PutOptions::new().deadline(SHORT)).await;
        fates.push(fate(&written));
        if let Err(error) = written {
            let code = error.code();
            let clear = matches!(error, ClientError::Indeterminate { .. })
                || matches!(code, Some(Code::DeadlineExceeded | Code::Overloaded));
            assert!(clear, "write {number} ended as {error:?}");
            break;
        }
    }
    assert!(fates.len() > 1 && fates.len() < 128, "some fit the buffer, then one was refused: {}", fates.len());
    assert!(client.exists(&key(0)).await.expect("served").is_some(), "reads go on");
    until_readiness(&node, "503", "namespace test: its device hasn't answered").await;
    mounted.thaw();
    client.put(&key(1_000), &Bins::new(), PutOptions::new()).await.expect("it takes writes again");
    for (number, fate) in (0..).zip(fates) {
        let there = client.exists(&key(number)).await.expect("served").is_some();
        match fate {
            Fate::Acknowledged => assert!(there, "write {number} was acknowledged"),
            Fate::NotDone => assert!(!there, "write {number} was said not to be done"),
            Fate::Unknown => {}
        }
    }
    let (settings, status, said) = node.terminate();
    assert!(status.success(), "{said}");
    drop((settings, mounted));
}
