//! Statistics of the node's parts at one moment: what `/metrics` is made from, and the JSON of `/stats` and of the verb
//! `info`.
//!
//! Names are stable: fields are added, never renamed. Counters count from the node's start.

use outcrop_flash::log::SyncLatency;
use serde::Serialize;

/// Who can tell.
pub trait StatsSource: Send + Sync + 'static {
    /// Everything, now. May take locks for a moment; it is asked a few times a minute.
    fn snapshot(&self) -> NodeStats;

    /// Why the node isn't fit to be used although it is open, for example a poisoned device. Cheap.
    fn trouble(&self) -> Option<String>;
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NodeStats {
    /// The node's identity, kept over restarts, in hexadecimal.
    pub node_id: String,
    /// Version of the build.
    pub version: String,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Worker threads.
    pub workers: u32,
    /// Whether it is shutting down.
    pub draining: bool,
    /// Each namespace.
    pub namespaces: Vec<NamespaceStats>,
    /// Background jobs.
    pub jobs: JobStats,
    /// Requests by verb; verbs that were never used are left out.
    pub requests: Vec<VerbStats>,
    /// Connections and what hangs on them.
    pub quic: QuicStats,
    /// Process memory and CPU.
    pub process: ProcessStats,
    /// Functions; none if the node runs none.
    pub functions: Option<FunctionHostStats>,
}

/// Functions of a node: the engine, the compiler, and what calls came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FunctionHostStats {
    /// Instances that may be alive at once.
    pub instances_max: u64,
    /// Instances that calls and queries use.
    pub instances_in_use: u64,
    /// Instances that were wiped after a call and wait for another one.
    pub instances_kept: u64,
    /// Calls that such an instance served.
    pub instances_reused: u64,
    /// Calls that wait for an instance.
    pub instances_waiting: u64,
    /// Modules that are being compiled or wait for it.
    pub compiling: u64,
    /// Compilations that have ended.
    pub compilations: u64,
    /// Of these, those that were refused.
    pub compilations_refused: u64,
    /// Time of all of them.
    pub compile_seconds: f64,
    /// Modules taken from the cache of compiled ones.
    pub cache_hits: u64,
    /// Log lines of functions that the process's log left out because there were too many.
    pub log_lines_left_out: u64,
    /// Each function that was called.
    pub functions: Vec<FunctionCallStats>,
}

/// Calls of one function, over all versions of its module.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FunctionCallStats {
    /// Its module.
    pub module: String,
    /// Its name.
    pub function: String,
    /// Calls by the name of their code.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Calls by the limit that ended them.
    pub limits: Vec<(&'static str, u64)>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// High water of an instance's memory.
    pub memory_bytes_max: u64,
    /// Records that queries went through.
    pub records: u64,
    /// Log lines that were dropped.
    pub logs_dropped: u64,
    /// Calls that took no longer than so many microseconds (and longer than those before); then the slower ones.
    pub latency_us: Vec<(u64, u64)>,
    /// Calls slower than the last of these.
    pub latency_slower: u64,
    /// Time of all calls, in microseconds.
    pub latency_us_sum: u64,
}

/// Background jobs: how many there are by state, and what they have done since the node started.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JobStats {
    /// Those that go on.
    pub running: u64,
    /// Those that wait to be resumed.
    pub paused: u64,
    /// Those that visited every record.
    pub done: u64,
    /// Those that gave up.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Records visited.
    pub records: u64,
    /// Of these, those that were changed.
    pub changed: u64,
    /// Of these, those on which the function failed.
    pub failures: u64,
}

/// Requests of one verb.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VerbStats {
    /// The verb.
    pub verb: &'static str,
    /// Requests that were answered.
    pub requests: u64,
    /// Of these, ones answered with a code other than `ok`, `not_found`, `already_exists` and `generation_mismatch`.
    pub errors: u64,
    /// Bytes of requests.
    pub received_bytes: u64,
    /// Bytes of replies.
    pub sent_bytes: u64,
    /// Mean latency in microseconds.
    pub latency_us_mean: f64,
    /// Median latency in microseconds, to an eighth.
    pub latency_us_p50: u64,
    /// 99th percentile.
    pub latency_us_p99: u64,
    /// 99.9th percentile.
    pub latency_us_p999: u64,
}

/// Connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QuicStats {
    /// Open connections.
    pub connections: i64,
    /// Open lanes.
    pub lanes: i64,
    /// Open streams with a large request each.
    pub large_streams: i64,
    /// Scans under way.
    pub scans: i64,
    /// Requests under way.
    pub inflight: i64,
}

/// The process.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProcessStats {
    /// CPU seconds in user mode and in the kernel.
    pub cpu_seconds: f64,
    /// Memory in RAM.
    pub resident_bytes: u64,
}

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NamespaceStats {
    /// Its name.
    pub name: String,
    /// `flash`, `flash-cached` or `ram`.
    pub values: String,
    /// Records that are there (expired ones count until they are swept).
    pub records: u64,
    /// Tombstones that still have to be kept.
    pub tombstones: u64,
    /// Its sets.
    pub sets: Vec<SetStats>,
    /// The index.
    pub index: IndexStats,
    /// The log.
    pub log: LogStats,
    /// The cache.
    pub cache: CacheStats,
    /// Records that expired and were removed.
    pub expired: u64,
    /// Records evicted before they expired.
    pub evicted: u64,
    /// Changes that a running scan couldn't take note of: it may give these records twice.
    pub scan_notes_refused: u64,
    /// Writes refused because the device is nearly full.
    pub write_stops: u64,
    /// Whether writes are refused now because the device is nearly full.
    pub stop_writes: bool,
    /// Epoch of the log: one more after each start.
    pub epoch: u64,
}

/// One set.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SetStats {
    /// Its name.
    pub name: String,
    /// Its records.
    pub records: u64,
    /// Their bytes in the log.
    pub bytes: u64,
}

/// The index of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IndexStats {
    /// Memory of the index.
    pub bytes: u64,
    /// Entries that it has memory for: it grows by chunks of its partitions, each of a sixteenth or less.
    pub slots: u64,
    /// The same for each entry, tombstones included; 0 without entries.
    pub bytes_per_record: f64,
}

/// The log of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LogStats {
    /// Path of the device, empty in memory.
    pub device: String,
    /// `io_uring`, `pread` or `void`.
    pub engine: String,
    /// Bytes that it may use.
    pub capacity_bytes: u64,
    /// Bytes of segments that aren't free.
    pub used_bytes: u64,
    /// Bytes of entries that are current.
    pub live_bytes: u64,
    /// Segments by state.
    pub segments_free: u64,
    /// Being filled.
    pub segments_open: u64,
    /// Full.
    pub segments_sealed: u64,
    /// Being emptied by defrag.
    pub segments_evacuating: u64,
    /// With a checkpoint of the index.
    pub segments_checkpoint: u64,
    /// Bytes appended.
    pub appended_bytes: u64,
    /// Bytes written to the device.
    pub flushed_bytes: u64,
    /// Syncs of the device.
    pub syncs: u64,
    /// Median time of a sync in microseconds, to a half.
    pub sync_us_p50: u64,
    /// 99th percentile.
    pub sync_us_p99: u64,
    /// How long they took.
    #[serde(skip)]
    pub sync_latency: SyncLatency,
    /// How long the oldest write or sync under way has had no answer, in microseconds; 0 if none is under way.
    pub oldest_operation_us: u64,
    /// Checkpoints of the index that were written.
    pub checkpoints: u64,
    /// Writes that were told to wait because the write buffer was full.
    pub backpressure: u64,
    /// Segments in which bytes were found that are no intact entry.
    pub damaged_segments: u64,
    /// Appended and not yet written.
    pub unflushed_bytes: u64,
    /// Reads of the device.
    pub reads: u64,
    /// Bytes read from the device.
    pub read_bytes: u64,
    /// Entries whose bytes turned out damaged.
    pub corrupt_entries: u64,
    /// Segments emptied by defrag.
    pub defrag_segments: u64,
    /// Bytes moved by defrag.
    pub defrag_bytes: u64,
    /// Bytes read by defrag.
    pub defrag_read_bytes: u64,
    /// Segments that defrag gave up.
    pub defrag_failures: u64,
    /// Bytes that defrag may read in a second now; `None`: as many as it can.
    pub defrag_bytes_per_sec: Option<u64>,
    /// Why the log takes no writes any more; `None`: it does.
    pub poisoned: Option<String>,
}

/// The cache of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CacheStats {
    /// Reads served from segments in memory.
    pub segment_hits: u64,
    /// Reads served from the cache of hot records.
    pub record_hits: u64,
    /// Reads that went to the device.
    pub misses: u64,
    /// Bytes of segments in memory.
    pub segment_bytes: u64,
    /// Bytes of hot records in memory.
    pub record_bytes: u64,
}
