//! A module as calls see it: its active version behind one pointer, its limits, numbers and log lines.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use futures_util::future::{BoxFuture, Shared};
use outcrop_wire::{Code, FunctionPath};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::catalogue::{ModuleRow, VersionRow};
use super::logs::LogRing;
use super::rules::NamespaceRules;
use super::sign::unhex;
use super::stats::FunctionStats;
use crate::telemetry::stats::FunctionCallStats;
use crate::udf::limits::Limits;
use crate::udf::outcome::{Failed, Refusal, Trace};
use crate::udf::prepared::{FunctionKind, Label, Prepared};

/// Functions that an error names.
const NAMED_MAX: usize = 16;

/// Counters of a module, at most.
const COUNTERS_MAX: usize = 64;
/// Functions whose numbers a module keeps, at most: those of all its versions.
const FUNCTIONS_MAX: usize = 1_024;

/// A version as calls see it.
pub struct Version {
    /// Its name.
    pub name: Arc<str>,
    /// BLAKE3 of its component.
    pub hash: [u8; 32],
    /// Bytes of its component.
    pub bytes: u64,
    /// Whether it came with the node.
    pub built_in: bool,
    /// Keys whose signatures hold.
    pub signers: Vec<[u8; 32]>,
    cell: OnceCell<Arc<Loaded>>,
    loading: Mutex<Option<Loading>>,
}

/// A version on its way into memory, for as many as wait for it.
pub(super) type Loading = Shared<BoxFuture<'static, Result<Arc<Loaded>, Refusal>>>;

/// A version that is ready to run.
pub struct Loaded {
    /// The compiled module.
    pub prepared: Prepared,
    /// The version's name.
    pub version: Arc<str>,
    /// Numbers, by function.
    stats: Vec<Arc<FunctionStats>>,
}

/// What a call runs on.
#[derive(Clone)]
pub struct Resolved {
    /// Its module.
    pub live: Arc<Live>,
    /// Its version.
    pub loaded: Arc<Loaded>,
    /// The function's number.
    pub function: u32,
    /// Its kind.
    pub kind: FunctionKind,
    /// Whether it never writes.
    pub read_only: bool,
    /// Its bounds here.
    pub limits: Arc<Limits>,
    /// Its names.
    pub label: Arc<Label>,
}

/// Bounds of a module's calls in one namespace.
struct Bounds {
    record: Arc<Limits>,
    query: Arc<Limits>,
}

/// One module.
pub struct Live {
    /// Its name.
    pub name: Arc<str>,
    /// What came with the node and what was uploaded, by version.
    versions: ArcSwap<BTreeMap<String, Arc<Version>>>,
    active: ArcSwapOption<Version>,
    paused: AtomicBool,
    bounds: ArcSwap<Vec<Bounds>>,
    stats: DashMap<Arc<str>, Arc<FunctionStats>>,
    /// The latest log lines.
    pub logs: LogRing,
    counters: Mutex<BTreeMap<String, u64>>,
}

impl Version {
    fn of_row(row: &VersionRow) -> Arc<Self> {
        // A hash that can't be read is no content's: loading says so.
        let hash = unhex(&row.hash).unwrap_or_default();
        let signers = row.signatures.iter().filter_map(|signature| signature.signer(&hash)).collect();
        Arc::new(Version {
            name: row.version.as_str().into(),
            hash,
            bytes: row.bytes,
            built_in: row.built_in,
            signers,
            cell: OnceCell::new(),
            loading: Mutex::default(),
        })
    }

    /// The version, if it is in memory.
    pub fn loaded(&self) -> Option<&Arc<Loaded>> {
        self.cell.get()
    }

    /// The version; `prepare` compiles it if nobody has yet. Of many callers one does the work.
    pub(super) async fn load_with<F>(&self, live: &Live, prepare: impl FnOnce() -> F) -> Result<Arc<Loaded>, Refusal>
    where
        F: Future<Output = Result<Prepared, Refusal>>,
    {
        let load = || async {
            let prepared = prepare().await?;
            Ok(Arc::new(self.with(live, prepared)))
        };
        self.cell.get_or_try_init(load).await.cloned()
    }

    /// The load under way, or the one that `begin` begins; one that failed is begun anew.
    pub(super) fn loading(&self, begin: impl FnOnce() -> Loading) -> Loading {
        let mut loading = self.loading.lock();
        match &*loading {
            Some(known) if !matches!(known.peek(), Some(Err(_))) => known.clone(),
            _ => loading.insert(begin()).clone(),
        }
    }

    fn with(&self, live: &Live, prepared: Prepared) -> Loaded {
        let prepared = prepared.named(&live.name, &self.name);
        let functions = &prepared.info().functions;
        let stats = functions.iter().map(|function| live.stats_of(&function.name)).collect();
        Loaded { prepared, version: self.name.clone(), stats }
    }
}

impl Live {
    /// A module as the catalogue has it; nothing of it is in memory yet.
    pub(super) fn of_row(row: &ModuleRow, rules: &[NamespaceRules]) -> Arc<Self> {
        let live = Live {
            name: row.name.as_str().into(),
            versions: ArcSwap::default(),
            active: ArcSwapOption::empty(),
            paused: AtomicBool::new(false),
            bounds: ArcSwap::default(),
            stats: DashMap::with_shard_amount(4),
            logs: LogRing::default(),
            counters: Mutex::default(),
        };
        live.follow(row, rules);
        Arc::new(live)
    }

    /// Takes over what the catalogue says now. What is in memory and still wanted stays; a version that isn't active any
    /// more leaves it once its calls in flight are over.
    pub(super) fn follow(&self, row: &ModuleRow, rules: &[NamespaceRules]) {
        let known = self.versions.load();
        let versions: BTreeMap<String, Arc<Version>> = row
            .versions
            .iter()
            .map(|version| {
                let active = row.active.as_deref() == Some(version.version.as_str());
                let fresh = Version::of_row(version);
                let kept = known
                    .get(&version.version)
                    .filter(|known| active && known.hash == fresh.hash && known.signers == fresh.signers);
                (version.version.clone(), kept.cloned().unwrap_or(fresh))
            })
            .collect();
        let bounds = rules.iter().map(|rules| Bounds {
            record: Arc::new(row.limits.under(&rules.record)),
            query: Arc::new(row.limits.under(&rules.query)),
        });
        self.bounds.store(Arc::new(bounds.collect()));
        self.active.store(row.active.as_ref().and_then(|active| versions.get(active)).cloned());
        self.versions.store(Arc::new(versions));
        self.paused.store(row.paused, Ordering::Release);
    }

    /// Puts a version that is in memory already in place of its entry, so that activation finds it warm.
    pub(super) fn adopt(&self, version: &Arc<Version>) {
        let mut versions = BTreeMap::clone(&self.versions.load());
        if versions.get(&*version.name).is_some_and(|known| known.hash == version.hash) {
            versions.insert(version.name.to_string(), version.clone());
            self.versions.store(Arc::new(versions));
        }
    }

    /// A version: by name, or the active one.
    pub fn version(&self, name: Option<&str>) -> Result<Arc<Version>, Failed> {
        match name {
            None => self.active.load_full().ok_or_else(|| {
                let message = format!("no version of {} is active: `outcrop udf activate` makes one", self.name);
                Failed::new(Code::ModuleUnknown, message)
            }),
            Some(name) => self
                .versions
                .load()
                .get(name)
                .cloned()
                .ok_or_else(|| Failed::new(Code::ModuleUnknown, format!("{} has no version {name:?}", self.name))),
        }
    }

    /// The name of the active version.
    pub fn active(&self) -> Option<Arc<str>> {
        self.active.load().as_ref().map(|version| version.name.clone())
    }

    /// Refuses calls of a module that is paused.
    pub(super) fn check_paused(&self) -> Result<(), Failed> {
        match self.paused.load(Ordering::Acquire) {
            false => Ok(()),
            true => {
                let message = format!("{} is paused: `outcrop udf resume {}` lets it go on", self.name, self.name);
                Err(Failed::new(Code::FunctionPaused, message))
            }
        }
    }

    pub(super) fn resolved(
        self: &Arc<Self>,
        loaded: &Arc<Loaded>,
        path: &FunctionPath<'_>,
        namespace: u16,
    ) -> Result<Resolved, Failed> {
        let Some((function, info, label)) = loaded.prepared.named_function(path.function) else {
            let all = &loaded.prepared.info().functions;
            let known: Vec<&str> = all.iter().map(|info| &*info.name).take(NAMED_MAX).collect();
            let more = match all.len().saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            let (name, version, known) = (&self.name, &loaded.version, known.join(", "));
            let message = format!("{name}@{version} has no function {:?}; it has {known}{more}", path.function);
            return Err(Failed::new(Code::FunctionUnknown, message));
        };
        let bounds = self.bounds.load();
        let bounds = bounds.get(usize::from(namespace)).ok_or_else(|| {
            Failed::new(Code::NamespaceUnknown, format!("the node has no namespace of number {namespace}"))
        })?;
        let limits = if info.kind == FunctionKind::Record { &bounds.record } else { &bounds.query };
        Ok(Resolved {
            live: self.clone(),
            loaded: loaded.clone(),
            function,
            kind: info.kind,
            read_only: info.read_only,
            limits: limits.clone(),
            label: label.clone(),
        })
    }

    /// Numbers of each function that was called, as metrics show them.
    pub fn call_stats(&self) -> Vec<FunctionCallStats> {
        let each = self.stats.iter().map(|entry| entry.value().call_stats(&self.name, entry.key()));
        let called = |function: &FunctionCallStats| function.outcomes.iter().any(|(_, count)| *count > 0);
        each.filter(called).collect()
    }

    fn stats_of(&self, function: &Arc<str>) -> Arc<FunctionStats> {
        if let Some(known) = self.stats.get(function) {
            return known.clone();
        }
        if self.stats.len() >= FUNCTIONS_MAX {
            return Arc::default();
        }
        self.stats.entry(function.clone()).or_default().clone()
    }

    /// Numbers of every function that was called, by name.
    pub fn numbers(&self) -> Vec<(Arc<str>, super::stats::FunctionNumbers)> {
        let mut numbers: Vec<_> = self.stats.iter().map(|row| (row.key().clone(), row.value().numbers())).collect();
        numbers.sort_by(|a, b| a.0.cmp(&b.0));
        numbers
    }

    /// What guests counted, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.lock().clone()
    }

    fn count(&self, added: &[(String, u64)]) {
        if added.is_empty() {
            return;
        }
        let mut counters = self.counters.lock();
        for (name, delta) in added {
            if let Some(sum) = counters.get_mut(name) {
                *sum = sum.saturating_add(*delta);
            } else if counters.len() < COUNTERS_MAX {
                counters.insert(name.clone(), *delta);
            }
        }
    }
}

impl Resolved {
    /// Takes a call's end into the module's numbers, counters and log.
    pub fn record(&self, code: Code, trace: &Trace, latency: Duration, now_ms: u64) {
        if let Some(stats) = self.loaded.stats.get(self.function as usize) {
            stats.record(code, &trace.usage, latency);
        }
        self.live.count(&trace.counters);
        self.live.logs.push(now_ms, &self.label.version, &self.label.function, &trace.logs);
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.label.function
    }
}
