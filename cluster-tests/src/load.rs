//! Writers that keep a ledger, and the reading back of everything that was promised.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outcrop_client::{Client, ClientError, DeleteOptions, Key, Retry, ScanOptions, Ttl, UserKeyRef};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::ledger::{Fate, Ledger, State, value, version_of};

/// The set that the writers write to.
pub const SET: &str = "load";
/// Reads under way at once while everything is read back.
const READERS: usize = 64;
/// What isn't seen in so long is taken for never to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(5);

/// The key of a number.
pub fn key(number: u64) -> Key {
    Key::new("test", SET, number as i64)
}

/// What a write's result says about its fate.
pub fn fate<T>(result: &Result<T, ClientError>) -> Fate {
    match result {
        Ok(_) => Fate::Acknowledged,
        Err(error) if error.retry() == Retry::IfIdempotent => Fate::Unknown,
        Err(_) => Fate::NotDone,
    }
}

/// Writers at work, each with keys of its own.
pub struct Load {
    writers: JoinSet<Ledger>,
    progress: Arc<Progress>,
}

/// What writers and their test tell each other.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Starts `writers`, each over `keys_each` keys: mostly writes, some deletes. Versions begin at `version`.
    pub fn start(url: &str, writers: u64, keys_each: u64, version: u64, ledger: &Ledger) -> Load {
        let progress = Arc::new(Progress::default());
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let keys = writer * keys_each..(writer + 1) * keys_each;
            let (url, progress, ledger) = (url.to_owned(), progress.clone(), ledger.clone());
            tasks.spawn(async move { write(&url, keys, version + writer * 10_000_000, ledger, &progress).await });
        }
        Load { writers: tasks, progress }
    }

    /// Waits until the node has acknowledged so many writes, however slow the machine is.
    ///
    /// # Panics
    /// If it doesn't come to that.
    pub async fn acknowledged(&self, count: u64) {
        let reached = async {
            while self.progress.acknowledged.load(Ordering::Relaxed) < count {
                tokio::time::sleep(LOOK).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        let there = self.progress.acknowledged.load(Ordering::Relaxed);
        assert!(reached.is_ok(), "only {there} of {count} writes were acknowledged");
    }

    /// Lets every writer finish what it has under way and gathers what they were promised.
    ///
    /// # Panics
    /// If a writer panicked.
    pub async fn stop(mut self) -> Ledger {
        self.progress.stop.store(true, Ordering::Relaxed);
        let mut ledgers = Vec::new();
        while let Some(ledger) = self.writers.join_next().await {
            ledgers.push(ledger.expect("a writer doesn't panic"));
        }
        let mut all = Ledger::default();
        ledgers.into_iter().for_each(|ledger| all.merge(ledger));
        assert!(!all.keys().is_empty(), "the writers wrote nothing");
        all
    }
}

async fn write(url: &str, keys: Range<u64>, mut version: u64, before: Ledger, progress: &Progress) -> Ledger {
    let mut ledger = before.restricted(&keys);
    let stopped = || progress.stop.load(Ordering::Relaxed);
    let client = loop {
        // After a kill a reply never comes: a writer must not wait for long then.
        match Client::builder(url).deadline(Duration::from_secs(5)).connect().await {
            Ok(client) => break client,
            Err(_) if stopped() => return ledger,
            // The others keep the machine busy, or the node is gone already.
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    };
    let mut rng = StdRng::seed_from_u64(version);
    while !stopped() {
        let number = rng.random_range(keys.clone());
        version += 1;
        if rng.random_range(0..100) < 15 {
            let result = client.delete(&key(number), DeleteOptions::default()).await;
            note(&mut ledger, progress, number, None, fate(&result));
        } else {
            let ttl = if rng.random_bool(0.5) { Ttl::Never } else { Ttl::Secs(1_000_000) };
            let result = client.set_bytes(&key(number), &value(number, version), ttl).await;
            note(&mut ledger, progress, number, Some(version), fate(&result));
        }
    }
    client.close().await;
    ledger
}

fn note(ledger: &mut Ledger, progress: &Progress, number: u64, state: State, fate: Fate) {
    ledger.note(number, state, fate);
    progress.acknowledged.fetch_add(u64::from(fate == Fate::Acknowledged), Ordering::Relaxed);
}

/// Reads one key and checks every byte of it.
pub async fn read(client: &Client, number: u64) -> Result<State, String> {
    let bytes = client.get_bytes(&key(number)).await.map_err(|error| format!("key {number}: {error}"))?;
    bytes.map(|bytes| version_of(number, &bytes)).transpose()
}

/// Reads everything that something was promised about, by key and then by scan, and compares.
pub async fn verify(client: &Client, ledger: &mut Ledger) -> Result<(), String> {
    let keys = ledger.keys();
    let mut found = Vec::with_capacity(keys.len());
    for some in keys.chunks(READERS) {
        let mut reads = JoinSet::new();
        for number in some.iter().copied() {
            let client = client.clone();
            reads.spawn(async move { (number, read(&client, number).await) });
        }
        while let Some(read) = reads.join_next().await {
            let (number, state) = read.map_err(|error| error.to_string())?;
            found.push((number, state?));
        }
    }
    let mut broken: Vec<String> =
        found.iter().filter_map(|(number, state)| ledger.check(*number, *state).err()).collect();
    let there: std::collections::BTreeSet<u64> =
        found.iter().filter(|(_, state)| state.is_some()).map(|(number, _)| *number).collect();
    let scanned = scan(client).await?;
    if scanned != there {
        let missing: Vec<_> = there.difference(&scanned).take(5).collect();
        let extra: Vec<_> = scanned.difference(&there).take(5).collect();
        broken.push(format!("the scan lacks {missing:?} and has {extra:?} too many"));
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

async fn scan(client: &Client) -> Result<std::collections::BTreeSet<u64>, String> {
    let mut scan = client.scan("test", Some(SET), ScanOptions::default());
    let mut keys = std::collections::BTreeSet::new();
    while let Some(record) = scan.next().await {
        let record = record.map_err(|error| format!("scan: {error}"))?;
        match record.key().user_key {
            UserKeyRef::Int(number) if keys.insert(number as u64) => {}
            other => return Err(format!("the scan gave {other} twice, or never written")),
        }
    }
    Ok(keys)
}
