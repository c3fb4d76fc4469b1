//! A stream for one request and its reply: large values, both ways, without a copy of our own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::LENGTH_BYTES;
use outcrop_wire::limits::{FRAME_BYTES_MAX, LANE_VALUE_BYTES_MAX};
use outcrop_wire::reply::encode_error;
use outcrop_wire::{Code, ReplyHeader, Verb};
use tokio::time::Instant;

use super::io::{Receive, Transmit, receive_exactly};
use super::query;
use super::session::Session;
use super::waiting::undurable;
use crate::command::answer::{Finished, Wait};
use crate::command::{Step, execute};

/// A frame may take this long to come: it holds memory meanwhile.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a frame may wait for memory.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves one request.
pub async fn serve(
    session: Arc<Session>,
    mut receive: impl Receive,
    mut transmit: impl Transmit,
) -> Result<(), String> {
    let began = Instant::now();
    let prefix = tokio::time::timeout(RECEIVE_TIMEOUT, receive_exactly::<LENGTH_BYTES>(&mut receive)).await;
    let prefix = prefix.map_err(|_| "its length didn't come in time".to_owned())?.map_err(|error| error.to_string())?;
    let len = u32::from_le_bytes(prefix) as usize;
    if len > FRAME_BYTES_MAX {
        let message = format!("a frame of {len} bytes is over the limit of {FRAME_BYTES_MAX}");
        let mut content = Vec::new();
        encode_error(&ReplyHeader::new(0, Verb::Info, Code::FrameTooLarge), &message, &mut content);
        return write(&mut transmit, Finished::small(Code::FrameTooLarge, content, None)).await;
    }
    // Nothing of the frame is read before there is memory for it; the caller feels it as a full window.
    let memory = match len > LANE_VALUE_BYTES_MAX {
        true => tokio::time::timeout(MEMORY_TIMEOUT, session.context.large_memory(len)).await.map(Some),
        false => Ok(None),
    };
    let Ok(memory) = memory else {
        let message = "the memory for large values is taken; nothing of the request was read";
        let mut content = Vec::new();
        encode_error(&ReplyHeader::new(0, Verb::Info, Code::Overloaded), message, &mut content);
        return write(&mut transmit, Finished::small(Code::Overloaded, content, None)).await;
    };
    let _memory = memory.transpose().map_err(|error| error.message)?;
    let whole = tokio::time::timeout(RECEIVE_TIMEOUT, read_frame(&mut receive, len)).await;
    let frame = whole.map_err(|_| "its frame didn't come in time".to_owned())??;
    let mut span = session.span(&frame, began);
    let _under_way = UnderWay::new(&session);
    if let Some(served) = query::serve(&session, &frame, &mut transmit).await {
        let query::Served { verb, code, bytes, mut told } = served?;
        Session::tell(&mut span, &mut told);
        session.record(verb, code, began.elapsed(), len, bytes, span);
        transmit.finish();
        transmit.delivered().await;
        return Ok(());
    }
    let mut content = Vec::with_capacity(128);
    let (verb, mut finished) = match execute(&session.context, &frame, None, session.now_secs(), &mut content) {
        Step::Done { verb, code, wait } => (verb.unwrap_or(Verb::Info), Finished::small(code, content, wait)),
        Step::Later { header, reply } => (header.verb, reply.await),
    };
    Session::tell(&mut span, &mut finished.told);
    let deadline = began + session.deadline_of(&frame);
    let request_id = frame.first_chunk::<4>().map_or(0, |id| u32::from_le_bytes(*id));
    let finished = until_durable(&session, verb, request_id, finished, deadline).await;
    if verb == Verb::Batch {
        session.record_items(&finished.content);
    }
    session.record(verb, finished.code, began.elapsed(), len, finished.byte_len(), span);
    write(&mut transmit, finished).await
}

async fn read_frame(receive: &mut impl Receive, len: usize) -> Result<Bytes, String> {
    let mut frame = Vec::with_capacity(len);
    while frame.len() < len {
        match receive.receive_some(len - frame.len()).await.map_err(|error| error.to_string())? {
            Some(some) => frame.extend_from_slice(&some),
            None => return Err(format!("the stream ended {} bytes before the end of its frame", len - frame.len())),
        }
    }
    Ok(Bytes::from(frame))
}

/// Waits until what a reply rests on is durable; else its fate is unknown, and so it is said.
async fn until_durable(
    session: &Session,
    verb: Verb,
    request_id: u32,
    finished: Finished,
    deadline: Instant,
) -> Finished {
    let Some(Wait { namespace, end }) = finished.wait else { return finished };
    let Some(namespace) = session.context.namespaces.get(usize::from(namespace)) else { return finished };
    let began = Instant::now();
    let poisoned = match tokio::time::timeout_at(deadline, namespace.log.wait_durable(end)).await {
        Ok(Ok(())) => return finished,
        Ok(Err(_)) => true,
        Err(_) => false,
    };
    let (code, message) = undurable(verb, finished.code, poisoned, began.elapsed());
    let mut content = Vec::with_capacity(128);
    encode_error(&ReplyHeader::new(request_id, verb, code), &message, &mut content);
    Finished::small(code, content, None)
}

async fn write(transmit: &mut impl Transmit, finished: Finished) -> Result<(), String> {
    let mut head = Vec::with_capacity(finished.content.len() + LENGTH_BYTES);
    head.extend_from_slice(&(finished.byte_len() as u32).to_le_bytes());
    head.extend_from_slice(&finished.content);
    transmit.transmit(Bytes::from(head)).await.map_err(|error| error.to_string())?;
    if let Some(value) = finished.value {
        transmit.transmit(value).await.map_err(|error| error.to_string())?;
    }
    transmit.finish();
    transmit.delivered().await;
    Ok(())
}

/// One request under way, as the node counts it.
struct UnderWay<'a>(&'a Session);

impl<'a> UnderWay<'a> {
    fn new(session: &'a Session) -> Self {
        session.context.count_under_way(0, 1);
        UnderWay(session)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.context.count_under_way(1, 0);
    }
}
