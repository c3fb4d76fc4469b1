//! `batch`: many requests in one frame, each with its own outcome, answered together in their order.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::limits::BATCH_REPLY_BYTES_MAX;
use outcrop_wire::request::{BatchItem, encode_request};
use outcrop_wire::{Code, KeyRef, ReplyHeader, RequestBody, RequestHeader, Verb};

use super::answer::{Finished, Now, Wait, refuse};
use super::context::Context;
use super::error::CommandError;
use super::warm::{RUN_MAX, Warmth};
use super::{execute_later, execute_now};

/// Requests of one batch that wait for the device at the same time.
const CONCURRENT_MAX: usize = 128;

/// Carries a batch out if every request can be done at once. Reads only: a batch that writes is carried out in
/// [`batch_later`], since what is done can't be taken back when a later item has to wait.
pub fn batch_now(
    context: &Arc<Context>,
    header: &RequestHeader,
    body: &RequestBody<'_>,
    now_secs: u32,
    out: &mut Vec<u8>,
) -> Now {
    let RequestBody::Batch { items } = body else { return Now::Later };
    if items.iter().any(|item| key_of(&item.body).is_none()) {
        return Now::Later;
    }
    let start = out.len();
    ReplyHeader::new(header.request_id, Verb::Batch, Code::Ok).encode(out);
    out.extend_from_slice(&(items.len() as u16).to_le_bytes());
    let mut waits = Waits::default();
    let mut warmth = Warmth::default();
    for (place, item) in items.iter().enumerate() {
        if place % RUN_MAX == 0 {
            let run = &items[place..items.len().min(place + RUN_MAX)];
            warmth.keys(context, run.iter().filter_map(|item| Some((item.namespace, key_of(&item.body)?))));
        }
        let frame = begin_frame(out);
        let (item_header, digest) = (item_header(header, item), warmth.digest(place % RUN_MAX));
        match execute_now(context, &item_header, &item.body, digest, now_secs, out) {
            Now::Done { wait, .. } if waits.add(wait) && out.len() - start <= BATCH_REPLY_BYTES_MAX => {
                end_frame(out, frame);
            }
            _ => {
                out.truncate(start);
                return Now::Later;
            }
        }
    }
    Now::Done { code: Code::Ok, wait: waits.one }
}

/// The key of an item that only reads.
fn key_of<'a>(body: &RequestBody<'a>) -> Option<KeyRef<'a>> {
    match body {
        RequestBody::Get { key, .. } | RequestBody::Exists { key } => Some(*key),
        _ => None,
    }
}

/// What a batch's replies rest on: one log, or the batch is done by [`batch_later`].
#[derive(Default)]
struct Waits {
    one: Option<Wait>,
}

impl Waits {
    /// Whether it is still one log.
    fn add(&mut self, wait: Option<Wait>) -> bool {
        match (&mut self.one, wait) {
            (_, None) => true,
            (one @ None, Some(wait)) => {
                *one = Some(wait);
                true
            }
            (Some(one), Some(wait)) => {
                one.end = one.end.max(wait.end);
                one.namespace == wait.namespace
            }
        }
    }
}

fn item_header(header: &RequestHeader, item: &BatchItem<'_>) -> RequestHeader {
    RequestHeader { verb: item.body.verb(), namespace: item.namespace, ..*header }
}

/// Carries a batch out, items that wait for the device beside one another.
pub async fn batch_later(
    context: &Arc<Context>,
    header: &RequestHeader,
    items: &[BatchItem<'_>],
) -> Result<Finished, CommandError> {
    let mut replies: Vec<Option<Bytes>> = vec![None; items.len()];
    let mut waits: Vec<Wait> = Vec::new();
    let mut bytes_left = BATCH_REPLY_BYTES_MAX;
    let mut waiting = FuturesUnordered::new();
    for (place, item) in items.iter().enumerate() {
        let item_header = item_header(header, item);
        let mut out = Vec::with_capacity(64);
        let now_secs = context.namespaces.first().map_or(0, |namespace| namespace.clock.now_secs());
        match execute_now(context, &item_header, &item.body, None, now_secs, &mut out) {
            Now::Done { code, wait } => {
                let finished = Finished::small(code, out, wait);
                settle(header, item, finished, &mut replies[place], &mut waits, &mut bytes_left);
            }
            Now::Later => {
                let mut frame = Vec::with_capacity(256);
                encode_request(&item_header, &item.body, &mut frame);
                let reply = execute_later(context.clone(), Bytes::from(frame), None);
                waiting.push(async move { (place, reply.await) });
            }
        }
        while waiting.len() >= CONCURRENT_MAX {
            let Some((place, finished)) = waiting.next().await else { break };
            settle(header, &items[place], finished, &mut replies[place], &mut waits, &mut bytes_left);
        }
    }
    while let Some((place, finished)) = waiting.next().await {
        settle(header, &items[place], finished, &mut replies[place], &mut waits, &mut bytes_left);
    }
    // Replies leave together, so they wait together; the lane waits for the last log itself.
    let last = waits.pop();
    for wait in waits {
        if let Some(namespace) = context.namespaces.get(usize::from(wait.namespace)) {
            namespace.log.wait_durable(wait.end).await.map_err(|error| {
                let writes = items.iter().any(|item| item.body.verb().writes());
                let code = if writes { Code::Indeterminate } else { Code::DevicePoisoned };
                CommandError::new(code, format!("what the batch did or saw may be lost: {error}"))
            })?;
        }
    }
    let mut content = Vec::with_capacity(64);
    ReplyHeader::new(header.request_id, Verb::Batch, Code::Ok).encode(&mut content);
    content.extend_from_slice(&(items.len() as u16).to_le_bytes());
    for reply in replies.into_iter().flatten() {
        content.extend_from_slice(&(reply.len() as u32).to_le_bytes());
        content.extend_from_slice(&reply);
    }
    Ok(Finished::small(Code::Ok, content, last))
}

/// Puts one reply in its place, within the batch's budget of bytes.
fn settle(
    header: &RequestHeader,
    item: &BatchItem<'_>,
    finished: Finished,
    place: &mut Option<Bytes>,
    waits: &mut Vec<Wait>,
    bytes_left: &mut usize,
) {
    match (waits.iter_mut().find(|wait| Some(wait.namespace) == finished.wait.map(|w| w.namespace)), finished.wait) {
        (Some(known), Some(wait)) => known.end = known.end.max(wait.end),
        (None, Some(wait)) => waits.push(wait),
        (_, None) => {}
    }
    // Every item keeps room for a header and a message.
    const SMALL: usize = 256;
    if finished.byte_len() <= SMALL {
        *place = Some(joined(finished));
        return;
    }
    if finished.byte_len() > *bytes_left {
        let mut out = Vec::with_capacity(128);
        let error = CommandError::new(
            Code::ReplyTooLarge,
            format!("the batch's replies are over {BATCH_REPLY_BYTES_MAX} bytes together"),
        );
        refuse(header.request_id, item.body.verb(), item.namespace.0, &error, &mut out);
        *place = Some(out.into());
        return;
    }
    *bytes_left -= finished.byte_len();
    *place = Some(joined(finished));
}

fn joined(finished: Finished) -> Bytes {
    match finished.value {
        None => finished.content.into(),
        Some(value) => {
            let mut whole = finished.content;
            whole.extend_from_slice(&value);
            whole.into()
        }
    }
}
