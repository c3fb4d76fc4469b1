//! A stream of its own for one large request and its reply, so that 4 MiB never delays 100 bytes.

use bytes::Bytes;
use outcrop_wire::frame::FrameSplitter;
use outcrop_wire::limits::FRAME_BYTES_MAX;
use quinn::{Connection, RecvStream};
use tokio::time::Instant;

use super::Lost;
use super::link::explain;

/// Sends `stream`, which begins with the stream's kind and holds one whole frame, and waits for the reply.
pub(crate) async fn call(connection: &Connection, stream: Vec<u8>, deadline: Instant) -> Result<Bytes, Lost> {
    let unsent = |message: String| Lost::Unsent(message);
    let opened = tokio::time::timeout_at(deadline, connection.open_bi()).await;
    let (mut send, mut recv) = match opened {
        Ok(opened) => opened.map_err(|error| unsent(explain(&error)))?,
        Err(_) => return Err(unsent("no stream was free by the deadline".to_owned())),
    };
    let sent = |message: String| Lost::Sent(message);
    let exchange = async {
        send.write_chunk(Bytes::from(stream)).await.map_err(|error| sent(error.to_string()))?;
        send.finish().map_err(|error| sent(error.to_string()))?;
        let mut splitter = FrameSplitter::new(FRAME_BYTES_MAX);
        let reply = read_frame(&mut recv, &mut splitter).await.map_err(sent)?;
        reply.ok_or_else(|| sent("the node ended the stream without a reply".to_owned()))
    };
    let outcome = tokio::time::timeout_at(deadline, exchange).await;
    outcome.unwrap_or_else(|_| {
        // Without a reset the rest of a frame that nobody waits for would still be sent. An error: it is sent already.
        let _ = send.reset(0_u32.into());
        Err(Lost::Expired)
    })
}

/// The next frame of a stream; `None` at a clean end.
pub(crate) async fn read_frame(recv: &mut RecvStream, splitter: &mut FrameSplitter) -> Result<Option<Bytes>, String> {
    loop {
        if let Some(frame) = splitter.next_frame().map_err(|error| error.to_string())? {
            return Ok(Some(frame));
        }
        match recv.read_chunk(usize::MAX, true).await.map_err(|error| error.to_string())? {
            Some(chunk) => splitter.feed(chunk.bytes),
            None => return splitter.finish().map(|()| None).map_err(|error| error.to_string()),
        }
    }
}
