//! The whole of store and verbs against an ordered map: random requests with the clock, the sweeper, defrag, checkpoints,
//! restarts and power failures in between. Every reply waits for durability, so after any of these the node must hold
//! exactly what the map holds.
//!
//! `OUTCROP_MODEL_CASES` sets how many cases are tried (96).

#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use outcrop_flash::device::memory::{Fault, Injection, MemoryDevice, Operation as Io};
use outcrop_node::command::operate::{Outcome, apply};
use outcrop_wire::archive::{archive_bins, archive_operations};
use outcrop_wire::request::BatchItem;
use outcrop_wire::{BinSelection, Bins, Code, NamespaceId, Operation, PutMode, RequestBody, Ttl};
use proptest::prelude::*;
use support::request::{got, key, payload};
use support::steps::{Ask, Generation, SETS, Step, Which, step};
use support::{Answer, Rig, Settings};

/// A record as it ought to be.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    bins: Bins,
    generation: u32,
    expiry_secs: u32,
    epoch: u64,
    sequence: u64,
}

struct Model {
    rig: Option<Rig>,
    records: BTreeMap<Which, Kept>,
    churned: u64,
}

impl Model {
    fn rig(&self) -> &Rig {
        self.rig.as_ref().expect("taken only while it restarts")
    }

    fn live(&self, which: Which) -> Option<&Kept> {
        let now_secs = self.rig().now_secs();
        self.records.get(&which).filter(|kept| kept.expiry_secs == 0 || kept.expiry_secs > now_secs)
    }

    fn named(&self, generation: Generation, which: Which) -> Option<u32> {
        let actual = self.live(which).map_or(0, |kept| kept.generation);
        match generation {
            Generation::Any => None,
            Generation::Right => Some(actual),
            Generation::Wrong => Some(actual + 7),
            Generation::Zero => Some(0),
        }
    }

    fn expiry_of(&self, ttl: Ttl, old: Option<&Kept>) -> u32 {
        let now_secs = self.rig().now_secs();
        let default = self.rig().settings.policy.default_ttl_secs.map_or(0, |secs| now_secs + secs);
        match ttl {
            Ttl::Default => default,
            Ttl::Never => 0,
            Ttl::Secs(secs) => now_secs + secs,
            Ttl::Keep => old.map_or(default, |kept| kept.expiry_secs),
        }
    }

    /// The reply to a write that ought to happen; takes note of it.
    fn wrote(&mut self, which: Which, answer: &Answer, bins: Bins, expiry_secs: u32) {
        assert_eq!(answer.code(), Code::Ok, "{}", String::from_utf8_lossy(&answer.body));
        let header = answer.header;
        match self.live(which) {
            Some(old) => {
                assert_eq!(header.generation, old.generation + 1);
                assert!((header.epoch, header.sequence) > (old.epoch, old.sequence), "writes are ordered");
            }
            // Whether a deletion is still remembered is nobody's business.
            None => assert!(header.generation >= 1),
        }
        let (generation, epoch, sequence) = (header.generation, header.epoch, header.sequence);
        self.records.insert(which, Kept { bins, generation, expiry_secs, epoch, sequence });
    }

    async fn send(&self, ask: &Ask) -> Answer {
        let owned = Owned::of(self, ask);
        self.rig().ask(&owned.body(ask)).await
    }

    /// Compares the reply with what ought to be, and takes note of what it changed.
    fn judge(&mut self, ask: &Ask, named: Option<u32>, answer: &Answer) {
        let which = ask.which();
        let old = self.live(which).cloned();
        if let Some(code) = ask.refused(old.as_ref(), named) {
            assert_eq!(answer.code(), code, "{ask:?} of {old:?}");
            return;
        }
        match ask {
            Ask::Put(_, mode, _, ttl, bins) => {
                let merged = match (mode, &old) {
                    (PutMode::Upsert | PutMode::UpdateOnly, Some(old)) => bins
                        .bins
                        .iter()
                        .fold(old.bins.clone(), |merged, bin| merged.with(bin.name.as_str(), bin.value.clone())),
                    _ => bins.clone(),
                };
                let expiry_secs = self.expiry_of(*ttl, old.as_ref());
                assert_eq!(answer.expiry_secs(), expiry_secs);
                self.wrote(which, answer, merged, expiry_secs);
            }
            Ask::Delete(..) => {
                let old = old.expect("else it is refused");
                assert_eq!((answer.expiry_secs(), answer.header.generation), (0, old.generation + 1));
                self.records.remove(&which);
            }
            Ask::Touch(_, _, ttl) => {
                let expiry_secs = self.expiry_of(*ttl, old.as_ref());
                assert_eq!(answer.expiry_secs(), expiry_secs);
                let bins = old.expect("else it is refused").bins;
                self.wrote(which, answer, bins, expiry_secs);
            }
            Ask::Operate(_, _, ttl, steps) => self.operated(which, *ttl, steps, old, answer),
            Ask::Get(_, names) => {
                let old = old.expect("else it is refused");
                let bins = match names {
                    None => old.bins,
                    Some(names) => Bins {
                        bins: old.bins.bins.into_iter().filter(|bin| names.contains(&bin.name.as_str())).collect(),
                    },
                };
                let whole = names.as_ref().is_none_or(|names| !names.is_empty());
                let record = got(&answer.clone().ok().body, whole);
                assert_eq!(record.bins, bins);
                assert_eq!((record.generation, record.expiry_secs), (old.generation, old.expiry_secs));
                assert_eq!((record.epoch, record.sequence), (old.epoch, old.sequence));
                let header = answer.header;
                assert_eq!(
                    (header.generation, header.epoch, header.sequence),
                    (old.generation, old.epoch, old.sequence)
                );
            }
            Ask::Exists(_) => {
                let old = old.expect("else it is refused");
                assert_eq!((answer.expiry_secs(), answer.header.generation), (old.expiry_secs, old.generation));
            }
        }
    }

    fn operated(&mut self, which: Which, ttl: Ttl, steps: &[Operation], old: Option<Kept>, answer: &Answer) {
        let applied = match apply(old.as_ref().map(|old| &old.bins), steps) {
            Ok(applied) => applied,
            Err(error) => {
                assert_eq!(answer.code(), error.code(), "{error}");
                return;
            }
        };
        assert_eq!(answer.values(), applied.results);
        let lived_on = old.as_ref().filter(|_| !applied.recreated);
        let expiry_secs = self.expiry_of(ttl, lived_on);
        match applied.outcome {
            Outcome::Write(bins) => self.wrote(which, answer, bins, expiry_secs),
            Outcome::Touch => {
                let bins = old.expect("only what is there can be touched").bins;
                self.wrote(which, answer, bins, expiry_secs);
            }
            Outcome::Delete => {
                self.records.remove(&which);
            }
            Outcome::ReadOnly | Outcome::Nothing => {
                assert_eq!(answer.header.generation, old.map_or(0, |old| old.generation));
            }
        }
    }

    async fn batch(&mut self, asks: &[Ask]) {
        // A batch promises nothing about the order of requests on one key.
        let mut seen = HashSet::new();
        let asks: Vec<&Ask> = asks.iter().filter(|ask| seen.insert(ask.which())).collect();
        let owned: Vec<Owned> = asks.iter().map(|ask| Owned::of(self, ask)).collect();
        let item = |(owned, ask): (&'_ Owned, &&'_ Ask)| (owned.named, (*ask).clone());
        let named: Vec<(Option<u32>, Ask)> = owned.iter().zip(&asks).map(item).collect();
        let items =
            owned.iter().zip(&asks).map(|(owned, ask)| BatchItem { namespace: NamespaceId(0), body: owned.body(ask) });
        let answer = self.rig().ask(&RequestBody::Batch { items: items.collect() }).await.ok();
        let answers = answer.items();
        assert_eq!(answers.len(), named.len());
        for ((named, ask), answer) in named.iter().zip(&answers) {
            self.judge(ask, *named, answer);
        }
    }

    async fn scan(&self, set: Option<usize>, piece: usize) {
        let mut found: BTreeMap<Vec<u8>, support::request::Got> = BTreeMap::new();
        let scanned = self.rig().scan(set.map(|set| SETS[set]), piece).await;
        // Fewer than a piece: one scanner gave them all.
        let in_one_piece = scanned.len() < piece;
        for stored in scanned {
            let record = outcrop_wire::StoredRecord::parse(&stored).expect("a stored record");
            let (digest, record) = (record.key.digest().0.to_vec(), got(&stored, true));
            // Defrag may have moved it between two pieces.
            if let Some(earlier) = found.insert(digest, record.clone()) {
                assert_eq!(earlier, record, "nobody wrote meanwhile");
                assert!(!in_one_piece, "one scan gave it twice: {record:?}");
            }
        }
        for (which, _) in self.records.iter().filter(|(which, _)| set.is_none_or(|set| set == which.0)) {
            let Some(kept) = self.live(*which) else { continue };
            let record = found.remove(key(SETS[which.0], which.1).digest().0.as_slice());
            let record = record.unwrap_or_else(|| panic!("the scan didn't give {which:?}"));
            assert_eq!((record.bins, record.generation), (kept.bins.clone(), kept.generation));
        }
        let ballast: HashSet<Vec<u8>> = (0..BALLAST_KEYS).map(|n| key("ballast", n).digest().0.to_vec()).collect();
        found.retain(|digest, _| set.is_some() || !ballast.contains(digest));
        assert!(found.is_empty(), "the scan gave what isn't there: {found:?}");
    }

    /// Overwrites large records until defrag has to make room.
    async fn churn(&mut self) {
        for _ in 0..BALLAST_KEYS * 3 {
            self.churned += 1;
            let bins = Bins::unnamed(payload(self.churned, 30_000));
            self.rig().replace(key("ballast", self.churned as i64 % BALLAST_KEYS), &bins, Ttl::Never).await.ok();
        }
        self.rig().settle().await;
    }

    async fn truncate(&mut self, set: usize) {
        let answer = self.rig().truncate(SETS[set]).await.ok();
        let removed = u64::from_le_bytes(answer.body.as_slice().try_into().expect("eight bytes"));
        let live = (0..8).filter(|n| self.live((set, *n)).is_some()).count() as u64;
        assert!(removed >= live, "{removed} of {live} records went");
        self.records.retain(|which, _| which.0 != set);
    }

    /// A truncation whose caller goes away as soon as it has begun. Once its marker is durable it holds all the same.
    async fn give_up_truncate(&mut self, set: usize) {
        {
            let mut truncation = std::pin::pin!(self.rig().namespace().truncate(SETS[set]));
            let polled = futures_util::poll!(truncation.as_mut());
            assert!(polled.is_pending() || self.rig().namespace().sets.find(SETS[set]).is_none());
        }
        let log = &self.rig().namespace().log;
        log.wait_durable(log.head()).await.expect("the device is well");
        self.records.retain(|which, _| which.0 != set);
    }

    /// Everything is there and nothing else.
    async fn check_all(&mut self) {
        for set in 0..SETS.len() {
            for number in 0..8 {
                for ask in [Ask::Get((set, number), None), Ask::Exists((set, number))] {
                    let answer = self.send(&ask).await;
                    self.judge(&ask, None, &answer);
                }
            }
        }
        self.scan(None, 1_000).await;
        self.rig().check_invariants().await;
    }

    /// One step, which must come to an end: by its own clock if it waits for what never comes, by its device's bound if
    /// it goes round in circles without letting the clock go on.
    async fn step(&mut self, step: &Step) {
        let device = self.rig().device.clone();
        let bounded = Bounded { device, step };
        if tokio::time::timeout(STEP_MAX, self.carry_out(step)).await.is_err() {
            panic!("{step:?} saw no end in {} s of its own clock", STEP_MAX.as_secs());
        }
        drop(bounded);
    }

    async fn carry_out(&mut self, step: &Step) {
        match step {
            Step::One(ask) => {
                let named = Owned::of(self, ask).named;
                let answer = self.send(ask).await;
                self.judge(ask, named, &answer);
            }
            Step::Batch(asks) => self.batch(asks).await,
            Step::Truncate(set) => self.truncate(*set).await,
            Step::GiveUpTruncate(set) => self.give_up_truncate(*set).await,
            Step::Scan(set, piece) => self.scan(*set, *piece).await,
            Step::Clock(secs) => self.rig().clock.advance_ms(secs * 1_000),
            Step::Sweep => self.rig().sweep(),
            Step::Churn => self.churn().await,
            Step::Checkpoint => self.rig().checkpoint().await,
            Step::Restart => {
                let rig = self.rig.take().expect("taken only here").restart().await;
                assert!(rig.opened.log.clean);
                self.reopened(rig).await;
            }
            Step::Crash(seed) => {
                let rig = self.rig.take().expect("taken only here").crash(*seed).await;
                self.reopened(rig).await;
            }
            Step::CrashWithoutCheckpoint(seed) => {
                let rig = self.rig.take().expect("taken only here").crash_without_checkpoint(*seed).await;
                self.reopened(rig).await;
            }
            Step::EvacuateOldest => {
                self.rig().namespace().log.evacuate_oldest();
                self.rig().settle().await;
            }
        }
    }

    async fn reopened(&mut self, rig: Rig) {
        assert_eq!((rig.opened.replay.unreadable, rig.opened.log.damaged_places), (0, 0));
        bound(&rig.device);
        self.rig = Some(rig);
        self.check_all().await;
    }
}

const BALLAST_KEYS: i64 = 6;

/// Reads and writes of a device between two restarts, each at most: fifty times what the busiest of many cases took. Tasks
/// that keep each other busy for ever stop the runtime's clock, and with it every timeout; the device fails instead.
const DEVICE_OPERATIONS_MAX: u64 = 20_000;

/// A step's time by the test's own clock, which goes on by itself whenever everybody waits.
const STEP_MAX: Duration = Duration::from_secs(600);

fn bound(device: &MemoryDevice) {
    for operation in [Io::Read, Io::Write] {
        device.inject(Injection::new(operation, Fault::Eio).after(DEVICE_OPERATIONS_MAX).forever());
    }
}

/// Says why, if a step fails because its device came to its bound.
struct Bounded<'a> {
    device: MemoryDevice,
    step: &'a Step,
}

impl Drop for Bounded<'_> {
    fn drop(&mut self) {
        let counts = self.device.counts();
        if std::thread::panicking() && counts.reads.max(counts.writes) > DEVICE_OPERATIONS_MAX {
            eprintln!("in {:?} the device came to its bound: something goes round in circles; {counts:?}", self.step);
        }
    }
}

/// What ought to be refused.
trait Judged {
    fn refused(&self, old: Option<&Kept>, named: Option<u32>) -> Option<Code>;
}

impl Judged for Ask {
    /// The code of the refusal that its conditions ask for.
    fn refused(&self, old: Option<&Kept>, named: Option<u32>) -> Option<Code> {
        let (must, must_not) = match self {
            Ask::Put(_, mode, ..) => {
                (matches!(mode, PutMode::UpdateOnly | PutMode::ReplaceOnly), *mode == PutMode::CreateOnly)
            }
            Ask::Operate(..) => (false, false),
            _ => (true, false),
        };
        let actual = old.map_or(0, |old| old.generation);
        match old {
            None if must => Some(Code::NotFound),
            Some(_) if must_not => Some(Code::AlreadyExists),
            _ if named.is_some_and(|named| named != actual) => Some(Code::GenerationMismatch),
            _ => None,
        }
    }
}

/// The bytes that a request borrows.
struct Owned {
    named: Option<u32>,
    archive: Vec<u8>,
}

impl Owned {
    fn of(model: &Model, ask: &Ask) -> Owned {
        let named = model.named(ask.generation(), ask.which());
        let archive = match ask {
            Ask::Put(.., bins) => archive_bins(bins).expect("within the limits"),
            Ask::Operate(.., steps) => archive_operations(steps).expect("within the limits"),
            _ => Vec::new(),
        };
        Owned { named, archive }
    }

    fn body<'a>(&'a self, ask: &'a Ask) -> RequestBody<'a> {
        let (set, number) = ask.which();
        let (key, if_generation, archive) = (key(SETS[set], number), self.named, self.archive.as_slice());
        match ask {
            Ask::Put(_, mode, _, ttl, _) => RequestBody::Put { key, mode: *mode, if_generation, ttl: *ttl, archive },
            Ask::Delete(..) => RequestBody::Delete { key, if_generation },
            Ask::Touch(_, _, ttl) => RequestBody::Touch { key, if_generation, ttl: *ttl },
            Ask::Operate(_, _, ttl, _) => RequestBody::Operate { key, if_generation, ttl: *ttl, operations: archive },
            Ask::Get(_, names) => {
                let bins = match names {
                    None => BinSelection::All,
                    Some(names) if names.is_empty() => BinSelection::None,
                    Some(names) => BinSelection::Named(names.clone()),
                };
                RequestBody::Get { key, bins }
            }
            Ask::Exists(_) => RequestBody::Exists { key },
        }
    }
}

async fn run(settings: Settings, steps: Vec<Step>, last_crash: u64) {
    let rig = Some(Rig::new(settings).await);
    rig.iter().for_each(|rig| bound(&rig.device));
    let mut model = Model { rig, records: BTreeMap::new(), churned: 0 };
    for step in &steps {
        model.step(step).await;
    }
    tokio::time::timeout(STEP_MAX, model.check_all()).await.expect("everything answers");
    model.step(&Step::Crash(last_crash)).await;
    model.step(&Step::Restart).await;
}

fn cases() -> u32 {
    std::env::var("OUTCROP_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, max_shrink_time: 60_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn store_and_verbs_do_as_an_ordered_map_does(
        steps in prop::collection::vec(step(), 30..120),
        default_ttl_secs in prop::option::of(20..150_u32),
        cache_bytes in prop::sample::select(vec![0_u64, 1 << 20, 64 << 20]),
        last_crash in any::<u64>(),
    ) {
        let settings = Settings::new().with(|policy| {
            policy.default_ttl_secs = default_ttl_secs;
            policy.cache_bytes = cache_bytes;
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(run(settings, steps, last_crash));
    }
}
