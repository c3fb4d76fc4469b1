//! Where finished requests wait for the exporting thread: one line for each worker, bounded, emptied all at once.
//!
//! Its lock is taken by the worker that owns the line and, about once a second, by the exporting thread for the moment
//! of swapping two vectors. Nobody is woken for a record, only for a line that is a quarter full.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::record::Record;
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::Counter;

/// Requests waiting in one worker's line, at most; about 0.4 KiB each.
pub const LINE_REQUESTS_MAX: usize = 8_192;
/// The exporting thread is woken when a line is this long, and whenever it is that long again.
pub(super) const WAKE_REQUESTS: usize = 2_048;
/// Bytes of attributes, events and child spans in one worker's line, at most.
const LINE_NOTES_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    notes_bytes: usize,
}

/// One worker's line.
#[derive(Debug)]
pub(super) struct Line {
    waiting: Mutex<Waiting>,
    wake: Arc<Notify>,
    metrics: WorkerMetrics,
}

impl Line {
    /// Takes a record if there is room; counts its spans as dropped if not.
    pub fn offer(&self, record: Record) {
        let notes_bytes = record.notes.as_ref().map_or(0, |notes| notes.weight());
        let mut waiting = self.waiting.lock();
        let length = waiting.records.len();
        if length == LINE_REQUESTS_MAX || waiting.notes_bytes + notes_bytes > LINE_NOTES_BYTES_MAX {
            drop(waiting);
            self.metrics.count_by(Counter::SpansDropped, record.spans());
            return;
        }
        waiting.records.push(record);
        waiting.notes_bytes += notes_bytes;
        drop(waiting);
        if (length + 1).is_multiple_of(WAKE_REQUESTS) {
            self.wake.notify_one();
        }
    }

    /// Everything that waits, in exchange for an empty vector: neither side allocates again and again.
    pub fn swap(&self, empty: &mut Vec<Record>) {
        let mut waiting = self.waiting.lock();
        std::mem::swap(&mut waiting.records, empty);
        waiting.notes_bytes = 0;
    }
}

/// All lines of a node.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Mutex<Vec<Arc<Line>>>,
    wake: Arc<Notify>,
    metrics: WorkerMetrics,
}

impl Lines {
    pub fn new(metrics: WorkerMetrics) -> Self {
        Lines { lines: Mutex::default(), wake: Arc::default(), metrics }
    }

    /// One line more.
    pub fn line(&self) -> Arc<Line> {
        let line = Line { waiting: Mutex::default(), wake: self.wake.clone(), metrics: self.metrics.clone() };
        let line = Arc::new(line);
        self.lines.lock().push(line.clone());
        line
    }

    /// Returns when a line has grown long.
    pub async fn grown(&self) {
        self.wake.notified().await;
    }

    /// All lines there are.
    pub fn all(&self) -> Vec<Arc<Line>> {
        self.lines.lock().clone()
    }
}
