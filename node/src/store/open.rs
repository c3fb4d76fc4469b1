//! Opening a namespace: device, log, replay, counts; then its background tasks. And closing it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use outcrop_flash::device::Device;
use outcrop_flash::device::probe::{DeviceOptions, EngineChoice, open_device};
use outcrop_flash::device::void::VoidDevice;
use outcrop_flash::log::{Log, LogOptions, OpenReport, SyncPolicy};
use outcrop_wire::limits::SEGMENT_BYTES;
use outcrop_wire::{NamespaceId, PartitionId};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use super::cache::RecordCache;
use super::checkpoint::Snapshot;
use super::namespace::{Counters, Namespace};
use super::policy::{Commit, Engine, Policy, Values};
use super::replay::{ReplayCounts, Replayed, Replayer};
use super::scan::ledger::Scans;
use crate::world::Clock;

const _: () = assert!(SEGMENT_BYTES == outcrop_flash::location::SEGMENT_BYTES);

/// Why a namespace can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Its device.
    #[error("namespace {namespace}: {reason}")]
    Device {
        /// The namespace.
        namespace: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Its log.
    #[error("namespace {namespace}: {reason}")]
    Log {
        /// The namespace.
        namespace: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// The namespace, ready for requests; its tasks don't run yet.
    pub namespace: Arc<Namespace>,
    /// What the log's recovery found.
    pub report: OpenReport,
    /// What the replay met.
    pub replay: ReplayCounts,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("name", &self.policy.name).field("records", &self.index.len()).finish()
    }
}

impl Namespace {
    /// Opens the device that the policy names, and the namespace on it.
    pub async fn open(id: NamespaceId, policy: Policy, clock: Arc<dyn Clock>) -> Result<Opened, OpenError> {
        let device = Self::open_its_device(&policy)?;
        Self::open_on(id, policy, device, clock).await
    }

    fn open_its_device(policy: &Policy) -> Result<Arc<dyn Device>, OpenError> {
        match &policy.values {
            Values::Ram { bytes } => Ok(Arc::new(VoidDevice::new(&policy.name, *bytes))),
            Values::Flash { device, bytes, .. } => {
                let engine = match policy.engine {
                    Engine::Auto => EngineChoice::Auto,
                    Engine::IoUring => EngineChoice::IoUring,
                    Engine::Pread => EngineChoice::Pread,
                };
                let options = DeviceOptions { create_bytes: Some(*bytes), engine, ..DeviceOptions::default() };
                let (device, _) = open_device(device, &options)
                    .map_err(|error| OpenError::Device { namespace: policy.name.clone(), reason: error.to_string() })?;
                Ok(device)
            }
        }
    }

    /// Opens a namespace on a device that is open already (a simulation's, say).
    pub async fn open_on(
        id: NamespaceId,
        policy: Policy,
        device: Arc<dyn Device>,
        clock: Arc<dyn Clock>,
    ) -> Result<Opened, OpenError> {
        let options = log_options(&policy);
        let mut replayer = Replayer::new(clock.now_secs());
        let (log, report) = Log::open(device, options, &mut replayer)
            .await
            .map_err(|error| OpenError::Log { namespace: policy.name.clone(), reason: error.to_string() })?;
        let Replayed { index, sets, markers, counts } = replayer.finish();
        let cache = RecordCache::new(if everything_resident(&policy) { 0 } else { policy.cache_bytes / 2 });
        let namespace = Arc::new(Namespace {
            id,
            policy,
            index,
            log,
            sets,
            cache,
            counters: Counters::default(),
            scans: Scans::default(),
            clock,
            tombstones: AtomicU64::new(0),
            markers: Mutex::new(markers),
            marker_end: AtomicU64::new(0),
            truncating: AtomicU64::new(0),
            moving: RwLock::new(()),
        });
        namespace.count_all();
        Ok(Opened { namespace, report, replay: counts })
    }

    /// Counts what the replay left in the index: live bytes by segment, records and bytes by set.
    fn count_all(&self) {
        self.sets.reset_counts();
        self.markers.lock().iter().for_each(|logged| self.log.retain(logged.location));
        for id in PartitionId::all() {
            for (_, entry) in self.index.read(id).iter() {
                self.log.retain(entry.location);
                self.count_in(&entry);
            }
        }
    }

    /// Starts flusher, defrag, sweeper and checkpoints on the current runtime.
    pub fn start(self: &Arc<Self>) -> Tasks {
        self.log.start(self.clone());
        let mut tasks = vec![tokio::spawn(self.clone().sweep_forever())];
        if self.policy.checkpoint_secs > 0 && matches!(self.policy.values, Values::Flash { .. }) {
            tasks.push(tokio::spawn(self.clone().checkpoint_forever()));
        }
        Tasks(tasks)
    }

    async fn checkpoint_forever(self: Arc<Self>) {
        let period = Duration::from_secs(self.policy.checkpoint_secs);
        let mut last_head = self.log.head();
        loop {
            tokio::time::sleep(period).await;
            // An idle namespace needs no new checkpoint.
            if self.log.head() == last_head {
                continue;
            }
            last_head = self.log.head();
            if let Err(error) = self.checkpoint().await {
                tracing::error!(namespace = %self.policy.name, %error, "the index checkpoint failed; the last one holds");
            }
        }
    }

    /// Writes a checkpoint of the index, so that the next start replays less.
    pub async fn checkpoint(self: &Arc<Self>) -> Result<(), outcrop_flash::log::CheckpointError> {
        self.log.checkpoint(&mut Snapshot::new(self.clone())).await
    }

    /// Checkpoints, syncs and closes. Requests must be over.
    pub async fn close(self: &Arc<Self>, tasks: Tasks) -> Result<(), OpenError> {
        // Until it has ended, a checkpoint under way keeps its segments and refuses the one below.
        let mut tasks = tasks;
        for task in std::mem::take(&mut tasks.0) {
            task.abort();
            let _ = task.await;
        }
        if matches!(self.policy.values, Values::Flash { .. })
            && self.log.poisoned().is_none()
            && let Err(error) = self.checkpoint().await
        {
            tracing::warn!(namespace = %self.policy.name, %error, "no checkpoint at the end: the next start replays the log");
        }
        let reason = |error: &dyn std::fmt::Display| OpenError::Log {
            namespace: self.policy.name.clone(),
            reason: format!("closing: {error}"),
        };
        self.log.close().await.map_err(|error| reason(&error))
    }
}

/// A namespace's background tasks.
#[derive(Debug, Default)]
pub struct Tasks(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn everything_resident(policy: &Policy) -> bool {
    matches!(policy.values, Values::Ram { .. } | Values::Flash { cached: true, .. })
}

fn log_options(policy: &Policy) -> LogOptions {
    let everything = everything_resident(policy);
    LogOptions {
        identity_if_new: policy.log_identity_if_new,
        sync: match policy.commit {
            Commit::Flash => SyncPolicy::Group,
            Commit::Memory => SyncPolicy::Interval { flush_ms: policy.flush_ms },
        },
        resident_bytes: if everything { u64::MAX } else { policy.cache_bytes / 2 },
        write_buffer_bytes: policy.write_buffer_bytes,
        defrag_live_percent: policy.defrag_live_percent,
        defrag_bytes_per_sec: policy.defrag_bytes_per_sec,
        preload: matches!(policy.values, Values::Flash { cached: true, .. }),
        ..LogOptions::default()
    }
}
