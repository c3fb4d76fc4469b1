//! `aggregate` and `rows`: functions over the records of a set, a namespace, a range of partitions, or a list of keys.
//!
//! An aggregate's instances share one parallel scan, segment by segment; a row function follows one scan in the log's
//! order, so that each batch of rows has a cursor.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use outcrop_flash::Lsn;
use outcrop_wire::request::{AggregateRequest, RowsRequest, Target};
use outcrop_wire::{Code, Cursor, Digest, ReplyHeader, Verb};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answer::{Finished, Wait};
use super::call::wrong_kind;
use super::error::CommandError;
use super::functions::{Functions, answered, failed, report};
use super::told::Told;
use crate::store::Namespace;
use crate::store::scan::{ParallelScan, Progress, ScanError, ScanFilter, Scanner, SegmentScan, Sink};
use crate::udf::batch::{BATCH_BYTES, push};
use crate::udf::registry::Resolved;
use crate::udf::{BatchSource, Failed, FunctionKind, RowsPart, SourceError, Trace};

/// Keys that an instance takes at a time, and reads beside one another if their records are small.
const KEYS_A_BATCH: usize = 32;
/// Batches of the log that may pass before a batch is handed on even if nothing in them was asked for.
const PASSES_MAX: u32 = 64;
/// Batches of rows that wait for the caller to read.
const ROWS_AHEAD: usize = 4;

impl From<&ScanError> for SourceError {
    fn from(error: &ScanError) -> Self {
        let code = match error {
            ScanError::Cursor => Code::InvalidCursor,
            ScanError::Device { .. } => Code::DeviceError,
            ScanError::Outrun | ScanError::Abandoned => Code::Overloaded,
        };
        SourceError { code, message: error.to_string() }
    }
}

/// Gathers records until a batch is full.
struct BatchSink<'a>(&'a mut Vec<u8>);

impl Sink for BatchSink<'_> {
    fn record(&mut self, _digest: &Digest, stored: &[u8]) -> bool {
        if !self.0.is_empty() && self.0.len() + stored.len() > BATCH_BYTES {
            return false;
        }
        push(self.0, stored);
        true
    }
}

/// One instance's share of a parallel scan.
struct Segments {
    scan: Arc<ParallelScan>,
    segment: Option<SegmentScan>,
}

impl BatchSource for Segments {
    type Mark = ();

    async fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<()>, SourceError> {
        for _ in 0..PASSES_MAX {
            let segment = match &mut self.segment {
                Some(segment) => segment,
                empty => match self.scan.next_segment().await.map_err(|error| SourceError::from(&error))? {
                    Some(segment) => empty.insert(segment),
                    None if out.is_empty() => return Ok(None),
                    None => return Ok(Some(())),
                },
            };
            match segment.advance(&mut BatchSink(out)).await.map_err(|error| SourceError::from(&error))? {
                Progress::Full => return Ok(Some(())),
                Progress::More if out.len() >= BATCH_BYTES / 2 => return Ok(Some(())),
                Progress::More => {}
                Progress::End => self.segment = None,
            }
        }
        Ok(Some(()))
    }
}

/// One instance's share of a list of keys.
#[derive(Clone)]
struct Keys {
    namespace: Arc<Namespace>,
    digests: Arc<Vec<Digest>>,
    next: Arc<AtomicUsize>,
    /// Keys that this instance has taken and not read yet.
    taken: Range<usize>,
    /// The log number that what was read rests on.
    seen_end: Arc<AtomicU64>,
}

impl Keys {
    /// The next keys to read together: as many as fill a batch by what the index says of their lengths, at least one.
    fn take(&mut self) -> &[Digest] {
        if self.taken.is_empty() {
            let first = self.next.fetch_add(KEYS_A_BATCH, Ordering::Relaxed).min(self.digests.len());
            self.taken = first..(first + KEYS_A_BATCH).min(self.digests.len());
        }
        let first = self.taken.start;
        let mut bytes = 0;
        for digest in &self.digests[self.taken.clone()] {
            let entry = self.namespace.index.read(digest.partition()).get(digest);
            bytes += entry.map_or(0, |entry| entry.location.byte_len());
            if self.taken.start > first && bytes > BATCH_BYTES {
                break;
            }
            self.taken.start += 1;
        }
        &self.digests[first..self.taken.start]
    }
}

impl BatchSource for Keys {
    type Mark = ();

    async fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<()>, SourceError> {
        let namespace = self.namespace.clone();
        let keys = self.take();
        if keys.is_empty() {
            return Ok(None);
        }
        for read in join_all(keys.iter().map(|digest| namespace.read(*digest))).await {
            let (lookup, stored) =
                read.map_err(|error| SourceError { code: error.code(), message: error.to_string() })?;
            self.seen_end.fetch_max(lookup.durable_at.unwrap_or(Lsn(0)).0, Ordering::AcqRel);
            if let Some(stored) = stored {
                push(out, stored.as_ref());
            }
        }
        Ok(Some(()))
    }
}

/// Where a row query is in the log.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Where to go on behind this batch.
    pub cursor: Cursor,
    /// What must be durable before anybody sees its rows.
    pub seen_end: Lsn,
    /// Places of the log that were passed over so far because their bytes are damaged.
    pub damaged: u32,
}

/// A scan that paces itself.
struct Log {
    scanner: Scanner,
    records_per_sec: u32,
    /// When the next batch may be read.
    due: Instant,
    over: bool,
}

impl BatchSource for Log {
    type Mark = Place;

    async fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Place>, SourceError> {
        if self.over {
            return Ok(None);
        }
        if self.records_per_sec > 0 {
            tokio::time::sleep_until(self.due).await;
        }
        let before = self.scanner.cursor().emitted;
        for _ in 0..PASSES_MAX {
            match self.scanner.advance(&mut BatchSink(out)).await.map_err(|error| SourceError::from(&error))? {
                Progress::Full => break,
                Progress::More if out.len() >= BATCH_BYTES / 2 => break,
                Progress::More => {}
                Progress::End => {
                    self.over = true;
                    break;
                }
            }
        }
        if self.records_per_sec > 0 {
            let records = self.scanner.cursor().emitted.saturating_sub(before);
            let pause = Duration::from_secs(1).mul_f64(records as f64 / f64::from(self.records_per_sec));
            self.due = Instant::now() + pause;
        }
        let Log { scanner, .. } = self;
        Ok(Some(Place { cursor: scanner.cursor(), seen_end: scanner.seen_end(), damaged: scanner.damaged() }))
    }
}

/// What was asked, found and allowed; or the answer that says why not.
async fn resolve(
    functions: &Functions,
    path: &outcrop_wire::FunctionPath<'_>,
    namespace: &Namespace,
    kind: FunctionKind,
) -> Result<Resolved, Failed> {
    let resolved = functions.registry.load(path, namespace.id.0).await?;
    match resolved.kind == kind {
        true => Ok(resolved),
        false => Err(wrong_kind(&path.to_string(), &resolved, kind)),
    }
}

/// Runs an aggregate. Dropping the future stops it.
pub async fn aggregate(
    request_id: u32,
    functions: &Functions,
    namespace: &Arc<Namespace>,
    asked: &AggregateRequest<'_>,
) -> Result<Finished, CommandError> {
    let path = asked.function.to_string();
    let resolved = match resolve(functions, &asked.function, namespace, FunctionKind::Aggregate).await {
        Ok(resolved) => resolved,
        Err(error) => return Ok(failed((request_id, Verb::Aggregate), &path, None, &error, None)),
    };
    let began = Instant::now();
    let call = functions.call(&resolved, namespace, Bytes::copy_from_slice(asked.arguments));
    let width = resolved.loaded.prepared.query_width().max(1);
    let (ended, seen_end) = match &asked.target {
        Target::Scan { set, partition_first, partition_last } => {
            let filter = ScanFilter {
                set: set.map(str::to_owned),
                partition_first: *partition_first,
                partition_last: *partition_last,
            };
            let scan = ParallelScan::new(namespace.clone(), &filter);
            let sources = (0..width).map(|_| Segments { scan: scan.clone(), segment: None }).collect();
            let mut ended = resolved.loaded.prepared.aggregate(call, sources).await;
            if let Ok(ran) = &mut ended {
                ran.trace.usage.damaged_places = scan.damaged();
            }
            (ended, scan.seen_end())
        }
        Target::Keys(keys) => {
            let keys = Keys {
                namespace: namespace.clone(),
                digests: Arc::new(keys.iter().map(|key| key.digest()).collect()),
                next: Arc::default(),
                taken: 0..0,
                seen_end: Arc::default(),
            };
            let width = width.min(keys.digests.len().div_ceil(KEYS_A_BATCH)).max(1);
            let sources = vec![keys.clone(); width];
            let ended = resolved.loaded.prepared.aggregate(call, sources).await;
            (ended, Lsn(keys.seen_end.load(Ordering::Acquire)))
        }
    };
    functions.record(&resolved, ended.as_ref(), began.elapsed());
    let wait = (namespace.policy.commit == crate::store::Commit::Flash && seen_end.0 > 0)
        .then_some(Wait { namespace: namespace.id.0, end: seen_end });
    match ended {
        Err(error) => {
            let mut finished = failed((request_id, Verb::Aggregate), &path, Some(&resolved), &error, wait);
            finished.told = Some(Told::failed(&resolved, error));
            Ok(finished)
        }
        Ok(ran) => {
            // Whoever takes a part for the whole has to be told, asked or not.
            let told = asked.report || ran.trace.usage.damaged_places > 0;
            let report = if told { report(&resolved, &ran.trace)? } else { Vec::new() };
            let mut finished = answered(&ReplyHeader::new(request_id, Verb::Aggregate, Code::Ok), &ran, &report, wait);
            finished.told = Some(Told::ran(&resolved, ran.trace));
            Ok(finished)
        }
    }
}

/// The end of a row query, to be waited for.
pub type Ended = std::pin::Pin<Box<dyn Future<Output = Result<Trace, Failed>> + Send>>;

/// A row query under way.
pub struct Rows {
    /// Its batches, in order.
    pub parts: mpsc::Receiver<RowsPart<Place>>,
    /// Its end.
    pub ended: Ended,
    /// Its function.
    pub resolved: Resolved,
}

/// Begins a row query; `Err(Ok(_))`: the answer that says why not.
pub async fn rows(functions: &Functions, namespace: &Arc<Namespace>, asked: &RowsRequest<'_>) -> Result<Rows, Failed> {
    let resolved = resolve(functions, &asked.function, namespace, FunctionKind::Row).await?;
    let filter = ScanFilter {
        set: asked.scan.set.map(str::to_owned),
        partition_first: asked.scan.partition_first,
        partition_last: asked.scan.partition_last,
    };
    let scanner = Scanner::new(namespace.clone(), filter, asked.scan.cursor).map_err(|error| {
        let error = SourceError::from(&error);
        Failed::new(error.code, error.message)
    })?;
    let records_per_sec = asked.scan.records_per_sec;
    let source = Log { scanner, records_per_sec, due: Instant::now(), over: false };
    let call = functions.call(&resolved, namespace, Bytes::copy_from_slice(asked.arguments));
    let (out, parts) = mpsc::channel(ROWS_AHEAD);
    let ended = Box::pin(resolved.loaded.prepared.rows(call, source, out));
    Ok(Rows { parts, ended, resolved })
}
