//! Large replies: each on a unidirectional stream of its own, so that it never delays a small one.

use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::hello::STREAM_LARGE_REPLY;
use tokio::sync::OwnedSemaphorePermit;

use super::io::{Connection, StreamClosed, Transmit};

/// How long a caller may take to read one large reply; then the stream is reset and its memory given back.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends large replies of one connection.
#[derive(Clone)]
pub struct LargeReplies<C> {
    connection: C,
}

impl<C: Connection> LargeReplies<C> {
    /// Over this connection.
    pub fn new(connection: C) -> Self {
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

async fn send(connection: impl Connection, content: Vec<u8>, value: Option<Bytes>) -> Result<(), StreamClosed> {
    let mut stream = connection.open().await?;
    let len = content.len() + value.as_ref().map_or(0, Bytes::len);
    let mut head = Vec::with_capacity(content.len() + 8);
    head.push(STREAM_LARGE_REPLY);
    head.extend_from_slice(&(len as u32).to_le_bytes());
    head.extend_from_slice(&content);
    stream.transmit(Bytes::from(head)).await?;
    if let Some(value) = value {
        stream.transmit(value).await?;
    }
    stream.finish();
    // The permit stands for memory that the transport holds until the peer has it.
    stream.delivered().await;
    Ok(())
}
