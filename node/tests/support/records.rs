//! Records of one set that are written and moved while a scan is under way, and what the scan gave of them.

use std::collections::BTreeMap;

use outcrop_node::store::scan::{ScanFilter, Sink};
use outcrop_wire::{Bins, Code, Digest, Ttl, Value};

use super::request::{got, key, payload};
use super::{Rig, Settings};

/// Records that are there all the while.
pub const KEYS: i64 = 120;

/// All partitions of a set.
pub fn filter(set: &str) -> ScanFilter {
    ScanFilter { set: Some(set.to_owned()), partition_first: 0, partition_last: 4_095 }
}

/// Segments of 64 KiB, so that a few dozen writes fill one.
pub fn small(cache_bytes: u64) -> Settings {
    let settings = Settings { segments: 40, segment_bytes: 64 << 10, ..Settings::new() };
    settings.with(|policy| policy.cache_bytes = cache_bytes)
}

/// What a scan gave: versions by key. Full after `room` records.
#[derive(Default)]
pub struct Given {
    pub versions: BTreeMap<i64, Vec<i64>>,
    pub room: usize,
}

impl Given {
    pub fn all() -> Self {
        Given { versions: BTreeMap::new(), room: usize::MAX }
    }

    pub fn merge(mut self, other: Given) -> Given {
        other.versions.into_iter().for_each(|(key, versions)| self.versions.entry(key).or_default().extend(versions));
        self
    }

    /// Every key from 0 to `keys` once.
    #[track_caller]
    pub fn assert_each_once(&self, keys: i64) {
        let wrong: Vec<_> = (0..keys).filter(|key| self.versions.get(key).map_or(0, Vec::len) != 1).collect();
        assert!(
            wrong.is_empty(),
            "not once: {:?}",
            wrong.iter().map(|k| (k, self.versions.get(k))).collect::<Vec<_>>()
        );
    }
}

impl Sink for Given {
    fn record(&mut self, digest: &Digest, stored: &[u8]) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        let bins = got(stored, true).bins;
        let number = |bin: &str| match bins.get(bin) {
            Some(Value::Int(number)) => *number,
            other => panic!("{bin}: {other:?}"),
        };
        assert_eq!(*digest, key("s", number("key")).digest());
        self.versions.entry(number("key")).or_default().push(number("version"));
        true
    }
}

/// Records of a set, each with a version that rises with each write.
pub struct Records {
    pub rig: Rig,
    pub versions: BTreeMap<i64, i64>,
    churned: u64,
}

impl Records {
    pub async fn new(settings: Settings) -> Self {
        let rig = Rig::new(settings).await;
        let mut records = Records { rig, versions: BTreeMap::new(), churned: 0 };
        for number in 0..KEYS {
            records.write(number).await;
        }
        records
    }

    pub async fn write(&mut self, number: i64) {
        let version = self.versions.get(&number).map_or(0, |version| version + 1);
        let bins = Bins::new().with("key", number).with("version", version).with("bytes", payload(7, 1_500));
        match self.rig.replace(key("s", number), &bins, Ttl::Never).await.code() {
            Code::Ok => drop(self.versions.insert(number, version)),
            Code::StopWrites => self.rig.settle().await,
            other => panic!("{other:?}"),
        }
    }

    /// Fills segments with garbage.
    pub async fn churn(&mut self, writes: u64) {
        for _ in 0..writes {
            self.churned += 1;
            let bins = Bins::unnamed(payload(self.churned, 9_000));
            let answer = self.rig.replace(key("ballast", self.churned as i64 % 3), &bins, Ttl::Never).await;
            assert!(matches!(answer.code(), Code::Ok | Code::StopWrites), "{:?}", answer.code());
        }
    }

    pub async fn apply(&mut self, step: &Step) {
        match *step {
            Step::Write(first, count) => {
                for number in first..first + count {
                    self.write(number % KEYS).await;
                }
            }
            Step::Hammer(number, times) => {
                for _ in 0..times {
                    self.write(number).await;
                }
            }
            Step::Churn(writes) => self.churn(writes).await,
            Step::Evacuate => {
                self.rig.namespace().log.evacuate_oldest();
                self.rig.settle().await;
            }
            Step::Settle => self.rig.settle().await,
            // Keys behind the ones that are there all the while.
            Step::Come(number) => self.write(KEYS + number).await,
            Step::Go(number) => drop(self.rig.delete(key("s", KEYS + number)).await),
            Step::Checkpoint => self.rig.checkpoint().await,
        }
    }

    /// What a scan gave that began when `before` was so, and ended now.
    pub fn check(&self, before: &BTreeMap<i64, i64>, given: &Given) {
        given.assert_each_once(KEYS);
        for (number, versions) in &given.versions {
            assert!(versions.len() <= 1, "{number} came and went, and was given {} times", versions.len());
            let (from, to) = (before.get(number).copied().unwrap_or(0), self.versions[number]);
            assert!(
                versions.iter().all(|version| (from..=to).contains(version)),
                "{number}: {versions:?} {from}..={to}"
            );
        }
    }
}

/// What happens while a scan stands still.
#[derive(Debug, Clone)]
pub enum Step {
    Write(i64, i64),
    Hammer(i64, u32),
    Churn(u64),
    Evacuate,
    Settle,
    Come(i64),
    Go(i64),
    Checkpoint,
}
