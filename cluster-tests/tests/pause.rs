//! SIGSTOP and SIGCONT: a node that stands still lies to nobody, and goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outcrop_client::{Bins, Client, PutOptions, Ttl};
use outcrop_cluster_tests::ledger::{Fate, value};
use outcrop_cluster_tests::load::{fate, key, read};
use outcrop_cluster_tests::{NodeProcess, Settings};
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const WRITERS: usize = 8;
/// Writes that are acknowledged before the node is stopped.
const ACKNOWLEDGED: usize = 50;
/// Writes that end while it stands, one of unknown fate among them.
const STANDING: usize = 2 * WRITERS;
/// What isn't seen in so long is taken for never to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Written before and after the others.
const BEFORE: u64 = u64::MAX / 2;
const AFTER: u64 = BEFORE + 1;

/// Writes one key after the other, each once: whatever arrives late can't overwrite anything.
async fn write(client: Client, numbers: Arc<AtomicU64>, fates: mpsc::Sender<(u64, Fate)>) {
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let written = client.set_bytes(&key(number), &value(number, 1), Ttl::Never).await;
        if fates.send((number, fate(&written))).await.is_err() {
            return;
        }
        // A client that gives up at once must not turn in a tight circle.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Gathers how writes end, until those that came in since the call are enough.
async fn gather(
    fates: &mut mpsc::Receiver<(u64, Fate)>,
    all: &mut Vec<(u64, Fate)>,
    enough: impl Fn(&[(u64, Fate)]) -> bool,
) {
    let first = all.len();
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    while !enough(&all[first..]) {
        tokio::select! {
            seen = fates.recv() => all.push(seen.expect("the writers go on")),
            () = &mut patience => panic!("not enough in all that time: {:?}", &all[first..]),
        }
    }
}

fn count(fates: &[(u64, Fate)], wanted: Fate) -> usize {
    fates.iter().filter(|(_, fate)| *fate == wanted).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_a_node_that_stands_still_is_indeterminate_and_never_falsely_denied() {
    let node = NodeProcess::start(Settings::flash("128MiB"));
    let patient = node.client().await.expect("served");
    patient.set_bytes(&key(BEFORE), &value(BEFORE, 1), Ttl::Never).await.expect("served before");
    // On a slow machine some of its writes are late before the node stops: that is allowed, and checked like the rest.
    let impatient = Client::builder(&node.url()).deadline(Duration::from_secs(1)).connect().await.expect("served");
    let (sender, mut receiver) = mpsc::channel(1 << 16);
    let numbers = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(impatient.clone(), numbers.clone(), sender.clone()));
    }
    let mut fates = Vec::new();
    gather(&mut receiver, &mut fates, |seen| count(seen, Fate::Acknowledged) >= ACKNOWLEDGED).await;
    node.stand_still();
    assert!(impatient.get_bytes(&key(BEFORE)).await.is_err(), "nobody can answer this read");
    gather(&mut receiver, &mut fates, |seen| seen.len() >= STANDING && count(seen, Fate::Unknown) > 0).await;
    // Every write that was begun comes to its end while nobody can answer it.
    drop(receiver);
    writers.join_all().await;
    node.signal(Signal::CONT);

    // Where the connection of the writers still stands, what they left under way is through before anything is read.
    // Where the client has given it up for silent, it sends this again over another one.
    let options = PutOptions::new().deadline(PATIENCE).idempotent(true);
    impatient.put(&key(AFTER), &Bins::new(), options).await.expect("it takes writes again");
    assert_eq!(read(&patient, BEFORE).await, Ok(Some(1)), "what was there is there");
    for (number, fate) in fates {
        let found = read(&patient, number).await.expect("served");
        match fate {
            Fate::Acknowledged => assert_eq!(found, Some(1), "key {number} was acknowledged"),
            Fate::NotDone => assert_eq!(found, None, "key {number} was said not to be written"),
            Fate::Unknown => assert!(found.is_none_or(|version| version == 1), "key {number} holds {found:?}"),
        }
    }
}
