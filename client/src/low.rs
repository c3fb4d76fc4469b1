//! For load generators: one connection and one lane that the caller drives itself, with requests submitted by token and
//! replies drained in batches.
//!
//! A session has no tasks between the caller and quinn, no locks, no deadline and no retry: a request costs one slot of
//! a table. Everything else ([`crate::Client`]'s deadlines, retries, reconnects) is the caller's.
//!
//! ```no_run
//! use outcrop_client::low::Session;
//! use outcrop_client::{Client, Key};
//! use outcrop_wire::{BinSelection, RequestBody};
//!
//! # async fn example() -> Result<(), outcrop_client::ClientError> {
//! let client = Client::connect("outcrop://127.0.0.1:7420").await?;
//! let mut session = Session::open(&client).await?;
//! let namespace = session.namespace("test").expect("the node has it");
//! let key = Key::new("test", "people", 42);
//! session.submit(namespace, &RequestBody::Get { key: key.borrow(), bins: BinSelection::All }, 7)?;
//! session.flush().await?;
//! let mut completions = Vec::new();
//! session.recv_batch(&mut completions).await?;
//! assert_eq!(completions[0].token, 7);
//! # Ok(())
//! # }
//! ```

use std::task::{Context, Poll};

use bytes::Bytes;
use outcrop_wire::frame::{FrameSplitter, begin_frame, end_frame};
use outcrop_wire::hello::{STREAM_LANE, STREAM_SINGLE};
use outcrop_wire::limits::{FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX, LANE_INFLIGHT_MAX, LANE_VALUE_BYTES_MAX};
use outcrop_wire::request::encode_request;
use outcrop_wire::{Code, NamespaceId, Reply, RequestBody, RequestHeader, WorkerPlace};
use quinn::{RecvStream, SendStream};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::answer::body_bytes;
use crate::builder::connect_error;
use crate::client::Client;
use crate::error::ClientError;
use crate::transport::Lost;
use crate::transport::link::{Session as Opened, code_of, explain, read_large_frame, say_goodbye};
use crate::transport::single;

/// Chunks taken from quinn in one go.
const CHUNKS: usize = 64;
/// Large replies that wait to be drained, beyond those whose streams the transport's limit holds back.
const LARGE_WAITING: usize = 64;
/// How long a large request may take before it counts as lost.
const LARGE_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Why a request can't be submitted now.
///
/// ```
/// use outcrop_client::{ClientError, Code, low::SubmitError};
/// assert_eq!(ClientError::from(SubmitError::Full).code(), Some(Code::Overloaded));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// As many requests as the node takes are under way: drain some first.
    #[error("{LANE_INFLIGHT_MAX} requests are under way on this lane")]
    Full,
    /// The request is over the limit of a frame.
    #[error("the request has {0} bytes, a frame at most {FRAME_BYTES_MAX}")]
    TooLarge(usize),
}

impl From<SubmitError> for ClientError {
    fn from(error: SubmitError) -> Self {
        let code = match error {
            SubmitError::Full => Code::Overloaded,
            SubmitError::TooLarge(_) => Code::FrameTooLarge,
        };
        ClientError::Refused { code, message: error.to_string() }
    }
}

/// One request's reply.
///
/// ```no_run
/// # async fn example(session: &mut outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
/// let mut completions = Vec::new();
/// session.recv_batch(&mut completions).await?;
/// println!("{} is {}", completions[0].token, completions[0].code.name());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Completion {
    /// The token that the request was submitted with.
    pub token: u64,
    /// What became of it.
    pub code: Code,
    /// The whole reply; [`Completion::reply`] takes it apart. Empty if it was lost.
    pub frame: Bytes,
}

impl Completion {
    /// Takes the reply apart in place.
    ///
    /// ```no_run
    /// # fn example(completion: outcrop_client::low::Completion) -> Result<(), outcrop_client::ClientError> {
    /// println!("generation {}", completion.reply()?.header.generation);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply(&self) -> Result<Reply<'_>, ClientError> {
        Reply::parse(&self.frame).map_err(ClientError::protocol)
    }
}

/// A large request's end: its slot, and the reply unless it was lost. The slot is known by the stream: a node that
/// refuses a request before it has read it doesn't know its number.
type LargeReply = (u32, Result<Bytes, Lost>);

/// One connection with one lane, driven by its owner.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let session = outcrop_client::low::Session::open(&client).await?;
/// println!("{:?}", session.namespace("test"));
/// # Ok(())
/// # }
/// ```
pub struct Session {
    opened: Opened,
    send: SendStream,
    recv: RecvStream,
    splitter: FrameSplitter,
    chunks: Vec<Bytes>,
    out: Vec<u8>,
    /// The token of each slot under way; a slot is a request's id.
    tokens: Vec<Option<u64>>,
    free: Vec<u32>,
    deadline_ms: u32,
    large: mpsc::Receiver<LargeReply>,
    large_sender: mpsc::Sender<LargeReply>,
}

impl Session {
    /// Opens a connection of its own to the node of `client`, with its trust and deadline.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let session = outcrop_client::low::Session::open(&client).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(client: &Client) -> Result<Session, ClientError> {
        let opened = client.shared.pool.open_session().await.map_err(connect_error)?;
        let broken = |error: &dyn std::fmt::Display| ClientError::closed(error.to_string());
        let (mut send, recv) = opened.connection.open_bi().await.map_err(|error| broken(&error))?;
        send.write_chunk(Bytes::from_static(&[STREAM_LANE])).await.map_err(|error| broken(&error))?;
        let (large_sender, large) = mpsc::channel(LARGE_WAITING);
        tokio::spawn(accept_large_replies(opened.connection.clone(), large_sender.clone()));
        Ok(Session {
            opened,
            send,
            recv,
            splitter: FrameSplitter::new(LANE_FRAME_BYTES_MAX),
            chunks: vec![Bytes::new(); CHUNKS],
            out: Vec::with_capacity(16 << 10),
            tokens: Vec::new(),
            free: Vec::new(),
            deadline_ms: client.shared.deadline.as_millis() as u32,
            large,
            large_sender,
        })
    }

    /// The number of a namespace on this connection, for [`Session::submit`].
    ///
    /// ```no_run
    /// # fn example(session: &outcrop_client::low::Session) {
    /// let namespace = session.namespace("test").expect("the node has it");
    /// # }
    /// ```
    pub fn namespace(&self, name: &str) -> Option<NamespaceId> {
        let mut namespaces = self.opened.welcome.namespaces.iter();
        namespaces.find(|namespace| namespace.name == name).map(|namespace| namespace.id)
    }

    /// Which of the node's workers serves it, if the node says so. Sessions of one client spread over the workers.
    ///
    /// ```no_run
    /// # fn example(session: &outcrop_client::low::Session) {
    /// if let Some(worker) = session.worker() {
    ///     println!("worker {} of {}", worker.number, worker.count);
    /// }
    /// # }
    /// ```
    pub fn worker(&self) -> Option<WorkerPlace> {
        self.opened.welcome.worker
    }

    /// Requests under way.
    ///
    /// ```no_run
    /// # async fn example(session: &mut outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
    /// while session.under_way() > 0 {
    ///     session.recv_batch(&mut Vec::new()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn under_way(&self) -> usize {
        self.tokens.len() - self.free.len()
    }

    /// The deadline that later requests carry, in milliseconds; 0: the node's default. The session itself waits for ever.
    ///
    /// ```no_run
    /// # async fn example(session: &mut outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
    /// session.set_deadline_ms(50);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_deadline_ms(&mut self, deadline_ms: u32) {
        self.deadline_ms = deadline_ms.min(outcrop_wire::limits::DEADLINE_MS_MAX);
    }

    /// Puts a request into the buffer, to go out with the next [`Session::flush`]. A scan isn't for here.
    ///
    /// ```no_run
    /// # use outcrop_client::{Key, low::{Session, SubmitError}};
    /// # use outcrop_wire::{NamespaceId, RequestBody};
    /// # fn example(session: &mut Session, namespace: NamespaceId, key: &Key) -> Result<(), SubmitError> {
    /// session.submit(namespace, &RequestBody::Exists { key: key.borrow() }, 1)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(&mut self, namespace: NamespaceId, body: &RequestBody<'_>, token: u64) -> Result<(), SubmitError> {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.tokens[slot as usize] = Some(token);
                slot
            }
            None if self.tokens.len() < LANE_INFLIGHT_MAX => {
                self.tokens.push(Some(token));
                (self.tokens.len() - 1) as u32
            }
            None => return Err(SubmitError::Full),
        };
        let deadline_ms = self.deadline_ms;
        let header = RequestHeader { request_id: slot, verb: body.verb(), namespace, deadline_ms, trace: None };
        if body_bytes(body) > LANE_VALUE_BYTES_MAX {
            return self.submit_large(slot, &header, body);
        }
        let start = begin_frame(&mut self.out);
        encode_request(&header, body, &mut self.out);
        end_frame(&mut self.out, start);
        Ok(())
    }

    fn submit_large(&mut self, slot: u32, header: &RequestHeader, body: &RequestBody<'_>) -> Result<(), SubmitError> {
        let mut stream = vec![STREAM_SINGLE];
        let start = begin_frame(&mut stream);
        encode_request(header, body, &mut stream);
        end_frame(&mut stream, start);
        if stream.len() > FRAME_BYTES_MAX {
            self.take(slot);
            return Err(SubmitError::TooLarge(stream.len()));
        }
        let (connection, sender) = (self.opened.connection.clone(), self.large_sender.clone());
        tokio::spawn(async move {
            let reply = single::call(&connection, stream, Instant::now() + LARGE_WAIT).await;
            // If the session is gone, nobody waits.
            let _ = sender.send((slot, reply)).await;
        });
        Ok(())
    }

    /// Hands all that was submitted to the connection; waits only while the node takes no more.
    ///
    /// ```no_run
    /// # async fn example(session: &mut outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
    /// session.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let capacity = self.out.len().next_power_of_two().clamp(1 << 10, 256 << 10);
        let frames = std::mem::replace(&mut self.out, Vec::with_capacity(capacity));
        match self.send.write_chunk(Bytes::from(frames)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Waits for at least one reply and gives all that are there. Dropping it midway loses nothing.
    ///
    /// ```no_run
    /// # async fn example(session: &mut outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
    /// let mut completions = Vec::new();
    /// session.recv_batch(&mut completions).await?;
    /// assert!(!completions.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv_batch(&mut self, completions: &mut Vec<Completion>) -> Result<(), ClientError> {
        let before = completions.len();
        loop {
            while let Some(frame) = self.splitter.next_frame().map_err(ClientError::protocol)? {
                self.complete(frame, completions)?;
            }
            while let Ok((slot, reply)) = self.large.try_recv() {
                self.complete_large(slot, reply, completions)?;
            }
            if completions.len() > before {
                return Ok(());
            }
            let Session { recv, chunks, large, .. } = self;
            let arrived = tokio::select! {
                read = recv.read_chunks(chunks) => Arrived::Chunks(read),
                Some(reply) = large.recv() => Arrived::Large(reply),
            };
            match arrived {
                Arrived::Chunks(Ok(Some(count))) => self.take_chunks(count, completions)?,
                Arrived::Chunks(Ok(None)) => return Err(ClientError::closed("the node ended the lane")),
                Arrived::Chunks(Err(error)) => return Err(self.broken(&error)),
                Arrived::Large((slot, reply)) => self.complete_large(slot, reply, completions)?,
            }
        }
    }

    /// Tells whether a reply has arrived, without waiting: `true` if [`Session::recv_batch`] would have one at once.
    ///
    /// ```no_run
    /// # use outcrop_client::low::{Completion, Session};
    /// # async fn example(session: &mut Session) -> Result<(), outcrop_client::ClientError> {
    /// let mut completions: Vec<Completion> = Vec::new();
    /// let any = session.try_recv(&mut completions)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_recv(&mut self, completions: &mut Vec<Completion>) -> Result<bool, ClientError> {
        let mut receiving = std::pin::pin!(self.recv_batch(completions));
        match receiving.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(received) => received.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// The tokens of requests that never got a reply, after the connection broke: their fate is unknown.
    ///
    /// ```no_run
    /// # async fn example(session: &mut outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
    /// if session.flush().await.is_err() {
    ///     println!("unknown: {:?}", session.lost().collect::<Vec<u64>>());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn lost(&self) -> impl Iterator<Item = u64> + '_ {
        self.tokens.iter().flatten().copied()
    }

    /// Closes the connection at once.
    ///
    /// ```no_run
    /// # async fn example(session: outcrop_client::low::Session) -> Result<(), outcrop_client::ClientError> {
    /// session.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) {
        let connection = &self.opened.connection;
        say_goodbye(connection, || connection.close(0_u32.into(), b"closed by the client")).await;
    }

    fn take_chunks(&mut self, count: usize, completions: &mut Vec<Completion>) -> Result<(), ClientError> {
        for place in 0..count {
            self.splitter.feed(std::mem::take(&mut self.chunks[place]));
            while let Some(frame) = self.splitter.next_frame().map_err(ClientError::protocol)? {
                self.complete(frame, completions)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, frame: Bytes, completions: &mut Vec<Completion>) -> Result<(), ClientError> {
        let header = Reply::parse(&frame).map_err(ClientError::protocol)?.header;
        let token = self.take(header.request_id).ok_or_else(|| {
            let (id, code) = (header.request_id, header.code.name());
            ClientError::protocol(format!("a reply to a request that is not under way: {id}, {code}"))
        })?;
        completions.push(Completion { token, code: header.code, frame });
        Ok(())
    }

    fn complete_large(
        &mut self,
        slot: u32,
        reply: Result<Bytes, Lost>,
        completions: &mut Vec<Completion>,
    ) -> Result<(), ClientError> {
        let (code, frame) = match reply {
            Ok(frame) => (Reply::parse(&frame).map_err(ClientError::protocol)?.header.code, frame),
            Err(Lost::Unsent(_)) => (Code::Overloaded, Bytes::new()),
            Err(_) => (Code::Indeterminate, Bytes::new()),
        };
        let token = self.take(slot).ok_or_else(|| {
            ClientError::protocol(format!("a large reply to a request that is not under way: {slot}, {}", code.name()))
        })?;
        completions.push(Completion { token, code, frame });
        Ok(())
    }

    fn take(&mut self, slot: u32) -> Option<u64> {
        let token = self.tokens.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(token)
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> ClientError {
        let reason = self.opened.connection.close_reason();
        let message = reason.as_ref().map_or_else(|| error.to_string(), explain);
        match reason.as_ref().and_then(code_of) {
            Some(code) => ClientError::Refused { code, message },
            None => ClientError::Closed { message },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.opened.connection.close(0_u32.into(), b"the session was dropped");
    }
}

enum Arrived {
    Chunks(Result<Option<usize>, quinn::ReadError>),
    Large(LargeReply),
}

async fn accept_large_replies(connection: quinn::Connection, sender: mpsc::Sender<LargeReply>) {
    while let Ok(recv) = connection.accept_uni().await {
        let (connection, sender) = (connection.clone(), sender.clone());
        tokio::spawn(async move {
            match read_large_frame(recv).await {
                Ok(frame) => {
                    let slot = frame.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
                    let _ = sender.send((slot, Ok(frame))).await;
                }
                Err(reason) => connection.close(0_u32.into(), reason.as_bytes()),
            }
        });
    }
}
