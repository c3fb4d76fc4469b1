//! Large replies: each on a unidirectional stream of its own, so that it never delays a small one.

use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::hello::STREAM_LARGE_REPLY;
use tokio::sync::OwnedSemaphorePermit;

/// How long a caller may take to read one large reply; then the stream is reset and its memory given back.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends large replies of one connection.
#[derive(Clone)]
pub struct LargeReplies {
    connection: quinn::Connection,
}

impl LargeReplies {
    /// Over this connection.
    pub fn new(connection: quinn::Connection) -> Self {
        LargeReplies { connection }
    }

    /// Sends a reply; `value` follows `content` without a copy. `permit` bounds how many of them there are.
    pub fn send(&self, content: Vec<u8>, value: Option<Bytes>, permit: Option<OwnedSemaphorePermit>) {
        let connection = self.connection.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // A caller that is gone or reads nothing gets nothing: its connection's end tells it.
            let _ = tokio::time::timeout(SEND_TIMEOUT, send(connection, content, value)).await;
        });
    }
}

async fn send(connection: quinn::Connection, content: Vec<u8>, value: Option<Bytes>) -> Result<(), quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    let len = content.len() + value.as_ref().map_or(0, Bytes::len);
    let mut head = Vec::with_capacity(content.len() + 8);
    head.push(STREAM_LARGE_REPLY);
    head.extend_from_slice(&(len as u32).to_le_bytes());
    head.extend_from_slice(&content);
    stream.write_chunk(Bytes::from(head)).await?;
    if let Some(value) = value {
        stream.write_chunk(value).await?;
    }
    // Fails only if the peer stopped the stream.
    let _ = stream.finish();
    // The permit stands for memory that QUIC holds until the peer has it.
    let _ = stream.stopped().await;
    Ok(())
}
