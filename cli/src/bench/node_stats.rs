//! What the measured node says of itself: CPU seconds, memory, index and device, before and after.

use outcrop_client::{Client, ClientError};
use serde::{Deserialize, Serialize};

/// Statistics that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The node doesn't answer.
    #[error("the node's statistics: {0}")]
    Client(#[from] ClientError),
    /// The node's answer isn't what this version understands.
    #[error("the node's statistics can't be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// The part of the node's statistics that a bench needs; what an older node doesn't say is zero.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStats {
    /// Version of the node.
    pub version: String,
    /// Worker threads.
    pub workers: u32,
    /// CPU and memory.
    pub process: ProcessStats,
    /// Namespaces.
    pub namespaces: Vec<NamespaceStats>,
}

/// The node's process.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ProcessStats {
    /// CPU seconds since its start.
    pub cpu_seconds: f64,
    /// Memory in RAM.
    pub resident_bytes: u64,
}

/// A namespace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStats {
    /// Its name.
    pub name: String,
    /// Where values are.
    pub values: String,
    /// Records.
    pub records: u64,
    /// The index.
    pub index: IndexStats,
    /// The log.
    pub log: LogStats,
    /// The cache.
    pub cache: CacheStats,
}

/// The index.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct IndexStats {
    /// Its memory.
    pub bytes: u64,
    /// The same for each entry.
    pub bytes_per_record: f64,
}

/// The log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LogStats {
    /// How the device is read and written.
    pub engine: String,
    /// Bytes of segments that aren't free.
    pub used_bytes: u64,
    /// Bytes of current entries.
    pub live_bytes: u64,
    /// Bytes appended.
    pub appended_bytes: u64,
    /// Bytes written to the device.
    pub flushed_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Reads of the device.
    pub reads: u64,
    /// Bytes read from the device.
    pub read_bytes: u64,
    /// Bytes moved by defrag.
    pub defrag_bytes: u64,
}

/// The cache.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct CacheStats {
    /// Reads served from segments in memory.
    pub segment_hits: u64,
    /// Reads served from the cache of hot records.
    pub record_hits: u64,
    /// Reads that went to the device.
    pub misses: u64,
}

/// What the node did between two looks, and how it stood at the second.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NodeFigures {
    /// Version of the node.
    pub version: String,
    /// Worker threads.
    pub workers: u32,
    /// Where values are.
    pub values: String,
    /// How the device is read and written.
    pub engine: String,
    /// CPU seconds in between.
    pub cpu_secs: f64,
    /// The same for each operation, in us.
    pub cpu_us_per_op: f64,
    /// The same for each record, in us.
    pub cpu_us_per_record: f64,
    /// Memory in RAM at the end.
    pub resident_bytes: u64,
    /// The same for each record of the namespace.
    pub resident_bytes_per_record: f64,
    /// Records of the namespace at the end.
    pub records: u64,
    /// Memory of the index for each entry.
    pub index_bytes_per_record: f64,
    /// Bytes of current entries of the log for each record.
    pub live_bytes_per_record: f64,
    /// Bytes of the log's segments in use for each record.
    pub used_bytes_per_record: f64,
    /// Bytes written to the device in between.
    pub flushed_bytes: u64,
    /// Syncs of the device in between.
    pub syncs: u64,
    /// Reads of the device in between.
    pub device_reads: u64,
    /// Bytes read from the device in between.
    pub device_read_bytes: u64,
    /// Bytes moved by defrag in between.
    pub defrag_bytes: u64,
    /// Of the reads in between, how many were served from memory: 0 to 1.
    pub cache_hit_ratio: f64,
}

/// Asks the node.
pub async fn node_stats(client: &Client) -> Result<NodeStats, StatsError> {
    Ok(serde_json::from_str(&client.info("").await?)?)
}

fn ratio(part: f64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part / whole as f64 }
}

impl NodeStats {
    fn namespace(&self, name: &str) -> NamespaceStats {
        self.namespaces.iter().find(|namespace| namespace.name == name).cloned().unwrap_or_default()
    }

    /// What happened in `namespace` since `before`, in which there were `ops` operations on `records` records.
    pub fn since(&self, before: &NodeStats, namespace: &str, ops: u64, records: u64) -> NodeFigures {
        let (now, then) = (self.namespace(namespace), before.namespace(namespace));
        let cpu_secs = (self.process.cpu_seconds - before.process.cpu_seconds).max(0.0);
        let hits = |stats: &NamespaceStats| stats.cache.segment_hits + stats.cache.record_hits;
        let hits_between = hits(&now).saturating_sub(hits(&then));
        let misses_between = now.cache.misses.saturating_sub(then.cache.misses);
        NodeFigures {
            version: self.version.clone(),
            workers: self.workers,
            values: now.values.clone(),
            engine: now.log.engine.clone(),
            cpu_secs,
            cpu_us_per_op: ratio(cpu_secs * 1e6, ops),
            cpu_us_per_record: ratio(cpu_secs * 1e6, records),
            resident_bytes: self.process.resident_bytes,
            resident_bytes_per_record: ratio(self.process.resident_bytes as f64, now.records),
            records: now.records,
            index_bytes_per_record: now.index.bytes_per_record,
            live_bytes_per_record: ratio(now.log.live_bytes as f64, now.records),
            used_bytes_per_record: ratio(now.log.used_bytes as f64, now.records),
            flushed_bytes: now.log.flushed_bytes.saturating_sub(then.log.flushed_bytes),
            syncs: now.log.syncs.saturating_sub(then.log.syncs),
            device_reads: now.log.reads.saturating_sub(then.log.reads),
            device_read_bytes: now.log.read_bytes.saturating_sub(then.log.read_bytes),
            defrag_bytes: now.log.defrag_bytes.saturating_sub(then.log.defrag_bytes),
            cache_hit_ratio: ratio(hits_between as f64, hits_between + misses_between),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_differences_and_shares() {
        let before = r#"{"process":{"cpu_seconds":1.5},"namespaces":[{"name":"test","cache":{"misses":10}}]}"#;
        let after = r#"{"version":"0.1.0","workers":2,"later":{"x":1},"process":{"cpu_seconds":2.5,"resident_bytes":4000},
            "namespaces":[{"name":"other"},{"name":"test","records":10,"values":"ram","index":{"bytes_per_record":38.5},
            "log":{"live_bytes":1200,"used_bytes":2400,"syncs":3},"cache":{"segment_hits":20,"record_hits":10,"misses":20}}]}"#;
        let (before, after): (NodeStats, NodeStats) =
            (serde_json::from_str(before).expect("json"), serde_json::from_str(after).expect("json"));
        let figures = after.since(&before, "test", 1_000_000, 2_000_000);
        assert_eq!((figures.cpu_secs, figures.cpu_us_per_op, figures.cpu_us_per_record), (1.0, 1.0, 0.5));
        assert_eq!((figures.live_bytes_per_record, figures.used_bytes_per_record), (120.0, 240.0));
        assert_eq!((figures.resident_bytes_per_record, figures.index_bytes_per_record), (400.0, 38.5));
        assert_eq!((figures.cache_hit_ratio, figures.syncs, figures.records), (0.75, 3, 10));
        let nothing = after.since(&after, "absent", 0, 0);
        assert_eq!((nothing.cpu_us_per_op, nothing.records, nothing.cache_hit_ratio), (0.0, 0, 0.0));
    }
}
