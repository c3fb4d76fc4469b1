//! Streams of functions over many records: an aggregate's one reply, a row query's frames. A caller who goes away stops
//! the work.

use bytes::Bytes;
use outcrop_wire::frame::LENGTH_BYTES;
use outcrop_wire::limits::SCAN_FRAME_BYTES;
use outcrop_wire::reply::{REPLY_HEADER_BYTES, ScanPart};
use outcrop_wire::request::{AggregateRequest, RequestBody, RowsRequest, decode_request};
use outcrop_wire::{Code, Cursor, ReplyHeader, RequestHeader, Verb};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Duration, Instant, timeout_at};

use super::io::Transmit;
use super::session::Session;
use crate::command::answer::Finished;
use crate::command::error::CommandError;
use crate::command::functions::failed;
use crate::command::query::{self, Ended, Place, Rows};
use crate::command::route;
use crate::command::told::Told;
use crate::store::Namespace;
use crate::udf::{Failed, RowsPart, Trace};

/// Longest that a query may take whose caller names no deadline; its function's limits end it earlier.
const DEADLINE: Duration = Duration::from_secs(600);

/// What a query's stream came to.
pub struct Served {
    /// What was asked.
    pub verb: Verb,
    /// The code that its caller was told.
    pub code: Code,
    /// Bytes that it was sent.
    pub bytes: usize,
    /// What its span tells of the function.
    pub told: Option<Box<Told>>,
}

fn deadline_of(header: &RequestHeader) -> Instant {
    let asked = Duration::from_millis(header.deadline_ms.into());
    Instant::now() + if asked.is_zero() { DEADLINE } else { asked }
}

fn out_of_time(header: &RequestHeader) -> CommandError {
    let message = format!("{} ms passed; the query was stopped, and it writes nothing", header.deadline_ms);
    CommandError::new(Code::DeadlineExceeded, message)
}

/// Serves the query in `frame`; `None`: it is no query. `Err`: the caller is gone.
pub async fn serve(session: &Session, frame: &[u8], transmit: &mut impl Transmit) -> Option<Result<Served, String>> {
    let (header, body) = decode_request(frame).ok()?;
    match &body {
        RequestBody::Aggregate(asked) => Some(aggregate(session, &header, asked, transmit).await),
        RequestBody::Rows(asked) => Some(rows(session, &header, asked, transmit).await),
        _ => None,
    }
}

/// Serves an aggregate; `Err`: the caller is gone.
async fn aggregate(
    session: &Session,
    header: &RequestHeader,
    asked: &AggregateRequest<'_>,
    transmit: &mut impl Transmit,
) -> Result<Served, String> {
    let finished = {
        let work = timeout_at(deadline_of(header), run_aggregate(session, header, asked));
        tokio::select! {
            done = work => done.unwrap_or_else(|_| Err(out_of_time(header))),
            () = transmit.stopped() => return Err("the caller of an aggregate went away".to_owned()),
        }
    };
    let refused = |error| Finished::refused(header.request_id, Verb::Aggregate, header.namespace.0, &error);
    send(Verb::Aggregate, finished.unwrap_or_else(refused), transmit).await
}

async fn run_aggregate(
    session: &Session,
    header: &RequestHeader,
    asked: &AggregateRequest<'_>,
) -> Result<Finished, CommandError> {
    let namespace = route::namespace(&session.context, header.namespace)?;
    let functions = session.context.functions()?;
    let finished = query::aggregate(header.request_id, functions, namespace, asked).await?;
    if let Some(wait) = finished.wait {
        durable(namespace, wait.end).await?;
    }
    Ok(finished)
}

/// Waits until nobody can take back what a reply rests on.
async fn durable(namespace: &Namespace, end: outcrop_flash::Lsn) -> Result<(), CommandError> {
    let durable = namespace.log.wait_durable(end).await;
    durable.map_err(|error| CommandError::new(Code::DevicePoisoned, error.to_string()))
}

async fn send(verb: Verb, finished: Finished, transmit: &mut impl Transmit) -> Result<Served, String> {
    let (code, len) = (finished.code, finished.byte_len());
    let mut head = Vec::with_capacity(finished.content.len() + LENGTH_BYTES);
    head.extend_from_slice(&(len as u32).to_le_bytes());
    head.extend_from_slice(&finished.content);
    transmit.transmit(Bytes::from(head)).await.map_err(|error| error.to_string())?;
    if let Some(value) = finished.value {
        transmit.transmit(value).await.map_err(|error| error.to_string())?;
    }
    Ok(Served { verb, code, bytes: len + LENGTH_BYTES, told: finished.told })
}

/// Why a row query ended before its function did.
enum Stopped {
    /// The caller is gone.
    Gone(String),
    /// The node can't go on with it.
    Refused(CommandError),
}

/// How far a row query has come.
struct Passed {
    /// Bytes that were sent.
    bytes: usize,
    /// Rows that the caller still wants.
    left: u64,
    /// Where the last batch ended.
    last: Option<Place>,
    /// How the function ended, if it did.
    done: Option<Result<Trace, Failed>>,
}

/// Sends rows as they come, until there are no more or the caller has enough.
async fn pass_on(
    (session, namespace, request_id): (&Session, &Namespace, u32),
    (parts, ended): (&mut Receiver<RowsPart<Place>>, &mut Ended),
    passed: &mut Passed,
    transmit: &mut impl Transmit,
) -> Result<(), Stopped> {
    loop {
        let part = tokio::select! {
            biased;
            part = parts.recv() => part,
            end = &mut *ended, if passed.done.is_none() => {
                passed.done = Some(end);
                continue;
            }
        };
        let Some(part) = part else { return Ok(()) };
        if session.context.is_draining() {
            return Err(Stopped::Refused(CommandError::new(Code::Draining, "the node is shutting down")));
        }
        if namespace.policy.commit == crate::store::Commit::Flash {
            durable(namespace, part.mark.seen_end).await.map_err(Stopped::Refused)?;
        }
        for frame in frames(request_id, &part, passed.last, &mut passed.left) {
            passed.bytes += frame.len();
            transmit.transmit(frame).await.map_err(|error| Stopped::Gone(error.to_string()))?;
        }
        passed.last = Some(part.mark);
        if passed.left == 0 {
            return Ok(());
        }
    }
}

/// Serves a row query; `Err`: the caller is gone.
async fn rows(
    session: &Session,
    header: &RequestHeader,
    asked: &RowsRequest<'_>,
    transmit: &mut impl Transmit,
) -> Result<Served, String> {
    let path = asked.function.to_string();
    let refused = |error| Finished::refused(header.request_id, Verb::Rows, header.namespace.0, &error);
    let (namespace, functions) =
        match (route::namespace(&session.context, header.namespace), session.context.functions()) {
            (Ok(namespace), Ok(functions)) => (namespace, functions),
            (Err(error), _) | (_, Err(error)) => return send(Verb::Rows, refused(error), transmit).await,
        };
    let began = Instant::now();
    let begun = query::rows(functions, namespace, asked).await;
    let Rows { mut parts, mut ended, resolved } = match begun {
        Ok(rows) => rows,
        Err(error) => {
            let told = failed((header.request_id, Verb::Rows), &path, None, &error, None);
            return send(Verb::Rows, told, transmit).await;
        }
    };
    let limit = if asked.scan.limit == 0 { u64::MAX } else { asked.scan.limit };
    let mut passed = Passed { bytes: 0, left: limit, last: None, done: None };
    let way = (session, &**namespace, header.request_id);
    let stopped = pass_on(way, (&mut parts, &mut ended), &mut passed, transmit).await.err();
    let Passed { mut bytes, left, last, done } = passed;
    // With nobody to take rows the guest ends here, and tells what it took.
    drop(parts);
    let done = match done {
        Some(done) => done,
        None => ended.await,
    };
    let done = forgive(done, left == 0);
    let outcome = done.as_ref().map_or_else(|error| (error.code, &error.details.trace), |trace| (Code::Ok, trace));
    resolved.record(outcome.0, outcome.1, began.elapsed(), functions.clock.now_ms());
    match stopped {
        Some(Stopped::Gone(error)) => return Err(error),
        Some(Stopped::Refused(error)) => return send(Verb::Rows, refused(error), transmit).await,
        None => {}
    }
    match done {
        Err(error) => {
            let mut finished = failed((header.request_id, Verb::Rows), &path, Some(&resolved), &error, None);
            finished.told = Some(Told::failed(&resolved, error));
            send(Verb::Rows, finished, transmit).await
        }
        Ok(trace) => {
            let cursor = last.map(|place| place.cursor).or(asked.scan.cursor);
            let cursor = cursor.unwrap_or(Cursor { log_id: 0, start_lsn: 0, position_lsn: 0, emitted: 0 });
            let end = encode(header.request_id, true, (cursor, 0), 0, &[]);
            bytes += end.len();
            // A caller who counts along leaves with his last row: he was served all the same.
            transmit.transmit(end).await.or_else(|error| if left == 0 { Ok(()) } else { Err(error.to_string()) })?;
            Ok(Served { verb: Verb::Rows, code: Code::Ok, bytes, told: Some(Told::ran(&resolved, trace)) })
        }
    }
}

/// A caller who has all the rows that he asked for isn't concerned by what the guest did beyond them.
fn forgive(done: Result<Trace, Failed>, has_all: bool) -> Result<Trace, Failed> {
    match done {
        Err(error) if has_all => Ok(error.details.trace),
        done => done,
    }
}

/// A batch's frames, with at most `left` of its rows. All but the last of them carry the cursor in front of the batch:
/// who goes on from there gets the batch again, and not a part of it.
fn frames(request_id: u32, part: &RowsPart<Place>, before: Option<Place>, left: &mut u64) -> Vec<Bytes> {
    let beginning = Cursor { position_lsn: 0, emitted: 0, ..part.mark.cursor };
    let damaged = part.mark.damaged - before.map_or(0, |place| place.damaged);
    let before = before.map_or(beginning, |place| place.cursor);
    let (mut start, mut end, mut count) = (0, 0, 0);
    let mut frames = Vec::new();
    while *left > 0
        && let Some(len) = part.rows.get(end..).and_then(|rest| rest.first_chunk::<4>())
    {
        let next = (end + 4 + u32::from_le_bytes(*len) as usize).min(part.rows.len());
        if count > 0 && next - start > SCAN_FRAME_BYTES {
            frames.push(encode(request_id, false, (before, 0), count, &part.rows[start..end]));
            (start, count) = (end, 0);
        }
        (end, count, *left) = (next, count + 1, *left - 1);
    }
    frames.push(encode(request_id, false, (part.mark.cursor, damaged), count, &part.rows[start..end]));
    frames
}

/// A frame; `place`: the cursor, and the damaged places since the frame before.
fn encode(request_id: u32, end: bool, place: (Cursor, u32), count: u32, rows: &[u8]) -> Bytes {
    let (cursor, damaged) = place;
    let len = REPLY_HEADER_BYTES + 1 + Cursor::BYTES + if damaged > 0 { 4 } else { 0 } + 4 + rows.len();
    let mut frame = Vec::with_capacity(LENGTH_BYTES + len);
    frame.extend_from_slice(&(len as u32).to_le_bytes());
    ReplyHeader::new(request_id, Verb::Rows, Code::Ok).encode(&mut frame);
    ScanPart::encode_head(end, cursor, damaged, count, &mut frame);
    frame.extend_from_slice(rows);
    Bytes::from(frame)
}
