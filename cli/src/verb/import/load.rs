//! Rows to records: a thread reads and parses, many writes are under way, memory is bounded by bytes.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use outcrop_client::{Bins, Client, ClientError, Code, Digest, Key, PutMode, PutOptions, Retry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::report::Report;
use super::source::Source;
use super::{Duplicates, ImportArgs};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::rows::{Row, RowOptions, RowsError, read_rows};

/// Rows that wait between the reader and the writes.
const QUEUED_ROWS: usize = 256;
/// Text of rows in memory, from reading to the answer, in KiB. The largest row fits.
const BUDGET_KIB: u32 = 128 << 10;
/// How often a write that the node put off is tried again, beyond what the client does itself.
const ATTEMPTS: u32 = 8;
/// Before the second attempt; twice as long before each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

const _: () = assert!(BUDGET_KIB as usize >= crate::rows::ROW_BYTES_MAX >> 10);

/// Why an import is over.
pub(super) enum Stop {
    /// The file's end.
    End,
    /// The rest of the file can't be read.
    File(String),
    /// The node takes no more.
    Node(Box<ClientError>),
    /// More bad rows than wanted.
    TooManyBad,
    /// The report can't be written.
    Output(Box<Failure>),
}

/// A row with its share of the memory that rows may use.
type Queued = (Row, OwnedSemaphorePermit);

/// What became of one row.
struct Written {
    row: u64,
    line: u64,
    digest: Digest,
    result: Result<(), ClientError>,
}

/// An import under way.
pub(super) struct Load<'a> {
    client: &'a Client,
    namespace: &'a str,
    set: &'a str,
    args: &'a ImportArgs,
    options: PutOptions,
    /// Keys with a write under way: a second row of one waits, so that the last row wins.
    writing: HashSet<Digest>,
    /// The first row of each key.
    seen: HashMap<Digest, u64>,
}

impl<'a> Load<'a> {
    pub(super) fn new(client: &'a Client, namespace: &'a str, set: &'a str, args: &'a ImportArgs) -> Self {
        // A row replaces what is there, so writing it twice is harmless; creating it twice isn't.
        let options = match args.create_only {
            true => PutOptions::default().mode(PutMode::CreateOnly),
            false => PutOptions::default().mode(PutMode::Replace).idempotent(true),
        };
        let options = options.ttl(args.ttl);
        Load { client, namespace, set, args, options, writing: HashSet::new(), seen: HashMap::new() }
    }

    /// Imports all rows; what is under way when it stops early is waited for.
    pub(super) async fn run(
        &mut self,
        source: Source,
        options: RowOptions,
        report: &mut Report,
        progress: &mut Progress,
    ) -> Stop {
        let read_bytes = Arc::new(AtomicU64::new(0));
        let (sender, mut rows) = mpsc::channel(QUEUED_ROWS);
        let reader = spawn_reader(source, options, read_bytes.clone(), sender);
        let mut writes = FuturesUnordered::new();
        let mut stop = None;
        while stop.is_none() {
            let room = writes.len() < usize::from(self.args.in_flight);
            tokio::select! {
                Some(written) = writes.next() => stop = self.settle(written, report).err(),
                queued = rows.recv(), if room => {
                    let Some((row, share)) = queued else { break };
                    match self.admit(row, report) {
                        Ok(Some((number, line, key, bins))) => {
                            while self.writing.contains(&key.digest()) && stop.is_none() {
                                let Some(written) = writes.next().await else { break };
                                stop = self.settle(written, report).err();
                            }
                            self.writing.insert(key.digest());
                            writes.push(write(self.client, self.options.clone(), number, line, key, bins, share));
                        }
                        Ok(None) => {}
                        Err(early) => stop = Some(early),
                    }
                }
            }
            progress.update(read_bytes.load(Ordering::Relaxed), report.imported, report.bad);
        }
        // The reader sees that nobody listens any more and ends.
        drop(rows);
        while let Some(written) = writes.next().await {
            let settled = self.settle(written, report);
            stop = stop.or(settled.err());
        }
        let read = match reader.await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err("the reader broke down".to_owned()),
        };
        match (stop, read) {
            (Some(stop), _) => stop,
            (None, Err(message)) => Stop::File(message),
            (None, Ok(())) => Stop::End,
        }
    }

    /// A row's record, unless it is a bad row.
    fn admit(&mut self, row: Row, report: &mut Report) -> Result<Option<(u64, u64, Key, Bins)>, Stop> {
        let (user_key, bins) = match row.content {
            Ok(content) => content,
            Err(reason) => return self.bad(report, row.number, row.line, reason).map(|()| None),
        };
        let key = Key::new(self.namespace, self.set, user_key);
        if self.args.duplicates == Duplicates::Refuse {
            if let Some(first) = self.seen.get(&key.digest()) {
                let shown = crate::keys::print_user_key(key.user_key.borrow());
                let reason = format!("row {first} has the same key {shown} (--duplicates last: the last row stays)");
                return self.bad(report, row.number, row.line, reason).map(|()| None);
            }
            self.seen.insert(key.digest(), row.number);
        }
        Ok(Some((row.number, row.line, key, bins)))
    }

    /// Counts what became of a row.
    fn settle(&mut self, written: Written, report: &mut Report) -> Result<(), Stop> {
        self.writing.remove(&written.digest);
        match written.result {
            Ok(()) => {
                report.imported += 1;
                Ok(())
            }
            Err(error) if self.of_one_row(&error) => self.bad(report, written.row, written.line, error.to_string()),
            Err(error) => {
                // A row that isn't in is reported as such, even where it is the node that gave up.
                self.bad(report, written.row, written.line, error.to_string())?;
                Err(Stop::Node(Box::new(error)))
            }
        }
    }

    /// Whether an error is about this row, so that the others may still do.
    fn of_one_row(&self, error: &ClientError) -> bool {
        match error.code() {
            // A row that replaces was tried again and again: then it is the node that has gone.
            Some(Code::Indeterminate) => !self.options.idempotent,
            Some(
                Code::InvalidKey
                | Code::InvalidBinName
                | Code::DuplicateName
                | Code::TooManyBins
                | Code::RecordTooLarge
                | Code::ValueTooDeep
                | Code::MalformedArchive
                | Code::FrameTooLarge
                | Code::AlreadyExists
                | Code::HotKey,
            ) => true,
            _ => false,
        }
    }

    fn bad(&self, report: &mut Report, row: u64, line: u64, reason: String) -> Result<(), Stop> {
        report.bad(row, line, reason).map_err(|failure| Stop::Output(Box::new(failure)))?;
        match self.args.max_bad {
            Some(max) if report.bad > max => Err(Stop::TooManyBad),
            _ => Ok(()),
        }
    }
}

/// Reads and parses on a thread of its own, no further ahead than the budget allows.
fn spawn_reader(
    source: Source,
    options: RowOptions,
    read_bytes: Arc<AtomicU64>,
    sender: mpsc::Sender<Queued>,
) -> tokio::task::JoinHandle<Result<(), RowsError>> {
    let runtime = tokio::runtime::Handle::current();
    let budget = Arc::new(Semaphore::new(BUDGET_KIB as usize));
    tokio::task::spawn_blocking(move || {
        read_rows(source.input, &options, read_bytes, &mut |row| {
            let kib = u32::try_from(row.bytes >> 10).unwrap_or(BUDGET_KIB).clamp(1, BUDGET_KIB);
            let acquired = runtime.block_on(async {
                tokio::select! {
                    share = budget.clone().acquire_many_owned(kib) => share.ok(),
                    () = sender.closed() => None,
                }
            });
            match acquired.map(|share| sender.blocking_send((row, share))) {
                Some(Ok(())) => ControlFlow::Continue(()),
                Some(Err(_)) | None => ControlFlow::Break(()),
            }
        })
    })
}

/// Writes one row, patiently.
async fn write(
    client: &Client,
    options: PutOptions,
    row: u64,
    line: u64,
    key: Key,
    bins: Bins,
    share: OwnedSemaphorePermit,
) -> Written {
    let mut pause = PAUSE_FIRST;
    let mut attempt = 1;
    let result = loop {
        match client.put(&key, &bins, options.clone()).await {
            Err(error) if may_retry(&error, &options) && attempt < ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                attempt += 1;
            }
            result => break result.map(drop),
        }
    };
    drop(share);
    Written { row, line, digest: key.digest(), result }
}

/// Whether the same write may go out again: nothing was done, or doing it twice is harmless.
fn may_retry(error: &ClientError, options: &PutOptions) -> bool {
    match error.retry() {
        Retry::Backoff => true,
        Retry::IfIdempotent => options.idempotent,
        Retry::Never => false,
    }
}
