//! The stream under a scan or a row query: parts come over a queue of two, a lost connection resumes at the last cursor.
//!
//! A task reads the stream and hands whole parts over: when the reader pauses, the queue fills, the task stops reading,
//! the stream's window closes, and the node waits. When the reader is dropped the task ends, and with it the node's work.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{FrameSplitter, LENGTH_BYTES, begin_frame, end_frame};
use outcrop_wire::hello::STREAM_SCAN;
use outcrop_wire::key::{check_namespace_name, check_set_name};
use outcrop_wire::limits::{FRAME_BYTES_MAX, PARTITIONS, QUERY_FRAME_BYTES_MAX};
use outcrop_wire::reply::ScanPart;
use outcrop_wire::request::{RequestError, RowsRequest, ScanRequest, encode_request};
use outcrop_wire::{BinSelection, Code, Cursor, FunctionPath, RequestBody, RequestHeader, Retry, Verb};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::answer::Answer;
use crate::builder::connect_error;
use crate::client::Client;
use crate::error::ClientError;
use crate::options::ScanOptions;
use crate::telemetry::{record_outcome, request_span, trace_context};
use crate::transport::backoff::Backoff;
use crate::transport::pool::Unavailable;
use crate::transport::single::read_frame;
use crate::verbs::check_bin_names;

/// Parts (of about 256 KiB) that wait for the reader.
const PARTS_WAITING: usize = 2;
/// Attempts to go on after failures with no part in between.
const RESUMES: u32 = 8;
/// How long one attempt waits for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// One frame with its records or rows still packed.
pub(crate) struct Part {
    pub(crate) body: Bytes,
    pub(crate) cursor: Cursor,
    pub(crate) end: bool,
    /// Damaged places that were passed over since the part before.
    pub(crate) damaged: u32,
}

/// What is asked for, and of what.
pub(crate) struct Begin {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) set: Option<String>,
    pub(crate) options: ScanOptions,
    /// A row function with its archived arguments; `None`: the records themselves.
    pub(crate) rows: Option<(String, Vec<u8>)>,
}

impl Begin {
    fn verb(&self) -> Verb {
        if self.rows.is_some() { Verb::Rows } else { Verb::Scan }
    }
}

/// The parts of a scan or row query, in order.
pub(crate) enum Parts {
    /// Not begun: nothing is sent before the first part is asked for.
    Idle(Box<Begin>),
    Running(mpsc::Receiver<Result<Part, ClientError>>),
    Done,
}

impl Parts {
    /// Whether nothing comes any more.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Parts::Done)
    }

    /// The next part; `None`: there is none. After an error, or the part that says that it is the last, it is done.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Part, ClientError>>> {
        if let Parts::Idle(_) = self
            && let Err(error) = self.begin()
        {
            return Poll::Ready(Some(Err(error)));
        }
        let Parts::Running(parts) = self else { return Poll::Ready(None) };
        let part = ready!(parts.poll_recv(context));
        if !matches!(&part, Some(Ok(part)) if !part.end) {
            *self = Parts::Done;
        }
        Poll::Ready(part)
    }

    fn begin(&mut self) -> Result<(), ClientError> {
        let Parts::Idle(begin) = std::mem::replace(self, Parts::Done) else { return Ok(()) };
        check_namespace_name(&begin.namespace)?;
        begin.set.as_deref().map_or(Ok(()), check_set_name)?;
        check_bin_names(begin.options.bins.as_deref().unwrap_or_default())?;
        let (first, last) = (*begin.options.partitions.start(), *begin.options.partitions.end());
        if usize::from(last) >= PARTITIONS || first > last {
            return Err(RequestError::Field { field: "partitions", value: last.into() }.into());
        }
        if let Some((function, _)) = &begin.rows {
            FunctionPath::parse(function).map_err(RequestError::from)?;
        }
        let (sender, receiver) = mpsc::channel(PARTS_WAITING);
        let span = request_span(begin.verb(), &begin.namespace, begin.set.as_deref().unwrap_or(""));
        let driver = Driver { begin: *begin, sender, span: span.clone() };
        tokio::spawn(driver.run().instrument(span));
        *self = Parts::Running(receiver);
        Ok(())
    }
}

/// The task that reads the stream.
struct Driver {
    begin: Begin,
    sender: mpsc::Sender<Result<Part, ClientError>>,
    span: Span,
}

/// How one stream of a scan ended early.
enum Broken {
    /// The reader is gone.
    Dropped,
    /// It may go on over another stream.
    Again(ClientError),
    Failed(ClientError),
}

impl Driver {
    async fn run(mut self) {
        let mut resumes = 0;
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            let before = self.begin.options.cursor;
            let sender = self.sender.clone();
            let broken = tokio::select! {
                streamed = self.stream() => streamed,
                () = sender.closed() => return,
            };
            let error = match broken {
                Ok(()) => return record_outcome(&self.span, &Ok(())),
                Err(Broken::Dropped) => return,
                Err(Broken::Failed(error)) => error,
                Err(Broken::Again(error)) => {
                    resumes = if self.begin.options.cursor == before { resumes + 1 } else { 1 };
                    if resumes <= RESUMES {
                        tokio::time::sleep(backoff.pause()).await;
                        continue;
                    }
                    error
                }
            };
            record_outcome::<()>(&self.span, &Err(error.clone()));
            // If nobody takes the error any more, nobody wants it.
            let _ = self.sender.send(Err(error)).await;
            return;
        }
    }

    async fn stream(&mut self) -> Result<(), Broken> {
        let pool = &self.begin.client.shared.pool;
        let (link, _) = pool.acquire(Instant::now() + CONNECTION_WAIT).await.map_err(|why| match why {
            Unavailable::Closed => Broken::Failed(ClientError::closed("the client was closed")),
            Unavailable::Connect(failure) => Broken::Again(connect_error(failure)),
            Unavailable::Deadline => Broken::Again(ClientError::closed("no connection")),
        })?;
        let again = |error: String| Broken::Again(ClientError::closed(error));
        let (mut send, mut recv) = link.connection.open_bi().await.map_err(|error| again(error.to_string()))?;
        let request = self.request(&link)?;
        send.write_chunk(request.into()).await.map_err(|error| again(error.to_string()))?;
        // Nothing more is said; a stop by the node is told by what it answers.
        let _ = send.finish();
        let mut splitter = FrameSplitter::new(FRAME_BYTES_MAX);
        loop {
            let frame = read_frame(&mut recv, &mut splitter).await.map_err(again)?;
            let frame = frame.ok_or_else(|| again("the node ended the scan's stream".to_owned()))?;
            let answer = Answer::parse(frame).and_then(Answer::ok).map_err(judge)?;
            let body = answer.body();
            let part = ScanPart::parse(&body).map_err(|error| Broken::Failed(ClientError::protocol(error)))?;
            let (cursor, end, count, damaged) = (part.cursor, part.end, u64::from(part.count), part.damaged);
            self.sender.send(Ok(Part { body, cursor, end, damaged })).await.map_err(|_| Broken::Dropped)?;
            // Only now: what was handed over isn't asked for again.
            self.begin.options.cursor = Some(cursor);
            if end || self.spend(count) {
                return Ok(());
            }
        }
    }

    /// Counts what was given; whether that is all that was wanted (a node counts each stream by itself).
    fn spend(&mut self, count: u64) -> bool {
        let limited = self.begin.options.limit > 0;
        self.begin.options.limit = self.begin.options.limit.saturating_sub(count);
        limited && self.begin.options.limit == 0
    }

    fn request(&self, link: &crate::transport::link::Link) -> Result<Vec<u8>, Broken> {
        let Begin { namespace, set, options, rows, .. } = &self.begin;
        let number = link.namespace(namespace).ok_or_else(|| {
            let message = format!("the node has no namespace {namespace:?}");
            Broken::Failed(ClientError::Refused { code: Code::NamespaceUnknown, message })
        })?;
        let bins = match options.bins.as_deref() {
            None => BinSelection::All,
            Some([]) => BinSelection::None,
            Some(names) => BinSelection::Named(names.iter().map(String::as_str).collect()),
        };
        let scan = ScanRequest {
            set: set.as_deref(),
            partition_first: *options.partitions.start(),
            partition_last: *options.partitions.end(),
            bins,
            cursor: options.cursor,
            records_per_sec: options.records_per_sec,
            limit: options.limit,
        };
        let body = match rows {
            None => RequestBody::Scan(scan),
            Some((function, arguments)) => {
                let function =
                    FunctionPath::parse(function).map_err(|error| Broken::Failed(RequestError::from(error).into()))?;
                RequestBody::Rows(RowsRequest { function, scan, arguments })
            }
        };
        let trace = trace_context(&self.span);
        let header = RequestHeader { request_id: 0, verb: self.begin.verb(), namespace: number, deadline_ms: 0, trace };
        let mut stream = vec![STREAM_SCAN];
        let start = begin_frame(&mut stream);
        encode_request(&header, &body, &mut stream);
        end_frame(&mut stream, start);
        match stream.len() - start - LENGTH_BYTES {
            bytes if bytes > QUERY_FRAME_BYTES_MAX => {
                let message = format!("the query has {bytes} bytes, one at most {QUERY_FRAME_BYTES_MAX}");
                Err(Broken::Failed(ClientError::Refused { code: Code::FrameTooLarge, message }))
            }
            _ => Ok(stream),
        }
    }
}

fn judge(error: ClientError) -> Broken {
    match error.retry() {
        Retry::Never => Broken::Failed(error),
        Retry::Backoff | Retry::IfIdempotent => Broken::Again(error),
    }
}
