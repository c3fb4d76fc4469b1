//! The transport over QUIC: quinn's streams and connections as the server's traits.

use bytes::Bytes;
use quinn::VarInt;

use super::io::{CloseCode, Connection, Receive, StreamClosed, Transmit};

impl CloseCode {
    /// For quinn.
    pub(super) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

fn closed(error: impl std::fmt::Display) -> StreamClosed {
    StreamClosed(error.to_string())
}

impl Receive for quinn::RecvStream {
    async fn receive(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, StreamClosed> {
        self.read_chunks(chunks).await.map_err(closed)
    }

    async fn receive_some(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StreamClosed> {
        let chunk = self.read_chunk(bytes_max, true).await.map_err(closed)?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    fn stop(&mut self) {
        // Fails only if the stream is over already.
        let _ = quinn::RecvStream::stop(self, VarInt::from_u32(0));
    }
}

impl Transmit for quinn::SendStream {
    async fn transmit(&mut self, bytes: Bytes) -> Result<(), StreamClosed> {
        self.write_chunk(bytes).await.map_err(closed)
    }

    fn finish(&mut self) {
        // Fails only if the stream is over already.
        let _ = quinn::SendStream::finish(self);
    }

    async fn delivered(&mut self) {
        // An error says that the connection is gone; then there is nothing left to wait for.
        let _ = quinn::SendStream::stopped(self).await;
    }

    async fn stopped(&mut self) {
        // Before it is finished it can't have been delivered: this is the peer's doing, or the connection is gone.
        let _ = quinn::SendStream::stopped(self).await;
    }

    fn reset(&mut self, code: CloseCode) {
        // Fails only if the stream is over already.
        let _ = quinn::SendStream::reset(self, code.code());
    }
}

impl Connection for quinn::Connection {
    type Receive = quinn::RecvStream;
    type Transmit = quinn::SendStream;

    async fn accept(&self) -> Result<(quinn::SendStream, quinn::RecvStream), StreamClosed> {
        self.accept_bi().await.map_err(closed)
    }

    async fn open(&self) -> Result<quinn::SendStream, StreamClosed> {
        self.open_uni().await.map_err(closed)
    }

    fn close(&self, code: CloseCode, reason: &str) {
        quinn::Connection::close(self, code.code(), reason.as_bytes());
    }
}
