//! What all requests of a node share: its namespaces, the lines of its keys, whether it drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use outcrop_wire::limits::FRAME_BYTES_MAX;
use outcrop_wire::{Code, ReplyHeader, Verb};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Finished;
use super::error::CommandError;
use super::functions::Functions;
use super::keys::KeyQueues;
use crate::store::Namespace;
use crate::telemetry::StatsSource;

/// Shared by every worker of a node.
pub struct Context {
    /// The namespaces, by number.
    pub namespaces: Vec<Arc<Namespace>>,
    /// The lines of keys.
    pub keys: KeyQueues,
    /// Milliseconds that a request gets which names no deadline.
    pub deadline_ms_default: u32,
    /// Where `info` gets its numbers.
    pub stats: Arc<dyn StatsSource>,
    /// Modules and the engine that runs them; `None`: this node offers none.
    pub functions: Option<Arc<Functions>>,
    draining: AtomicBool,
    /// Requests whose reply takes its time, on all connections.
    under_way: AtomicUsize,
    /// Memory for large values on their way in or out, in KiB.
    large: Arc<Semaphore>,
    large_kib: u32,
}

impl Context {
    /// For these namespaces.
    pub fn new(
        namespaces: Vec<Arc<Namespace>>,
        deadline_ms_default: u32,
        large_bytes_max: u64,
        stats: Arc<dyn StatsSource>,
    ) -> Self {
        let large_kib = (large_bytes_max / 1_024).clamp(FRAME_BYTES_MAX as u64 / 1_024, 1 << 28) as u32;
        Context {
            namespaces,
            keys: KeyQueues::default(),
            deadline_ms_default,
            stats,
            functions: None,
            draining: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            large: Arc::new(Semaphore::new(large_kib as usize)),
            large_kib,
        }
    }

    /// The same, with functions.
    #[must_use]
    pub fn with_functions(self, functions: Arc<Functions>) -> Self {
        Context { functions: Some(functions), ..self }
    }

    /// What runs functions, if this node does.
    pub fn functions(&self) -> Result<&Arc<Functions>, CommandError> {
        let message = "this node runs no functions: `functions.enabled` is off in its configuration";
        self.functions.as_ref().ok_or_else(|| CommandError::new(Code::InvalidRequest, message))
    }

    /// Waits for memory for a large value; the caller bounds the wait.
    pub async fn large_memory(&self, bytes: usize) -> Result<OwnedSemaphorePermit, CommandError> {
        let kib = (bytes.div_ceil(1_024) as u32).min(self.large_kib);
        let permit = self.large.clone().acquire_many_owned(kib).await;
        permit.map_err(|_| CommandError::new(Code::Draining, "the node is shutting down"))
    }

    /// Counts requests under way in and out; the node waits for them before it closes.
    pub fn count_under_way(&self, before: usize, after: usize) {
        if after > before {
            self.under_way.fetch_add(after - before, Ordering::AcqRel);
        } else if before > after {
            self.under_way.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// From here on new requests are told `Draining`.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the node drains.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The statistics as JSON: everything, or one namespace by name.
    pub fn info(&self, request_id: u32, topic: &str) -> Result<Finished, CommandError> {
        let stats = self.stats.snapshot();
        let json = if topic.is_empty() {
            serde_json::to_vec(&stats)
        } else {
            let namespace =
                stats.namespaces.iter().find(|namespace| namespace.name == topic).ok_or_else(|| {
                    CommandError::new(Code::NamespaceUnknown, format!("there is no namespace {topic:?}"))
                })?;
            serde_json::to_vec(namespace)
        };
        let json = json.map_err(|error| CommandError::new(Code::Internal, error.to_string()))?;
        let mut content = Vec::with_capacity(64);
        ReplyHeader::new(request_id, Verb::Info, Code::Ok).encode(&mut content);
        Ok(Finished { value: Some(json.into()), ..Finished::small(Code::Ok, content, None) })
    }
}
