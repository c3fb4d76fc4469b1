//! SIGSTOP and SIGCONT: a node that stands still lies to nobody, and goes on where it was.

use std::time::Duration;

use outcrop_client::{Client, Ttl};
use outcrop_cluster_tests::ledger::{Fate, value};
use outcrop_cluster_tests::load::{fate, key, read};
use outcrop_cluster_tests::{NodeProcess, Settings};
use rustix::process::Signal;
use tokio::task::JoinSet;

const WRITES: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_a_node_that_stands_still_is_indeterminate_and_never_falsely_denied() {
    let node = NodeProcess::start(Settings::flash("128MiB"));
    let impatient = Client::builder(&node.url()).deadline(Duration::from_millis(300)).connect().await.expect("served");
    impatient.set_bytes(&key(WRITES), &value(WRITES, 1), Ttl::Never).await.expect("served before");
    // Each key is written once: whatever arrives late can't overwrite anything.
    let mut writes = JoinSet::new();
    for number in 0..WRITES {
        let client = impatient.clone();
        writes.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 2)).await;
            (number, fate(&client.set_bytes(&key(number), &value(number, 1), Ttl::Never).await))
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.signal(Signal::STOP);
    assert!(impatient.get_bytes(&key(WRITES)).await.is_err(), "nobody can answer this read");
    let fates: Vec<(u64, Fate)> = writes.join_all().await;
    node.signal(Signal::CONT);

    let client = node.client().await.expect("it goes on");
    assert_eq!(read(&client, WRITES).await, Ok(Some(1)), "what was there is there");
    client.set_bytes(&key(WRITES + 1), &value(WRITES + 1, 1), Ttl::Never).await.expect("it takes writes again");
    let count = |wanted: Fate| fates.iter().filter(|(_, fate)| *fate == wanted).count();
    assert!(count(Fate::Acknowledged) > 0 && count(Fate::Unknown) > 0, "{fates:?}");
    for (number, fate) in fates {
        let found = read(&client, number).await.expect("served");
        match fate {
            Fate::Acknowledged => assert_eq!(found, Some(1), "key {number} was acknowledged"),
            Fate::NotDone => assert_eq!(found, None, "key {number} was said not to be written"),
            Fate::Unknown => assert!(found.is_none_or(|version| version == 1), "key {number} holds {found:?}"),
        }
    }
}
