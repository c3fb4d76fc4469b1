//! A lane: one long-lived stream of small frames, pipelined, answered in any order, written in one go per wake-up.
//!
//! The lane is one task. It takes every frame that has come, carries out at once what can be, and hands all replies
//! that are ready to QUIC as one chunk. What waits for the device is a future beside; what waits for durability stands
//! in line. The lane stops reading while too much is under way, so a caller that sends faster than it reads slows down.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::limits::{LANE_FRAME_BYTES_MAX, LANE_INFLIGHT_MAX, LANE_VALUE_BYTES_MAX};
use outcrop_wire::{Digest, RequestHeader, Verb};
use tokio::time::Instant;

use super::busy_poll::BusyPoll;
use super::frames::Frames;
use super::io::{Connection, Receive, StreamClosed, Transmit};
use super::large::LargeReplies;
use super::session::Session;
use super::waiting::{Held, Waiting};
use crate::command::answer::Finished;
use crate::command::warm::{RUN_MAX, Warmth};
use crate::command::{Step, execute};
use crate::telemetry::{RequestSpan, Stage};

/// Replies are handed over once they are this long, even if more frames have come.
const WRITE_BYTES: usize = 64 << 10;
/// The first replies of a burst are handed over already at this length, the next at twice that, and so on: the caller
/// begins with them while the node goes on, and neither falls asleep waiting for the other.
const FIRST_WRITE_BYTES: usize = 16 << 10;

/// A request whose reply takes its time.
struct Under {
    header: RequestHeader,
    began: Instant,
    bytes_in: usize,
    span: Option<RequestSpan>,
    finished: Finished,
}

type UnderWay = std::pin::Pin<Box<dyn Future<Output = Under> + Send>>;

/// Replies are handed over once so much time has gone into them: those of quick requests don't wait for slow ones that
/// came behind them, and other lanes get their turn.
const WRITE_AFTER: Duration = Duration::from_micros(500);

/// How many frames make a run: as many as fill a write if replies are of this length.
const TYPICAL_REPLY_BYTES: usize = 1 << 10;

/// One lane's state.
struct Lane<C> {
    session: Arc<Session>,
    large: LargeReplies<C>,
    under_way: FuturesUnordered<UnderWay>,
    waiting: Waiting,
    out: Vec<u8>,
    /// Requests under way that the node knows of.
    told: usize,
    /// Frames that are carried out one after the other; empty in between.
    run: Vec<Bytes>,
    warmth: Warmth,
    /// Length at which replies are handed over.
    write_bytes: usize,
    busy_poll: BusyPoll,
}

impl<C> Drop for Lane<C> {
    fn drop(&mut self) {
        self.session.context.count_under_way(self.told, 0);
    }
}

/// Serves a lane until its end; what is under way then is finished first.
pub async fn serve(
    session: Arc<Session>,
    large: LargeReplies<impl Connection>,
    receive: impl Receive,
    mut transmit: impl Transmit,
) -> Result<(), String> {
    let mut frames = Frames::new(receive, LANE_FRAME_BYTES_MAX);
    let waiting = Waiting::new(session.context.clone());
    let out = Vec::with_capacity(WRITE_BYTES);
    let (under_way, run, warmth) = (FuturesUnordered::new(), Vec::with_capacity(RUN_MAX), Warmth::default());
    let busy_poll = BusyPoll::new(session.poll_place.clone(), session.limits.busy_poll);
    let write_bytes = FIRST_WRITE_BYTES;
    let mut lane = Lane { session, large, under_way, waiting, out, told: 0, run, warmth, write_bytes, busy_poll };
    let mut open = true;
    while open || lane.busy() {
        if open {
            match lane.take_frames(&mut frames) {
                Ok(()) => {}
                Err(error) => {
                    // What came before is still answered; what follows can't be told apart any more.
                    frames.stop();
                    lane.session.protocol_error(&error);
                    open = false;
                }
            }
        }
        lane.tell();
        if lane.out.is_empty() {
            lane.write_bytes = FIRST_WRITE_BYTES;
            open = lane.wait(&mut frames, open).await?;
        }
        lane.settle();
        if !lane.out.is_empty() {
            let full = lane.out.capacity().clamp(WRITE_BYTES, 4 * WRITE_BYTES);
            let bytes = std::mem::replace(&mut lane.out, Vec::with_capacity(full));
            transmit.transmit(Bytes::from(bytes)).await.map_err(|error| error.to_string())?;
            lane.write_bytes = (2 * lane.write_bytes).min(WRITE_BYTES);
            // QUIC sends when its own task gets its turn.
            tokio::task::yield_now().await;
        }
    }
    transmit.finish();
    Ok(())
}

impl<C: Connection> Lane<C> {
    fn busy(&self) -> bool {
        !self.under_way.is_empty() || !self.waiting.is_empty() || !self.out.is_empty()
    }

    /// Whether as much is under way as may be; then the lane isn't read.
    fn is_full(&self) -> bool {
        self.in_flight() >= (self.session.limits.lane_inflight_max as usize).min(LANE_INFLIGHT_MAX)
    }

    fn in_flight(&self) -> usize {
        self.under_way.len() + self.waiting.len()
    }

    /// Lets the node know how many requests are under way.
    fn tell(&mut self) {
        let now = self.in_flight();
        if now != self.told {
            self.session.context.count_under_way(self.told, now);
            self.told = now;
        }
    }

    /// Carries out the frames that are here, in runs, until there is enough to write.
    fn take_frames<R: Receive>(&mut self, frames: &mut Frames<R>) -> Result<(), String> {
        let mut began = Instant::now();
        let write_at = began + WRITE_AFTER;
        let now_secs = self.session.now_secs();
        while self.out.len() < self.write_bytes && !self.is_full() && (self.out.is_empty() || began < write_at) {
            while self.run.len() < RUN_MAX.min(self.write_bytes / TYPICAL_REPLY_BYTES) {
                let Some(frame) = frames.next_here().map_err(|error| error.to_string())? else { break };
                self.run.push(frame);
            }
            if self.run.is_empty() {
                break;
            }
            let mut run = std::mem::take(&mut self.run);
            self.warmth.run(&self.session.context, &run);
            for (place, frame) in run.drain(..).enumerate() {
                began = self.take_frame(frame, self.warmth.digest(place), began, now_secs);
            }
            self.run = run;
        }
        Ok(())
    }

    /// Carries out one frame; when it was done.
    fn take_frame(&mut self, frame: Bytes, digest: Option<Digest>, began: Instant, now_secs: u32) -> Instant {
        let bytes_in = frame.len();
        let start = begin_frame(&mut self.out);
        let mut span = self.session.span(&frame, began);
        let deadline = || began + self.session.deadline_of(&frame);
        match execute(&self.session.context, &frame, digest, now_secs, &mut self.out) {
            Step::Done { verb, code, wait } => {
                let done = Instant::now();
                let verb = verb.unwrap_or(Verb::Info);
                if verb == Verb::Batch {
                    self.session.record_items(&self.out[start + outcrop_wire::frame::LENGTH_BYTES..]);
                }
                match wait.filter(|wait| !self.waiting.is_durable(*wait)) {
                    Some(wait) => {
                        enter(&mut span, Stage::CommitWait);
                        let content = self.out.split_off(start).split_off(outcrop_wire::frame::LENGTH_BYTES);
                        let request_id = content.first_chunk::<4>().map_or(0, |id| u32::from_le_bytes(*id));
                        let deadline = deadline();
                        let reply = Finished::small(code, content, None);
                        let held = Held { reply, request_id, verb, began, deadline, bytes_in, span };
                        self.waiting.hold(wait, held);
                    }
                    None => {
                        let bytes_out = self.out.len() - start;
                        self.end_frame(start);
                        self.session.record(verb, code, done - began, bytes_in, bytes_out, span);
                    }
                }
                done
            }
            Step::Later { header, mut reply } => {
                self.out.truncate(start);
                enter(&mut span, if header.verb == Verb::Get { Stage::FlashRead } else { Stage::Queue });
                // Most calls run through at once. One that doesn't is asked again below, with the lane's waker.
                if header.verb == Verb::Call
                    && let Some(finished) = (&mut reply).now_or_never()
                {
                    self.finish(Under { header, began, bytes_in, span, finished });
                    return Instant::now();
                }
                self.under_way.push(Box::pin(async move {
                    let finished = reply.await;
                    Under { header, began, bytes_in, span, finished }
                }));
                began
            }
        }
    }

    /// Ends a reply's frame; one that is too long for a lane leaves on a stream of its own.
    fn end_frame(&mut self, start: usize) {
        if self.out.len() - start > LANE_FRAME_BYTES_MAX {
            let content = self.out.split_off(start).split_off(outcrop_wire::frame::LENGTH_BYTES);
            self.large.send(content, None, None);
        } else {
            end_frame(&mut self.out, start);
        }
    }

    /// Waits for a frame, a finished request, a sync or a deadline; whether the lane is still open.
    async fn wait<R: Receive>(&mut self, frames: &mut Frames<R>, open: bool) -> Result<bool, String> {
        let room = open && !self.is_full();
        let deadline = self.waiting.next_deadline();
        let mut finished = None;
        let mut still_open = open;
        // What is under way wakes the lane by other ways than a frame.
        let idle_since = (room && self.in_flight() == 0).then(Instant::now);
        if idle_since.is_some()
            && self.busy_poll.is_worth_it()
            && let Some(more) = self.busy_poll.look(|| frames.more().now_or_never()).await
        {
            return self.came(frames, more, idle_since);
        }
        tokio::select! {
            biased;
            more = frames.more(), if room => still_open = self.came(frames, more, idle_since)?,
            under = self.under_way.next(), if !self.under_way.is_empty() => finished = under,
            () = self.waiting.changed(), if !self.waiting.is_empty() => {}
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            else => still_open = false,
        }
        if let Some(under) = finished {
            self.finish(under);
        }
        Ok(still_open)
    }

    /// More of the stream has come, or its end; whether the lane is still open.
    fn came<R: Receive>(
        &mut self,
        frames: &Frames<R>,
        more: Result<bool, StreamClosed>,
        idle_since: Option<Instant>,
    ) -> Result<bool, String> {
        if let Some(since) = idle_since {
            self.busy_poll.note(since.elapsed());
        }
        let open = more.map_err(|error| error.to_string())?;
        if !open && let Err(error) = frames.finish() {
            self.session.protocol_error(&error.to_string());
        }
        Ok(open)
    }

    /// Takes everything else that is ready, so that it leaves in the same write.
    fn settle(&mut self) {
        while self.out.len() < self.write_bytes && !self.under_way.is_empty() {
            match self.under_way.next().now_or_never() {
                Some(Some(under)) => self.finish(under),
                _ => break,
            }
        }
        if !self.waiting.is_empty() {
            let now = Instant::now();
            let (out, large, session) = (&mut self.out, &self.large, &self.session);
            self.waiting.release(now, |held| {
                let Held { reply, verb, began, bytes_in, span, .. } = held;
                session.record(verb, reply.code, now - began, bytes_in, reply.byte_len(), span);
                leave(reply, large, out);
            });
        }
    }

    /// Appends a reply that took its time, or puts it in line.
    fn finish(&mut self, under: Under) {
        let Under { header, began, bytes_in, mut span, mut finished } = under;
        Session::tell(&mut span, &mut finished.told);
        if header.verb == Verb::Batch {
            self.session.record_items(&finished.content);
        }
        if let Some(wait) = finished.wait.filter(|wait| !self.waiting.is_durable(*wait)) {
            enter(&mut span, Stage::CommitWait);
            let deadline = began + self.session.deadline(header.deadline_ms);
            let (request_id, verb) = (header.request_id, header.verb);
            self.waiting.hold(wait, Held { reply: finished, request_id, verb, began, deadline, bytes_in, span });
            return;
        }
        let bytes_out = finished.byte_len();
        self.session.record(header.verb, finished.code, began.elapsed(), bytes_in, bytes_out, span);
        leave(finished, &self.large, &mut self.out);
    }
}

/// Hands a reply over: on the lane, or on a stream of its own if it would delay the others.
fn leave(reply: Finished, large: &LargeReplies<impl Connection>, out: &mut Vec<u8>) {
    if reply.byte_len() > LANE_VALUE_BYTES_MAX {
        large.send(reply.content, reply.value, reply.permit);
        return;
    }
    let start = begin_frame(out);
    out.extend_from_slice(&reply.content);
    out.extend_from_slice(reply.value.as_deref().unwrap_or_default());
    end_frame(out, start);
}

/// The request goes on to this stage, if it is traced.
fn enter(span: &mut Option<RequestSpan>, stage: Stage) {
    if let Some(span) = span {
        span.enter(stage);
    }
}
