//! A scan's stream: frames of records, as fast as the caller reads and no faster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::limits::{QUERY_FRAME_BYTES_MAX, SCAN_FRAME_BYTES};
use outcrop_wire::reply::{ScanPart, encode_error};
use outcrop_wire::request::{RequestBody, ScanRequest, decode_request, peek_request_id};
use outcrop_wire::{BinSelection, Code, Cursor, Digest, ReplyHeader, StoredRecord, Verb};
use tokio::time::Instant;

use super::frames::Frames;
use super::io::{Receive, Transmit};
use super::query;
use super::session::Session;
use crate::command::error::CommandError;
use crate::command::{get, route};
use crate::store::scan::{Progress, ScanError, ScanFilter, Scanner, Sink};
use crate::telemetry::metrics::Counter;

/// Batches of the log that a scan may go through before other requests of its worker get their turn.
const BATCHES_A_TURN: u32 = 4;

/// Batches after which a frame is sent even if nothing in them was asked for.
const BATCHES_A_FRAME: u32 = 256;

/// Serves one scan.
pub async fn serve(session: Arc<Session>, receive: impl Receive, mut transmit: impl Transmit) -> Result<(), String> {
    let mut frames = Frames::new(receive, QUERY_FRAME_BYTES_MAX);
    let frame = loop {
        match frames.next_here().map_err(|error| error.to_string())? {
            Some(frame) => break frame,
            None if frames.more().await.map_err(|error| error.to_string())? => {}
            None => return Err("the stream ended before its request".to_owned()),
        }
    };
    let began = Instant::now();
    let mut span = session.span(&frame, began);
    if let Some(served) = query::serve(&session, &frame, &mut transmit).await {
        let query::Served { verb, code, bytes, mut told } = served?;
        Session::tell(&mut span, &mut told);
        session.record(verb, code, began.elapsed(), frame.len(), bytes, span);
        transmit.finish();
        transmit.delivered().await;
        return Ok(());
    }
    let id = peek_request_id(&frame).unwrap_or(0);
    let (code, bytes_out) = match run(&session, &frame, id, &mut transmit).await {
        Ok(sent) => {
            if let Some(span) = &mut span {
                span.returned(sent.records);
            }
            (Code::Ok, sent.bytes)
        }
        Err(Ended::Refused(error)) => {
            let mut out = Vec::with_capacity(256);
            let start = begin_frame(&mut out);
            encode_error(&ReplyHeader::new(id, Verb::Scan, error.code), &error.message, &mut out);
            end_frame(&mut out, start);
            transmit.transmit(Bytes::from(out)).await.map_err(|error| error.to_string())?;
            (error.code, 0)
        }
        Err(Ended::Gone(message)) => return Err(message),
    };
    session.record(Verb::Scan, code, began.elapsed(), frame.len(), bytes_out, span);
    transmit.finish();
    transmit.delivered().await;
    Ok(())
}

/// What a scan that ended sent.
#[derive(Default)]
struct Sent {
    bytes: usize,
    records: u64,
}

/// Why a scan ended early.
enum Ended {
    Refused(CommandError),
    Gone(String),
}

impl From<CommandError> for Ended {
    fn from(error: CommandError) -> Self {
        Ended::Refused(error)
    }
}

impl From<ScanError> for Ended {
    fn from(error: ScanError) -> Self {
        let code = match error {
            ScanError::Cursor => Code::InvalidCursor,
            ScanError::Device { .. } => Code::DeviceError,
            ScanError::Outrun | ScanError::Abandoned => Code::Overloaded,
        };
        Ended::Refused(CommandError::new(code, error.to_string()))
    }
}

/// One frame's records.
struct FrameSink<'a> {
    out: Vec<u8>,
    count: u32,
    left: u64,
    bins: &'a BinSelection<'a>,
}

impl Sink for FrameSink<'_> {
    fn record(&mut self, _digest: &Digest, stored: &[u8]) -> bool {
        if self.left == 0 || (self.count > 0 && self.out.len() + stored.len() > SCAN_FRAME_BYTES) {
            return false;
        }
        let start = begin_frame(&mut self.out);
        match self.bins {
            BinSelection::All => self.out.extend_from_slice(stored),
            BinSelection::None => {
                if let Ok(record) = StoredRecord::parse(stored) {
                    record.header.encode(record.key, 0, &mut self.out);
                }
            }
            BinSelection::Named(names) => {
                if let Err(error) = get::select(stored, names, &mut self.out) {
                    tracing::error!(message = error.message, "a record of a scan can't be read");
                    self.out.truncate(start);
                    return true;
                }
            }
        }
        end_frame(&mut self.out, start);
        self.count += 1;
        self.left -= 1;
        true
    }
}

async fn run(session: &Session, frame: &[u8], id: u32, transmit: &mut impl Transmit) -> Result<Sent, Ended> {
    let (header, body) = decode_request(frame).map_err(CommandError::from)?;
    let RequestBody::Scan(scan) = body else {
        return Err(CommandError::new(Code::InvalidRequest, "a scan's stream takes one scan").into());
    };
    let namespace = route::namespace(&session.context, header.namespace)?;
    let filter = ScanFilter {
        set: scan.set.map(str::to_owned),
        partition_first: scan.partition_first,
        partition_last: scan.partition_last,
    };
    let mut scanner = Scanner::new(namespace.clone(), filter, scan.cursor)?;
    let mut left = if scan.limit == 0 { u64::MAX } else { scan.limit };
    let mut pace = Pace::new(scan.records_per_sec);
    let mut sent = Sent::default();
    let mut told = 0;
    loop {
        if session.context.is_draining() {
            return Err(CommandError::new(Code::Draining, "the node is shutting down").into());
        }
        let quota = pace.quota().await;
        let (sink, end) = fill(&mut scanner, &scan, left.min(quota)).await?;
        left -= u64::from(sink.count);
        sent.records += u64::from(sink.count);
        session.metrics.count_by(Counter::ScanRecords, sink.count.into());
        pace.spend(sink.count);
        let end = end || left == 0;
        if namespace.policy.commit == crate::store::Commit::Flash {
            // Nobody sees a record that a crash could still take back.
            let durable = namespace.log.wait_durable(scanner.seen_end()).await;
            durable.map_err(|error| CommandError::new(Code::DevicePoisoned, error.to_string()))?;
        }
        let damaged = scanner.damaged() - told;
        told += damaged;
        let bytes = part(id, sink, scanner.cursor(), damaged, end);
        sent.bytes += bytes.len();
        transmit.transmit(bytes).await.map_err(|error| Ended::Gone(error.to_string()))?;
        if end {
            return Ok(sent);
        }
    }
}

/// Fills one frame; whether the scan is at its end.
async fn fill<'a>(
    scanner: &mut Scanner,
    scan: &'a ScanRequest<'a>,
    quota: u64,
) -> Result<(FrameSink<'a>, bool), Ended> {
    let out = Vec::with_capacity(SCAN_FRAME_BYTES + (8 << 10));
    let mut sink = FrameSink { out, count: 0, left: quota, bins: &scan.bins };
    reserve_head(&mut sink.out);
    let mut batches = 0;
    loop {
        match scanner.advance(&mut sink).await? {
            Progress::Full => return Ok((sink, false)),
            Progress::End => return Ok((sink, true)),
            Progress::More => {
                batches += 1;
                if batches % BATCHES_A_TURN == 0 {
                    tokio::task::yield_now().await;
                }
                // A frame without a record tells the caller how far the scan is, and the node looks whether it drains.
                if batches >= BATCHES_A_FRAME {
                    return Ok((sink, false));
                }
            }
        }
    }
}

const HEAD_BYTES: usize = 4 + outcrop_wire::reply::REPLY_HEADER_BYTES + 1 + Cursor::BYTES + 4;

fn reserve_head(out: &mut Vec<u8>) {
    out.resize(HEAD_BYTES, 0);
}

/// Fills in what stands in front of the records.
fn part(id: u32, sink: FrameSink<'_>, cursor: Cursor, damaged: u32, end: bool) -> Bytes {
    let mut whole = sink.out;
    let mut head = begin_head(whole.len() - HEAD_BYTES, damaged);
    ReplyHeader::new(id, Verb::Scan, Code::Ok).encode(&mut head);
    ScanPart::encode_head(end, cursor, damaged, sink.count, &mut head);
    if head.len() == HEAD_BYTES {
        whole[..HEAD_BYTES].copy_from_slice(&head);
    } else {
        whole.splice(..HEAD_BYTES, head);
    }
    Bytes::from(whole)
}

/// A head that begins with the length of its frame.
fn begin_head(records_bytes: usize, damaged: u32) -> Vec<u8> {
    let head_bytes = HEAD_BYTES + if damaged > 0 { 4 } else { 0 };
    let mut head = Vec::with_capacity(head_bytes);
    head.extend_from_slice(&((head_bytes - 4 + records_bytes) as u32).to_le_bytes());
    head
}

/// Keeps a scan to its records a second.
struct Pace {
    records_per_sec: u32,
    window: Instant,
    left: u64,
}

/// A paced scan sends this many times a second.
const WINDOWS_PER_SEC: u32 = 10;

impl Pace {
    fn new(records_per_sec: u32) -> Self {
        Pace { records_per_sec, window: Instant::now(), left: 0 }
    }

    /// Records that may be sent now; waits until there are some.
    async fn quota(&mut self) -> u64 {
        if self.records_per_sec == 0 {
            return u64::MAX;
        }
        if self.left == 0 {
            tokio::time::sleep_until(self.window).await;
            let per_window = (self.records_per_sec / WINDOWS_PER_SEC).max(1);
            self.window = Instant::now() + Duration::from_secs(1) * per_window / self.records_per_sec;
            self.left = per_window.into();
        }
        self.left
    }

    fn spend(&mut self, count: u32) {
        self.left = self.left.saturating_sub(count.into());
    }
}
