//! The function host of one node: engine, pools, compile gate and cache of compiled modules.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::Code;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::artifact::{ArtifactError, ArtifactKey};
use super::bindings::outcrop::udf::types;
use super::cache::Cache;
use super::call::Owned;
use super::compile::{Compiler, Gate};
use super::engine::{self, running_engine};
use super::guest_log::GuestLog;
use super::imports;
use super::kept::Kept;
use super::limits::{LimitHit, LimitKind, Limits};
use super::options::FunctionOptions;
use super::outcome::{Failed, Refusal};
use super::prepared::{Exports, Label, Linked, ModuleInfo, Prepared};
use super::run::{Running, Setup, Wiped};
use super::state::{CallState, Work};
use super::view::View;
use crate::telemetry::stats::FunctionHostStats;
use crate::world::{Entropy, Pulse};

/// How often a guest is interrupted.
const BEAT: Duration = Duration::from_millis(1);

/// Which part of the pool may be instances that wait for another call.
const KEPT_PART: usize = 4;

/// Bounds of a module's `describe`.
const DESCRIBE: Limits =
    Limits { wall: Duration::from_secs(5), fuel: 1_000_000_000, output_bytes: 1 << 20, reads: 0, ..Limits::RECORD };

/// Why the host can't start.
#[derive(Debug, Error)]
pub enum HostError {
    /// The engine refuses its settings, or the machine has no room for its pools.
    #[error("the function engine can't start: {0}")]
    Engine(String),
    /// No thread.
    #[error("the heartbeat's thread can't start: {0}")]
    Pulse(#[from] std::io::Error),
    /// The cache of compiled modules.
    #[error("the cache of compiled modules: {0}")]
    Cache(#[from] ArtifactError),
}

/// Somebody waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all instances share.
pub(super) struct Shared {
    pub engine: Engine,
    pub options: FunctionOptions,
    pub pulse: Pulse,
    /// Bounds what all functions together write to the node's log.
    pub guest_log: Arc<GuestLog>,
    linker: Linker<CallState>,
    slots: Arc<Semaphore>,
    /// Calls that wait for one.
    waiting: AtomicUsize,
    pool: Vec<Handle>,
    next_thread: AtomicUsize,
    /// Wiped instances that wait for another call.
    pub kept: Kept,
    next_module: AtomicU64,
}

impl Shared {
    /// Room for an instance of so many places, if there is any soon.
    pub async fn slot(&self, places: u32) -> Result<OwnedSemaphorePermit, Failed> {
        if let Ok(slot) = self.slots.clone().try_acquire_many_owned(places) {
            return Ok(slot);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        // After counting itself: whoever keeps an instance from now on sees that somebody waits.
        self.kept.clear();
        let room = self.slots.clone().acquire_many_owned(places);
        let waited = tokio::time::timeout(self.options.instance_wait, room).await;
        let allowed = self.options.instances_max.into();
        match waited {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(Failed::limit(LimitHit { kind: LimitKind::Concurrency, allowed, used: allowed + 1 })),
        }
    }

    /// Keeps a wiped instance for the next call of its module, unless somebody waits for its place.
    pub fn keep(&self, module: u64, wiped: Wiped) {
        self.kept.put(module, wiped);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.kept.clear();
        }
    }

    /// A thread of the pool, each in turn; `None`: there is no pool.
    pub fn pool_thread(&self) -> Option<&Handle> {
        let number = self.next_thread.fetch_add(1, Ordering::Relaxed);
        self.pool.get(number % self.pool.len().max(1))
    }

    /// How many threads the pool has, at least 1.
    pub fn pool_size(&self) -> usize {
        self.pool.len().max(1)
    }
}

/// The function host of one node.
pub struct Host {
    shared: Arc<Shared>,
    gate: Gate,
    cache: Option<Cache>,
    cache_hits: AtomicU64,
}

impl Host {
    /// Starts it. Compiled modules are kept under `data_dir/modules/cache`; without a directory each is compiled anew.
    /// Long work goes to `pool`, runtimes of one thread each; without any it stays where it began.
    pub fn start(
        options: FunctionOptions,
        data_dir: Option<&Path>,
        compiler: Compiler,
        entropy: &dyn Entropy,
        pool: Vec<Handle>,
    ) -> Result<Arc<Host>, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = running_engine(&options).map_err(failed)?;
        let linker = imports::linker(&engine).map_err(failed)?;
        let beating = engine.clone();
        let pulse = Pulse::start("outcrop-beat", BEAT, move || beating.increment_epoch())?;
        let cache = match data_dir {
            Some(dir) => {
                let dir = dir.join("modules").join("cache");
                let key = ArtifactKey::open(&dir, &engine, entropy)?;
                Some(Cache::new(dir, key, options.cache_bytes_max))
            }
            None => None,
        };
        let gate = Gate::new(compiler, options.compile.clone(), options.stack_bytes);
        let slots = Arc::new(Semaphore::new(options.instances_max as usize));
        let next_thread = AtomicUsize::new(0);
        let waiting = AtomicUsize::new(0);
        let guest_log = Arc::default();
        let kept = Kept::new(options.instances_max as usize / KEPT_PART);
        let next_module = AtomicU64::new(0);
        let shared =
            Shared { engine, options, pulse, guest_log, linker, slots, waiting, pool, next_thread, kept, next_module };
        Ok(Arc::new(Host { shared: Arc::new(shared), gate, cache, cache_hits: AtomicU64::new(0) }))
    }

    /// Makes a component ready to run: checks it, compiles it in its bounds (or takes the authenticated artifact of an
    /// earlier time), links it, and asks it what it offers.
    pub async fn prepare(self: &Arc<Self>, component: Bytes) -> Result<Prepared, Refusal> {
        let host = self.clone();
        let work = async move { host.prepare_here(component).await };
        match self.shared.pool_thread() {
            None => work.await,
            Some(thread) => {
                let joined = Owned(thread.spawn(work)).join().await;
                joined.map_err(|failed| Refusal::new(failed.code, failed.message))?
            }
        }
    }

    async fn prepare_here(&self, component: Bytes) -> Result<Prepared, Refusal> {
        let bytes_max = self.shared.options.compile.module_bytes_max;
        if component.len() as u64 > bytes_max {
            let message = format!("a module has at most {bytes_max} bytes, this one has {}", component.len());
            return Err(Refusal::new(Code::ModuleTooLarge, message));
        }
        let hash = *blake3::hash(&component).as_bytes();
        let cached = match &self.cache {
            Some(cache) => cache.load(&self.shared.engine, hash).await,
            None => None,
        };
        let loaded = match cached {
            Some(loaded) => {
                self.cache_hits.fetch_add(1, Ordering::Relaxed);
                loaded
            }
            None => {
                let artifact = self.gate.compile(component).await?;
                match &self.cache {
                    Some(cache) => cache.store_and_load(&self.shared.engine, hash, artifact).await?,
                    None => super::artifact::load_own(&self.shared.engine, &artifact)?,
                }
            }
        };
        let exports = Exports::of(&loaded.component)?;
        let pre = self.shared.linker.instantiate_pre(&loaded.component).map_err(|error| {
            Refusal::new(Code::ModuleImportRefused, format!("the component doesn't fit the world: {error:#}"))
        })?;
        let places = self.places(&loaded.component)?;
        let id = self.shared.next_module.fetch_add(1, Ordering::Relaxed);
        let linked = Linked { shared: self.shared.clone(), pre, exports, id, places, running: AtomicU32::new(0) };
        let linked = Arc::new(linked);
        let info = describe(&linked).await?;
        Ok(Prepared::new(linked, info, hash, loaded.artifact_bytes))
    }

    /// A thread for long work, each in turn; `None`: there is no pool.
    pub fn pool_thread(&self) -> Option<Handle> {
        self.shared.pool_thread().cloned()
    }

    /// Places of the pool that an instance of it takes.
    fn places(&self, component: &Component) -> Result<u32, Refusal> {
        let instances_max = self.shared.options.instances_max;
        let required = component.resources_required();
        let places = required.map(|required| engine::places(required.num_memories, required.num_tables));
        places.filter(|places| *places <= instances_max).ok_or_else(|| {
            let message = format!("an instance needs more memories and tables than the pool of {instances_max} has");
            Refusal::new(Code::ModuleTooLarge, message)
        })
    }

    /// Numbers of the engine and its compiler; the functions' are the registry's.
    pub fn stats(&self) -> FunctionHostStats {
        let instances_max = u64::from(self.shared.options.instances_max);
        FunctionHostStats {
            instances_max,
            instances_in_use: instances_max.saturating_sub(self.instances_free() as u64),
            instances_kept: self.shared.kept.count() as u64,
            instances_reused: self.shared.kept.reused(),
            instances_waiting: self.shared.waiting.load(Ordering::Relaxed) as u64,
            cache_hits: self.cache_hits.load(Ordering::Relaxed),
            log_lines_left_out: self.shared.guest_log.left_out(),
            ..self.gate.stats()
        }
    }

    /// Instances that could begin now; those that are kept make room if need be.
    pub fn instances_free(&self) -> usize {
        self.shared.slots.available_permits() + self.shared.kept.count()
    }
}

async fn describe(linked: &Arc<Linked>) -> Result<ModuleInfo, Refusal> {
    let setup = Setup {
        label: Arc::new(Label {
            module: "".into(),
            version: "".into(),
            function: "describe".into(),
            log: linked.shared.guest_log.clone(),
        }),
        limits: Arc::new(DESCRIBE),
        work: Work::Describe,
        namespace: None,
        now_ms: 0,
        seed: 0,
        started: Instant::now(),
        yields: Arc::new(AtomicU32::new(0)),
    };
    let said = async {
        let mut running = Running::start(linked, setup, View::none()).await?;
        if let Err(error) = running.check_exports(&linked.exports) {
            running.end();
            return Err(Failed::new(Code::ModuleInvalid, error));
        }
        let said = running.call_plain::<(), (types::ModuleInfo,)>(&linked.exports.describe, ()).await;
        said.map_err(|failed| running.end_failed(failed))
    };
    match said.await {
        Ok((said,)) => ModuleInfo::check(said),
        Err(failed) if failed.code == Code::ModuleInvalid => Err(Refusal::new(failed.code, failed.message)),
        Err(failed) => {
            let message = format!("`describe` failed: {}", failed.message);
            let mut refusal = Refusal::new(Code::ModuleDescribeFailed, message);
            refusal.backtrace = failed.details.backtrace;
            Err(refusal)
        }
    }
}
