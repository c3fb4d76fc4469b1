//! Index, log, cache and sets of each namespace as metrics, from one snapshot.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::super::stats::{NamespaceStats, NodeStats};
use super::encode::Families;

/// One scrape's statistics.
#[derive(Debug)]
pub(super) struct StatsCollector(pub(super) NodeStats);

/// A counter or gauge that is one number of each namespace.
type Column = (&'static str, Option<Unit>, &'static str, fn(&NamespaceStats) -> u64);

const GAUGES: [Column; 15] = [
    ("namespace_records", None, "Records of a namespace", |ns| ns.records),
    ("namespace_tombstones", None, "Deletes that still have to be remembered", |ns| ns.tombstones),
    ("index_memory", Some(Unit::Bytes), "Memory of the index", |ns| ns.index.bytes),
    ("index_slots", None, "Entries that the index has memory for; it grows by chunks", |ns| ns.index.slots),
    ("log_damaged_segments", None, "Segments with bytes that are no intact entry", |ns| ns.log.damaged_segments),
    ("log_capacity", Some(Unit::Bytes), "Bytes that the log may use", |ns| ns.log.capacity_bytes),
    ("log_used", Some(Unit::Bytes), "Bytes of segments that are not free", |ns| ns.log.used_bytes),
    ("log_live", Some(Unit::Bytes), "Bytes of entries that are current", |ns| ns.log.live_bytes),
    ("log_unflushed", Some(Unit::Bytes), "Bytes appended and not yet written", |ns| ns.log.unflushed_bytes),
    ("log_poisoned", None, "1 if a write or sync failed and the log takes no writes", |ns| {
        ns.log.poisoned.is_some().into()
    }),
    ("namespace_stop_writes", None, "1 if writes are refused because the device is nearly full", |ns| {
        ns.stop_writes.into()
    }),
    ("cache_segment_memory", Some(Unit::Bytes), "Segments kept in memory", |ns| ns.cache.segment_bytes),
    ("cache_record_memory", Some(Unit::Bytes), "Hot records kept in memory", |ns| ns.cache.record_bytes),
    ("log_epoch", None, "Epoch of the log: one more after each start", |ns| ns.epoch),
    ("namespace_sets", None, "Sets of a namespace", |ns| ns.sets.len() as u64),
];

const COUNTERS: [Column; 18] = [
    ("log_appended", Some(Unit::Bytes), "Bytes appended to the log", |ns| ns.log.appended_bytes),
    ("log_flushed", Some(Unit::Bytes), "Bytes written to the device", |ns| ns.log.flushed_bytes),
    ("log_syncs", None, "Syncs of the device", |ns| ns.log.syncs),
    ("log_backpressure", None, "Writes told to wait because the write buffer was full", |ns| ns.log.backpressure),
    ("log_checkpoints", None, "Checkpoints of the index", |ns| ns.log.checkpoints),
    ("log_reads", None, "Reads of the device", |ns| ns.log.reads),
    ("log_read", Some(Unit::Bytes), "Bytes read from the device", |ns| ns.log.read_bytes),
    ("log_corrupt_entries", None, "Entries whose bytes turned out damaged", |ns| ns.log.corrupt_entries),
    ("defrag_segments", None, "Segments emptied by defragmentation", |ns| ns.log.defrag_segments),
    ("defrag_failed_segments", None, "Segments that defragmentation gave up", |ns| ns.log.defrag_failures),
    ("defrag_read", Some(Unit::Bytes), "Bytes read by defragmentation", |ns| ns.log.defrag_read_bytes),
    ("defrag_moved", Some(Unit::Bytes), "Bytes moved by defragmentation", |ns| ns.log.defrag_bytes),
    ("namespace_expired_records", None, "Records that expired and were removed", |ns| ns.expired),
    ("namespace_evicted_records", None, "Records evicted before they expired", |ns| ns.evicted),
    ("namespace_scan_unnoted_changes", None, "Changes that running scans had no room to note", |ns| {
        ns.scan_notes_refused
    }),
    ("namespace_refused_writes", None, "Writes refused because the device was nearly full", |ns| ns.write_stops),
    ("cache_misses", None, "Reads that went to the device", |ns| ns.cache.misses),
    ("cache_record_hits", None, "Reads served from the cache of hot records", |ns| ns.cache.record_hits),
];

impl Collector for StatsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.0;
        let mut families = Families(encoder);
        let info = vec![("version", stats.version.as_str()), ("node", stats.node_id.as_str())];
        families.gauge("build_info", None, "1, with the version and identity of the node", [(info, 1_u64)])?;
        families.gauge("uptime", Some(Unit::Seconds), "Time since the node started", [(vec![], stats.uptime_secs)])?;
        families.gauge("workers", None, "Worker threads", [(vec![], u64::from(stats.workers))])?;
        families.gauge("draining", None, "1 while the node shuts down", [(vec![], u64::from(stats.draining))])?;
        let cpu = [(vec![], stats.process.cpu_seconds)];
        families.counter("process_cpu", Some(Unit::Seconds), "CPU time of the process", cpu)?;
        let memory = [(vec![], stats.process.resident_bytes)];
        families.gauge("process_resident_memory", Some(Unit::Bytes), "Memory of the process in RAM", memory)?;
        for (name, unit, help, value) in GAUGES {
            let samples = stats.namespaces.iter().map(|ns| (vec![("namespace", ns.name.as_str())], value(ns)));
            families.gauge(name, unit, help, samples)?;
        }
        for (name, unit, help, value) in COUNTERS {
            let samples = stats.namespaces.iter().map(|ns| (vec![("namespace", ns.name.as_str())], value(ns)));
            families.counter(name, unit, help, samples)?;
        }
        super::functions::encode(stats.functions.as_ref(), &mut families)?;
        encode_irregular(&stats.namespaces, &mut families)
    }
}

/// What isn't one whole number of each namespace.
fn encode_irregular(namespaces: &[NamespaceStats], families: &mut Families<'_>) -> fmt::Result {
    let each = || namespaces.iter().map(|ns| (ns, ns.name.as_str()));
    let per_record = each().map(|(ns, name)| (vec![("namespace", name)], ns.index.bytes_per_record));
    families.gauge("index_record_memory", Some(Unit::Bytes), "Memory of the index for each entry", per_record)?;
    let hits = each().map(|(ns, name)| (vec![("namespace", name)], ns.cache.segment_hits));
    let limits = each().map(|(ns, name)| {
        let limit = ns.log.defrag_bytes_per_sec.map_or(f64::INFINITY, |limit| limit as f64);
        (vec![("namespace", name)], limit)
    });
    let help = "Bytes a second that defragmentation may read now; infinite when free segments are few";
    families.gauge("defrag_limit_bytes_per_second", None, help, limits)?;
    let oldest = each().map(|(ns, name)| (vec![("namespace", name)], ns.log.oldest_operation_us as f64 / 1e6));
    let help = "Age of the oldest write or sync that the device hasn't answered; 0 without any";
    families.gauge("log_oldest_operation", Some(Unit::Seconds), help, oldest)?;
    encode_syncs(namespaces, families)?;
    families.counter("cache_segment_hits", None, "Reads served from segments in memory", hits)?;
    let segments = each().flat_map(|(ns, name)| {
        let log = &ns.log;
        let states = [
            ("free", log.segments_free),
            ("open", log.segments_open),
            ("sealed", log.segments_sealed),
            ("evacuating", log.segments_evacuating),
            ("checkpoint", log.segments_checkpoint),
        ];
        states.map(|(state, count)| (vec![("namespace", name), ("state", state)], count))
    });
    families.gauge("log_segments", None, "Segments by state", segments)?;
    let sets = || namespaces.iter().flat_map(|ns| ns.sets.iter().map(move |set| (ns, set)));
    let records =
        sets().map(|(ns, set)| (vec![("namespace", ns.name.as_str()), ("set", set.name.as_str())], set.records));
    families.gauge("set_records", None, "Records of a set", records)?;
    let bytes = sets().map(|(ns, set)| (vec![("namespace", ns.name.as_str()), ("set", set.name.as_str())], set.bytes));
    families.gauge("set_stored", Some(Unit::Bytes), "Bytes of a set's records in the log", bytes)
}

/// Histograms of the namespaces that have a device.
fn encode_syncs(namespaces: &[NamespaceStats], families: &mut Families<'_>) -> fmt::Result {
    let on_device = namespaces.iter().filter(|ns| !ns.log.device.is_empty());
    let histograms = on_device.map(|ns| {
        let latency = &ns.log.sync_latency;
        let within = latency.within.iter().map(|(bound_us, count)| (*bound_us as f64 / 1e6, *count));
        let buckets = within.chain([(f64::INFINITY, latency.slower)]).collect();
        (vec![("namespace", ns.name.as_str())], latency.sum_us as f64 / 1e6, buckets)
    });
    families.histogram("log_sync_duration", Some(Unit::Seconds), "Time of a sync of the device", histograms)
}
