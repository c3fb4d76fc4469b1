//! The transport as the server sees it: three small traits, so that a simulation can stand in for QUIC.
//!
//! `quic` implements them for quinn, `memory` for streams inside of one process. Everything above is generic over them,
//! so that a request pays no dynamic call for it.
//!
//! Architecture invariant: no room but `quic`, `listen` and `transport` knows quinn; `cargo xtask tidy` checks it.

use std::future::Future;

use bytes::Bytes;
use outcrop_wire::hello;
use thiserror::Error;

/// The stream or its connection is gone, or the peer broke it off.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("stream closed: {0}")]
pub struct StreamClosed(pub String);

/// Chunks that one look at a stream takes, at most.
pub const CHUNKS_MAX: usize = 32;

/// Why the node closes a connection or resets a stream; the application error code of the frame that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// The node is shutting down.
    Draining = hello::CLOSE_DRAINING,
    /// The peer broke the protocol.
    Protocol = hello::CLOSE_PROTOCOL,
    /// The node has as many connections as it may have.
    TooManyConnections = hello::CLOSE_TOO_MANY_CONNECTIONS,
    /// The peer's version isn't spoken here.
    Version = hello::CLOSE_VERSION,
    /// The connection has as many lanes as it may have; of a stream that is reset.
    TooManyStreams = 5,
}

/// The receiving half of a stream.
pub trait Receive: Send + 'static {
    /// Waits for data and gives all chunks that are there, up to `chunks.len()`; `None`: the peer is done sending.
    /// Dropping the future loses nothing.
    fn receive(&mut self, chunks: &mut [Bytes]) -> impl Future<Output = Result<Option<usize>, StreamClosed>> + Send;

    /// Waits for data and gives the first of it, `bytes_max` bytes at most; what lies behind them stays where it is, and
    /// so counts against the peer's window. `None`: the peer is done sending. Dropping the future loses nothing.
    fn receive_some(&mut self, bytes_max: usize) -> impl Future<Output = Result<Option<Bytes>, StreamClosed>> + Send;

    /// Tells the peer to stop sending.
    fn stop(&mut self);
}

/// The sending half of a stream. Dropped, it ends as if it had been finished.
pub trait Transmit: Send + 'static {
    /// Hands bytes over; waits while the peer has no room for them.
    fn transmit(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), StreamClosed>> + Send;

    /// Says that nothing follows.
    fn finish(&mut self);

    /// Waits until the peer has everything, wants no more of it, or is gone. Call it after [`Transmit::finish`].
    fn delivered(&mut self) -> impl Future<Output = ()> + Send;

    /// Waits until the peer wants no more of the stream, or is gone: work for it may end. Dropping the future loses
    /// nothing.
    fn stopped(&mut self) -> impl Future<Output = ()> + Send;

    /// Breaks the stream off: what the peer doesn't have yet, it won't get.
    fn reset(&mut self, code: CloseCode);
}

/// A connection: streams that the peer opens, streams that the node opens, and an end with a reason.
pub trait Connection: Clone + Send + Sync + 'static {
    /// Receiving halves of its streams.
    type Receive: Receive;
    /// Sending halves of its streams.
    type Transmit: Transmit;

    /// Waits for the next bidirectional stream of the peer. The transport bounds how many there are. Dropping the future
    /// loses nothing.
    fn accept(&self) -> impl Future<Output = Result<(Self::Transmit, Self::Receive), StreamClosed>> + Send;

    /// Opens a unidirectional stream; waits while the peer allows no more of them.
    fn open(&self) -> impl Future<Output = Result<Self::Transmit, StreamClosed>> + Send;

    /// Closes it at once, with all of its streams.
    fn close(&self, code: CloseCode, reason: &str);
}

/// Waits for the next `N` bytes of a stream.
///
/// # Errors
/// The stream broke, or ended before them.
pub async fn receive_exactly<const N: usize>(receive: &mut impl Receive) -> Result<[u8; N], StreamClosed> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let Some(some) = receive.receive_some(N - filled).await? else {
            return Err(StreamClosed(format!("it ended {} bytes too early", N - filled)));
        };
        bytes[filled..filled + some.len()].copy_from_slice(&some);
        filled += some.len();
    }
    Ok(bytes)
}
