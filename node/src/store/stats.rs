//! A namespace in numbers, for metrics, `info` and the operator.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::namespace::Namespace;
use super::policy::Values;
use crate::telemetry::stats::{CacheStats, IndexStats, LogStats, NamespaceStats, SetStats};

/// A device that leaves a write or sync without an answer for so long is taken to stand still. Far above what a slow
/// disk needs, and well below the deadlines of patient callers.
const STANDSTILL: Duration = Duration::from_secs(2);

impl Namespace {
    /// Why it isn't fit to be used now; none if it is. Cheap.
    pub fn trouble(&self) -> Option<String> {
        let name = &self.policy.name;
        if let Some(reason) = self.log.poisoned() {
            return Some(format!("namespace {name}: {reason}"));
        }
        let waited = self.log.oldest_operation().filter(|waited| *waited >= STANDSTILL)?;
        let secs = waited.as_secs_f64();
        Some(format!("namespace {name}: its device hasn't answered a write or sync for {secs:.1} s"))
    }

    /// Everything about it, now. Looks at every partition once.
    pub fn stats(&self) -> NamespaceStats {
        let entries = self.index.len();
        let index_bytes = self.index.memory_bytes() as u64;
        let tombstones = self.tombstones();
        let log = self.log.stats();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        NamespaceStats {
            name: self.policy.name.clone(),
            values: match self.policy.values {
                Values::Ram { .. } => "ram",
                Values::Flash { cached: true, .. } => "flash-cached",
                Values::Flash { cached: false, .. } => "flash",
            }
            .to_owned(),
            records: entries.saturating_sub(tombstones),
            tombstones,
            sets: (self.sets.counts().into_iter())
                .map(|set| SetStats { name: set.name, records: set.records, bytes: set.bytes })
                .collect(),
            index: IndexStats {
                bytes: index_bytes,
                slots: self.index.slots(),
                bytes_per_record: if entries == 0 { 0.0 } else { index_bytes as f64 / entries as f64 },
            },
            cache: CacheStats {
                segment_hits: count(&self.counters.resident_hits),
                record_hits: count(&self.counters.cache_hits),
                misses: count(&self.counters.device_reads),
                segment_bytes: log.resident_bytes,
                record_bytes: self.cache.bytes(),
            },
            expired: count(&self.counters.expired),
            evicted: count(&self.counters.evicted),
            scan_notes_refused: count(&self.counters.scan_notes_refused),
            write_stops: count(&self.counters.stop_writes),
            stop_writes: log.free_segments <= log.reserve_segments,
            epoch: self.log.epoch(),
            log: self.log_stats(log),
        }
    }

    fn log_stats(&self, log: outcrop_flash::log::LogStats) -> LogStats {
        let device = match &self.policy.values {
            Values::Ram { .. } => String::new(),
            Values::Flash { .. } => log.device,
        };
        let counted = log.free_segments + log.sealed_segments + log.evacuating_segments + log.checkpoint_segments;
        LogStats {
            device,
            engine: log.engine.to_owned(),
            capacity_bytes: log.capacity_bytes,
            used_bytes: log.used_bytes,
            live_bytes: log.live_bytes,
            segments_free: log.free_segments.into(),
            segments_open: log.segments.saturating_sub(counted).into(),
            segments_sealed: log.sealed_segments.into(),
            segments_evacuating: log.evacuating_segments.into(),
            segments_checkpoint: log.checkpoint_segments.into(),
            appended_bytes: log.appended_bytes,
            flushed_bytes: log.written_bytes,
            syncs: log.syncs,
            sync_us_p50: log.sync_latency.quantile_us(0.5),
            sync_us_p99: log.sync_latency.quantile_us(0.99),
            sync_latency: log.sync_latency,
            oldest_operation_us: u64::try_from(log.oldest_operation.as_micros()).unwrap_or(u64::MAX),
            checkpoints: log.checkpoints,
            backpressure: log.backpressure,
            damaged_segments: log.damaged_segments.into(),
            unflushed_bytes: log.unflushed_bytes,
            reads: log.device_reads,
            read_bytes: log.device_read_bytes,
            corrupt_entries: self.counters.corrupt_reads.load(Ordering::Relaxed),
            defrag_segments: log.evacuated_segments,
            defrag_bytes: log.moved_bytes,
            defrag_read_bytes: log.evacuation_read_bytes,
            defrag_failures: log.failed_evacuations,
            defrag_bytes_per_sec: log.evacuation_bytes_per_sec,
            poisoned: self.log.poisoned(),
        }
    }
}
