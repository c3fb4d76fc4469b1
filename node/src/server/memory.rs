//! The transport inside of one process, for simulations and tests: no sockets, no TLS, no threads, no clock of its own.
//!
//! What it can be made to do, besides working:
//! - a window of any size: a side that doesn't read makes the other wait ([`MemoryOptions::window_bytes`]);
//! - bytes that arrive in pieces, cut anywhere ([`MemoryOptions::piece_bytes`]);
//! - few streams: opening one more waits until one is over, on both of its sides ([`MemoryOptions::streams_max`]);
//! - a stream that is reset or stopped, a connection that ends, from either side and at any point; what was not read by
//!   then is lost, as in QUIC.
//!
//! Stricter than QUIC in one thing: [`Transmit::delivered`] waits until the other side has read everything, not only
//! until its transport has it. Which of several tasks runs first is the runtime's to decide; on a current-thread runtime
//! a run repeats itself.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::io::{CloseCode, Connection, Receive, StreamClosed, Transmit};

/// How a connection behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Bytes that one direction of a stream holds unread; at least 1.
    pub window_bytes: usize,
    /// Bytes of a chunk as it arrives, at most; at least 1.
    pub piece_bytes: usize,
    /// Streams that each side may have open at a time, of each kind; at least 1.
    pub streams_max: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions { window_bytes: 256 << 10, piece_bytes: 1_200, streams_max: 64 }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The code that the closing side gave; 0 if it just went away.
    pub code: u32,
    /// Its words.
    pub reason: String,
}

type Ends = watch::Receiver<Option<Ended>>;

fn error_of(ends: &Ends) -> Option<StreamClosed> {
    let ended = ends.borrow();
    ended.as_ref().map(|ended| StreamClosed(format!("the connection ended: {} ({})", ended.reason, ended.code)))
}

/// Waits for `news`, or for the end of the connection.
async fn wait(news: &Notify, ends: &mut Ends) {
    tokio::select! {
        biased;
        () = news.notified() => {}
        // An error says that both sides are gone: an end, too.
        _ = ends.wait_for(Option::is_some) => {}
    }
}

#[derive(Debug, Default)]
struct Content {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    finished: bool,
    reset: Option<u32>,
    stopped: bool,
}

/// One direction of a stream. It has one writer and one reader, so one stored wake-up each is enough.
#[derive(Debug)]
struct Pipe {
    content: Mutex<Content>,
    /// For the reader: bytes, or an end.
    came: Notify,
    /// For the writer: room, or an end.
    went: Notify,
    options: MemoryOptions,
}

/// The receiving half of a stream in memory. Dropped, it tells the other side to stop.
#[derive(Debug)]
pub struct MemoryReceive {
    pipe: Arc<Pipe>,
    ends: Ends,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// The sending half of a stream in memory.
#[derive(Debug)]
pub struct MemoryTransmit {
    pipe: Arc<Pipe>,
    ends: Ends,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

fn pipe(
    options: &MemoryOptions,
    ends: &Ends,
    sender: Option<&Arc<OwnedSemaphorePermit>>,
    receiver: Option<&Arc<OwnedSemaphorePermit>>,
) -> (MemoryTransmit, MemoryReceive) {
    let (content, came, went) = (Mutex::default(), Notify::new(), Notify::new());
    let pipe = Arc::new(Pipe { content, came, went, options: options.clone() });
    let transmit = MemoryTransmit { pipe: pipe.clone(), ends: ends.clone(), _place: sender.cloned() };
    (transmit, MemoryReceive { pipe, ends: ends.clone(), _place: receiver.cloned() })
}

impl MemoryReceive {
    /// Waits until there is something to take, and lets `take` take it; `None`: the end.
    async fn take<T>(&mut self, mut take: impl FnMut(&mut Content) -> T) -> Result<Option<T>, StreamClosed> {
        loop {
            if let Some(error) = error_of(&self.ends) {
                return Err(error);
            }
            {
                let mut content = self.pipe.content.lock();
                if let Some(code) = content.reset {
                    return Err(StreamClosed(format!("the stream was reset ({code})")));
                }
                if !content.chunks.is_empty() {
                    let taken = take(&mut content);
                    self.pipe.went.notify_one();
                    return Ok(Some(taken));
                }
                if content.finished {
                    return Ok(None);
                }
            }
            wait(&self.pipe.came, &mut self.ends).await;
        }
    }
}

impl Receive for MemoryReceive {
    async fn receive(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, StreamClosed> {
        let fill = |content: &mut Content| {
            let mut count = 0;
            while count < chunks.len()
                && let Some(chunk) = content.chunks.pop_front()
            {
                content.bytes -= chunk.len();
                chunks[count] = chunk;
                count += 1;
            }
            count
        };
        self.take(fill).await
    }

    async fn receive_some(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StreamClosed> {
        let some = |content: &mut Content| {
            let mut chunk = content.chunks.pop_front().unwrap_or_default();
            let taken = chunk.split_to(bytes_max.min(chunk.len()));
            if !chunk.is_empty() {
                content.chunks.push_front(chunk);
            }
            content.bytes -= taken.len();
            taken
        };
        self.take(some).await
    }

    fn stop(&mut self) {
        let mut content = self.pipe.content.lock();
        content.stopped = true;
        content.chunks.clear();
        content.bytes = 0;
        self.pipe.went.notify_one();
    }
}

impl Drop for MemoryReceive {
    fn drop(&mut self) {
        self.stop();
    }
}

impl MemoryTransmit {
    /// Puts in what there is room for; whether that was all.
    fn put(&self, bytes: &mut Bytes) -> Result<bool, StreamClosed> {
        if let Some(error) = error_of(&self.ends) {
            return Err(error);
        }
        let mut content = self.pipe.content.lock();
        if content.stopped || content.finished || content.reset.is_some() {
            return Err(StreamClosed("the stream is over".to_owned()));
        }
        let MemoryOptions { window_bytes, piece_bytes, .. } = self.pipe.options;
        while !bytes.is_empty() && content.bytes < window_bytes.max(1) {
            let len = piece_bytes.max(1).min(window_bytes.max(1) - content.bytes).min(bytes.len());
            content.chunks.push_back(bytes.split_to(len));
            content.bytes += len;
            self.pipe.came.notify_one();
        }
        Ok(bytes.is_empty())
    }
}

impl Transmit for MemoryTransmit {
    async fn transmit(&mut self, mut bytes: Bytes) -> Result<(), StreamClosed> {
        while !self.put(&mut bytes)? {
            wait(&self.pipe.went, &mut self.ends).await;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.pipe.content.lock().finished = true;
        self.pipe.came.notify_one();
    }

    async fn delivered(&mut self) {
        loop {
            let over = {
                let content = self.pipe.content.lock();
                content.stopped || content.reset.is_some() || content.chunks.is_empty()
            };
            if over || error_of(&self.ends).is_some() {
                return;
            }
            wait(&self.pipe.went, &mut self.ends).await;
        }
    }

    async fn stopped(&mut self) {
        loop {
            let over = {
                let content = self.pipe.content.lock();
                content.stopped || content.reset.is_some()
            };
            if over || error_of(&self.ends).is_some() {
                return;
            }
            wait(&self.pipe.went, &mut self.ends).await;
        }
    }

    fn reset(&mut self, code: CloseCode) {
        let mut content = self.pipe.content.lock();
        if !content.finished {
            content.reset = Some(code as u32);
            content.chunks.clear();
            content.bytes = 0;
        }
        self.pipe.came.notify_one();
    }
}

impl Drop for MemoryTransmit {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Streams of one kind on their way to one side.
#[derive(Debug)]
struct Incoming<T> {
    coming: tokio::sync::Mutex<mpsc::Receiver<T>>,
}

#[derive(Debug)]
struct Outgoing<T> {
    going: mpsc::Sender<T>,
    places: Arc<Semaphore>,
}

fn kind<T>(streams_max: usize) -> (Outgoing<T>, Incoming<T>) {
    let streams_max = streams_max.clamp(1, Semaphore::MAX_PERMITS);
    let (going, coming) = mpsc::channel(streams_max);
    let places = Arc::new(Semaphore::new(streams_max));
    (Outgoing { going, places }, Incoming { coming: tokio::sync::Mutex::new(coming) })
}

fn gone() -> StreamClosed {
    StreamClosed("the other side is gone".to_owned())
}

type Both = (MemoryTransmit, MemoryReceive);

/// What one side of a connection holds; its end is the connection's.
#[derive(Debug)]
struct Side {
    ended: Arc<watch::Sender<Option<Ended>>>,
    options: MemoryOptions,
    bi_out: Outgoing<Both>,
    bi_in: Incoming<Both>,
    uni_out: Outgoing<MemoryReceive>,
    uni_in: Incoming<MemoryReceive>,
}

impl Side {
    /// The first end is the one that counts.
    fn end(&self, code: u32, reason: &str) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert_with(|| Ended { code, reason: reason.to_owned() });
            first
        });
    }

    /// Waits for `news` unless the connection ends first.
    async fn unless_ended<T>(&self, news: impl Future<Output = Option<T>>) -> Result<T, StreamClosed> {
        let mut ends = self.ended.subscribe();
        tokio::select! {
            biased;
            _ = ends.wait_for(Option::is_some) => {}
            news = news => return news.ok_or_else(gone),
        }
        Err(error_of(&ends).unwrap_or_else(gone))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.end(0, "dropped");
    }
}

/// One side of a connection in memory. When all clones of it are gone, the connection ends.
#[derive(Debug, Clone)]
pub struct MemoryConnection {
    side: Arc<Side>,
}

/// Two sides of one connection.
pub fn connect(options: &MemoryOptions) -> (MemoryConnection, MemoryConnection) {
    let ended = Arc::new(watch::Sender::new(None));
    let ((bi_a, bi_to_b), (bi_b, bi_to_a)) = (kind(options.streams_max), kind(options.streams_max));
    let ((uni_a, uni_to_b), (uni_b, uni_to_a)) = (kind(options.streams_max), kind(options.streams_max));
    let side = |bi_out, bi_in, uni_out, uni_in| {
        let (ended, options) = (ended.clone(), options.clone());
        MemoryConnection { side: Arc::new(Side { ended, options, bi_out, bi_in, uni_out, uni_in }) }
    };
    (side(bi_a, bi_to_a, uni_a, uni_to_a), side(bi_b, bi_to_b, uni_b, uni_to_b))
}

impl MemoryConnection {
    /// Opens a bidirectional stream; waits while too many are open.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open_both(&self) -> Result<(MemoryTransmit, MemoryReceive), StreamClosed> {
        let Side { ended, options, bi_out, .. } = &*self.side;
        let opened = async {
            let place = Arc::new(bi_out.places.clone().acquire_owned().await.ok()?);
            // The place is the accepting side's to give back.
            let (ours_out, theirs_in) = pipe(options, &ended.subscribe(), None, Some(&place));
            let (theirs_out, ours_in) = pipe(options, &ended.subscribe(), Some(&place), None);
            bi_out.going.send((theirs_out, theirs_in)).await.ok()?;
            Some((ours_out, ours_in))
        };
        self.side.unless_ended(opened).await
    }

    /// Waits for a unidirectional stream of the other side.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_one_way(&self) -> Result<MemoryReceive, StreamClosed> {
        self.side.unless_ended(async { self.side.uni_in.coming.lock().await.recv().await }).await
    }

    /// Waits until the connection ends; how it did.
    pub async fn ended(&self) -> Ended {
        let mut ends = self.side.ended.subscribe();
        let ended = ends.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or(Ended { code: 0, reason: "dropped".to_owned() })
    }
}

impl Connection for MemoryConnection {
    type Receive = MemoryReceive;
    type Transmit = MemoryTransmit;

    async fn accept(&self) -> Result<(MemoryTransmit, MemoryReceive), StreamClosed> {
        self.side.unless_ended(async { self.side.bi_in.coming.lock().await.recv().await }).await
    }

    async fn open(&self) -> Result<MemoryTransmit, StreamClosed> {
        let Side { ended, options, uni_out, .. } = &*self.side;
        let opened = async {
            let place = Arc::new(uni_out.places.clone().acquire_owned().await.ok()?);
            let (transmit, receive) = pipe(options, &ended.subscribe(), None, Some(&place));
            uni_out.going.send(receive).await.ok()?;
            Some(transmit)
        };
        self.side.unless_ended(opened).await
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.side.end(code as u32, reason);
    }
}
