//! Streams as the server sees them: two small traits, so that a simulation can stand in for QUIC.

use std::future::Future;

use bytes::Bytes;
use thiserror::Error;

/// The stream or its connection is gone, or the peer broke it off.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("stream closed: {0}")]
pub struct StreamClosed(pub String);

/// Chunks that one look at a stream takes, at most.
pub const CHUNKS_MAX: usize = 32;

/// The receiving half.
pub trait Receive: Send + 'static {
    /// Waits for data and gives all chunks that are there, up to `chunks.len()`; `None`: the peer is done sending.
    /// Dropping the future loses nothing.
    fn receive(&mut self, chunks: &mut [Bytes]) -> impl Future<Output = Result<Option<usize>, StreamClosed>> + Send;

    /// Tells the peer to stop sending.
    fn stop(&mut self);
}

/// The sending half.
pub trait Transmit: Send + 'static {
    /// Hands bytes over; waits while the peer has no room for them.
    fn transmit(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), StreamClosed>> + Send;

    /// Says that nothing follows.
    fn finish(&mut self);
}

impl Receive for quinn::RecvStream {
    async fn receive(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, StreamClosed> {
        self.read_chunks(chunks).await.map_err(|error| StreamClosed(error.to_string()))
    }

    fn stop(&mut self) {
        // Fails only if the stream is over already.
        let _ = quinn::RecvStream::stop(self, quinn::VarInt::from_u32(0));
    }
}

impl Transmit for quinn::SendStream {
    async fn transmit(&mut self, bytes: Bytes) -> Result<(), StreamClosed> {
        self.write_chunk(bytes).await.map_err(|error| StreamClosed(error.to_string()))
    }

    fn finish(&mut self) {
        // Fails only if the stream is over already.
        let _ = quinn::SendStream::finish(self);
    }
}
