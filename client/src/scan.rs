//! Scans: all records of a set or a namespace, streamed; a slow reader holds the node back, a lost connection resumes.
//!
//! A task reads the scan's stream and hands whole parts over a queue of two: when the reader pauses, the queue fills, the
//! task stops reading, the stream's window closes, and the node waits.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use outcrop_wire::frame::{FrameSplitter, begin_frame, end_frame};
use outcrop_wire::hello::STREAM_SCAN;
use outcrop_wire::key::{check_namespace_name, check_set_name};
use outcrop_wire::limits::{FRAME_BYTES_MAX, PARTITIONS};
use outcrop_wire::reply::ScanPart;
use outcrop_wire::request::{RequestError, ScanRequest, encode_request};
use outcrop_wire::{BinSelection, Code, Cursor, RequestBody, RequestHeader, Retry, Verb};
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
use crate::view::RecordView;

/// Parts (of about 256 KiB) that wait for the reader.
const PARTS_WAITING: usize = 2;
/// Attempts to go on after failures with no part in between.
const RESUMES: u32 = 8;
/// How long one attempt waits for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// One frame of a scan with its records still packed.
struct Part {
    body: Bytes,
    cursor: Cursor,
    end: bool,
}

enum State {
    /// Not begun: nothing is sent before the first record is asked for.
    Idle(Box<Begin>),
    Running(mpsc::Receiver<Result<Part, ClientError>>),
    Done,
}

struct Begin {
    client: Client,
    namespace: String,
    set: Option<String>,
    options: ScanOptions,
}

/// A scan under way: a stream of records. Dropped, it stops.
///
/// It gives each record that was there from its beginning to its end exactly once, with what it held at some moment in
/// between; records that come or go meanwhile may be given or not. When the connection breaks it goes on over another,
/// from where it was: a record that was written or moved by defrag around that moment may come again, none is left out.
///
/// ```no_run
/// use outcrop_client::ScanOptions;
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let mut scan = client.scan("test", Some("people"), ScanOptions::default());
/// while let Some(record) = scan.next().await {
///     let record = record?;
///     println!("{} {:?}", record.key().user_key, record.to_bins()?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Scan {
    state: State,
    records: VecDeque<RecordView>,
    /// Where to go on once `records` is empty.
    next_cursor: Option<Cursor>,
    cursor: Option<Cursor>,
}

impl Client {
    /// Goes through all records of a set, or of the whole namespace. Nothing is sent before the first record is asked for.
    ///
    /// ```no_run
    /// use outcrop_client::ScanOptions;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let mut scan = client.scan("test", None, ScanOptions::default().bins(["name"]).limit(10));
    /// while let Some(batch) = scan.next_batch().await {
    ///     println!("{} records", batch?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, namespace: &str, set: Option<&str>, options: ScanOptions) -> Scan {
        let cursor = options.cursor;
        let begin =
            Begin { client: self.clone(), namespace: namespace.to_owned(), set: set.map(str::to_owned), options };
        Scan { state: State::Idle(Box::new(begin)), records: VecDeque::new(), next_cursor: cursor, cursor }
    }
}

impl Scan {
    /// The next record; `None` at the end. After an error the scan is over; [`Scan::cursor`] tells where it was.
    ///
    /// ```no_run
    /// # async fn example(mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(record) = scan.next().await {
    ///     println!("{}", record?.key().user_key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<RecordView, ClientError>> {
        std::future::poll_fn(|context| self.poll_record(context)).await
    }

    /// All records that came in one frame (about 256 KiB): the fastest way to go through many. Never empty.
    ///
    /// ```no_run
    /// # async fn example(mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(records) = scan.next_batch().await {
    ///     println!("{} more", records?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_batch(&mut self) -> Option<Result<Vec<RecordView>, ClientError>> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    /// Where another scan can go on ([`ScanOptions::cursor`]), now or after a restart: behind the last frame of which
    /// every record was given. Records of a frame that was only partly given come again; [`Scan::next_batch`] gives
    /// whole frames. `None`: from the beginning.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// use outcrop_client::ScanOptions;
    /// scan.next_batch().await.transpose()?;
    /// let rest = client.scan("test", None, ScanOptions::default().cursor(scan.cursor()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordView, ClientError>>> {
        loop {
            if let Some(record) = self.records.pop_front() {
                if self.records.is_empty() {
                    self.cursor = self.next_cursor;
                }
                return Poll::Ready(Some(Ok(record)));
            }
            if let Some(Err(error)) = ready!(self.poll_fill(context)) {
                return Poll::Ready(Some(Err(error)));
            }
            if self.records.is_empty() && matches!(self.state, State::Done) {
                return Poll::Ready(None);
            }
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<RecordView>, ClientError>>> {
        while self.records.is_empty() {
            match ready!(self.poll_fill(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(())) => {}
                None => return Poll::Ready(None),
            }
        }
        self.cursor = self.next_cursor;
        Poll::Ready(Some(Ok(std::mem::take(&mut self.records).into())))
    }

    /// Takes the next part into `records`; `None`: there is none.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<(), ClientError>>> {
        let parts = match &mut self.state {
            State::Done => return Poll::Ready(None),
            State::Running(parts) => parts,
            State::Idle(_) => match self.begin() {
                Ok(()) => return self.poll_fill(context),
                Err(error) => return Poll::Ready(Some(Err(error))),
            },
        };
        let filled = match ready!(parts.poll_recv(context)) {
            None => {
                self.state = State::Done;
                return Poll::Ready(None);
            }
            Some(part) => part.and_then(|part| self.unpack(part)),
        };
        if filled.is_err() {
            self.state = State::Done;
        }
        Poll::Ready(Some(filled))
    }

    fn unpack(&mut self, part: Part) -> Result<(), ClientError> {
        let parsed = ScanPart::parse(&part.body).map_err(ClientError::protocol)?;
        // A lying count takes no memory: each record has a header of 64 bytes at least.
        let mut records = VecDeque::with_capacity((parsed.count as usize).min(part.body.len() / 64));
        for record in parsed.iter() {
            let record = record.map_err(ClientError::protocol)?;
            records.push_back(RecordView::parse(part.body.slice_ref(record))?);
        }
        self.records = records;
        self.next_cursor = Some(part.cursor);
        if self.records.is_empty() {
            self.cursor = self.next_cursor;
        }
        if part.end {
            self.state = State::Done;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), ClientError> {
        let State::Idle(begin) = std::mem::replace(&mut self.state, State::Done) else { return Ok(()) };
        check_namespace_name(&begin.namespace)?;
        begin.set.as_deref().map_or(Ok(()), check_set_name)?;
        check_bin_names(begin.options.bins.as_deref().unwrap_or_default())?;
        let (first, last) = (*begin.options.partitions.start(), *begin.options.partitions.end());
        if usize::from(last) >= PARTITIONS || first > last {
            return Err(RequestError::Field { field: "partitions", value: last.into() }.into());
        }
        let (sender, receiver) = mpsc::channel(PARTS_WAITING);
        let span = request_span(Verb::Scan, &begin.namespace, begin.set.as_deref().unwrap_or(""));
        let driver = Driver { begin: *begin, sender, span: span.clone() };
        tokio::spawn(driver.run().instrument(span));
        self.state = State::Running(receiver);
        Ok(())
    }
}

impl Stream for Scan {
    type Item = Result<RecordView, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(context)
    }
}

/// The task that reads the scan's stream.
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
            let (cursor, end, count) = (part.cursor, part.end, u64::from(part.count));
            self.sender.send(Ok(Part { body, cursor, end })).await.map_err(|_| Broken::Dropped)?;
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
        let Begin { namespace, set, options, .. } = &self.begin;
        let number = link.namespace(namespace).ok_or_else(|| {
            let message = format!("the node has no namespace {namespace:?}");
            Broken::Failed(ClientError::Refused { code: Code::NamespaceUnknown, message })
        })?;
        let bins = match options.bins.as_deref() {
            None => BinSelection::All,
            Some([]) => BinSelection::None,
            Some(names) => BinSelection::Named(names.iter().map(String::as_str).collect()),
        };
        let body = RequestBody::Scan(ScanRequest {
            set: set.as_deref(),
            partition_first: *options.partitions.start(),
            partition_last: *options.partitions.end(),
            bins,
            cursor: options.cursor,
            records_per_sec: options.records_per_sec,
            limit: options.limit,
        });
        let trace = trace_context(&self.span);
        let header = RequestHeader { request_id: 0, verb: Verb::Scan, namespace: number, deadline_ms: 0, trace };
        let mut stream = vec![STREAM_SCAN];
        let start = begin_frame(&mut stream);
        encode_request(&header, &body, &mut stream);
        end_frame(&mut stream, start);
        Ok(stream)
    }
}

fn judge(error: ClientError) -> Broken {
    match error.retry() {
        Retry::Never => Broken::Failed(error),
        Retry::Backoff | Retry::IfIdempotent => Broken::Again(error),
    }
}
