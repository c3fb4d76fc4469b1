//! A lane: slots for requests under way, the buffer of frames not yet handed to quinn, and who waits for what.
//!
//! Everything of a lane is behind one short lock. A slot's number is part of its request's id, so a reply finds its slot
//! without a map. A slot whose caller went away stays taken until its reply comes (or the connection goes), so that an id
//! is never used twice at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::limits::LANE_INFLIGHT_MAX;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Lost;

/// Frames that wait for the writer, at most, in bytes.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Why a lane takes no request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All slots are taken, or the buffer is full.
    Full,
    /// The connection is gone.
    Closed,
}

#[derive(Debug)]
enum SlotState {
    Free,
    Waiting(Option<Waker>),
    Done(Bytes),
    Expired,
    Lost {
        sent: bool,
    },
    /// The caller went away; the reply is still to come.
    Abandoned,
}

#[derive(Debug)]
struct Slot {
    state: SlotState,
    deadline: Instant,
    /// Where in the stream its frame begins.
    frame_at: u64,
}

#[derive(Debug, Default)]
struct LaneState {
    slots: Vec<Slot>,
    free: Vec<u16>,
    out: Vec<u8>,
    /// Bytes handed to the writer so far: where in the stream `out` begins.
    handed: u64,
    writer: Option<Waker>,
    /// Callers that wait for a place.
    starved: bool,
    /// Slots whose callers went away.
    abandoned: usize,
    answered: u64,
    closed: Option<Arc<str>>,
}

/// One lane of one connection.
#[derive(Debug)]
pub(crate) struct Lane {
    number: u16,
    state: Mutex<LaneState>,
    places: Notify,
}

/// What a look through a lane's slots found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Slots with a request under way, abandoned ones included.
    pub(crate) under_way: usize,
    /// Slots that expired just now.
    pub(crate) expired: usize,
    /// Whether all slots wait for replies of callers long gone.
    pub(crate) clogged: bool,
    /// Replies so far.
    pub(crate) answered: u64,
}

impl Lane {
    pub(crate) fn new(number: u16) -> Self {
        Lane { number, state: Mutex::new(LaneState::default()), places: Notify::new() }
    }

    /// Takes a slot and writes a frame with its id; `encode` gets the request id and appends the frame's content.
    pub(crate) fn submit(&self, deadline: Instant, encode: impl FnOnce(u32, &mut Vec<u8>)) -> Result<u16, Refusal> {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return Err(Refusal::Closed);
        }
        if state.out.len() >= BUFFER_BYTES_MAX {
            state.starved = true;
            return Err(Refusal::Full);
        }
        let frame_at = state.handed + state.out.len() as u64;
        let slot = Slot { state: SlotState::Waiting(None), deadline, frame_at };
        let number = match state.free.pop() {
            Some(number) => {
                state.slots[usize::from(number)] = slot;
                number
            }
            None if state.slots.len() < LANE_INFLIGHT_MAX => {
                state.slots.push(slot);
                (state.slots.len() - 1) as u16
            }
            None => {
                state.starved = true;
                return Err(Refusal::Full);
            }
        };
        let start = begin_frame(&mut state.out);
        encode(self.request_id(number), &mut state.out);
        end_frame(&mut state.out, start);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(number)
    }

    /// The id of the request in a slot: the lane's number above, the slot's below.
    fn request_id(&self, slot: u16) -> u32 {
        u32::from(self.number) << 16 | u32::from(slot)
    }

    /// The lane's number in a request id.
    pub(crate) fn of_request(request_id: u32) -> usize {
        (request_id >> 16) as usize
    }

    /// Waits until a slot or room in the buffer is likely free.
    pub(crate) async fn place(&self) {
        let notified = self.places.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        {
            let mut state = self.state.lock();
            let free = !state.free.is_empty() || state.slots.len() < LANE_INFLIGHT_MAX;
            if state.closed.is_some() || free && state.out.len() < BUFFER_BYTES_MAX {
                return;
            }
            state.starved = true;
        }
        notified.await;
    }

    /// Gives all frames that have gathered; waits if there are none. `None`: the lane is closed.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>, spare: &mut Vec<u8>) -> Poll<Option<Vec<u8>>> {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return Poll::Ready(None);
        }
        if state.out.is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = std::mem::replace(&mut state.out, std::mem::take(spare));
        state.handed += taken.len() as u64;
        let starved = std::mem::take(&mut state.starved);
        drop(state);
        if starved {
            self.places.notify_waiters();
        }
        Poll::Ready(Some(taken))
    }

    /// Fills the slots of these replies and gathers who is to be woken. An error: a reply to nothing.
    pub(crate) fn complete(&self, replies: &mut Vec<Bytes>, wakers: &mut Vec<Waker>) -> Result<(), Lost> {
        let mut state = self.state.lock();
        for reply in replies.drain(..) {
            let request_id = reply.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            let number = request_id.filter(|id| Lane::of_request(*id) == usize::from(self.number));
            let number = number.map(|id| id as u16).ok_or_else(|| unknown(request_id))?;
            let state = &mut *state;
            let slot = state.slots.get_mut(usize::from(number)).ok_or_else(|| unknown(request_id))?;
            state.answered += 1;
            match &mut slot.state {
                SlotState::Waiting(waker) => {
                    wakers.extend(waker.take());
                    slot.state = SlotState::Done(reply);
                }
                // Its caller is about to find it expired; better late than never.
                SlotState::Expired => slot.state = SlotState::Done(reply),
                SlotState::Abandoned => {
                    slot.state = SlotState::Free;
                    state.abandoned -= 1;
                    state.free.push(number);
                }
                SlotState::Free | SlotState::Done(_) | SlotState::Lost { .. } => return Err(unknown(request_id)),
            }
        }
        let starved = state.starved && !state.free.is_empty();
        state.starved &= !starved;
        drop(state);
        if starved {
            self.places.notify_waiters();
        }
        Ok(())
    }

    /// Expires the requests whose deadline has passed.
    pub(crate) fn sweep(&self, now: Instant, wakers: &mut Vec<Waker>) -> Swept {
        let mut state = self.state.lock();
        let mut swept = Swept { answered: state.answered, ..Swept::default() };
        for slot in &mut state.slots {
            match &mut slot.state {
                SlotState::Waiting(waker) if slot.deadline <= now => {
                    wakers.extend(waker.take());
                    slot.state = SlotState::Expired;
                    swept.expired += 1;
                    swept.under_way += 1;
                }
                SlotState::Waiting(_) | SlotState::Abandoned => swept.under_way += 1,
                _ => {}
            }
        }
        swept.clogged = state.abandoned == LANE_INFLIGHT_MAX;
        swept
    }

    /// Ends every request under way, and takes no more.
    pub(crate) fn close(&self, reason: &Arc<str>) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason.clone());
            let handed = state.handed;
            for slot in &mut state.slots {
                if let SlotState::Waiting(waker) = &mut slot.state {
                    wakers.extend(waker.take());
                    slot.state = SlotState::Lost { sent: slot.frame_at < handed };
                }
            }
            wakers.extend(state.writer.take());
        }
        wakers.into_iter().for_each(Waker::wake);
        self.places.notify_waiters();
    }

    /// Requests under way.
    pub(crate) fn under_way(&self) -> usize {
        let state = self.state.lock();
        state.slots.len() - state.free.len()
    }

    fn poll_call(&self, number: u16, context: &mut Context<'_>) -> Poll<Result<Bytes, Lost>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let slot = &mut state.slots[usize::from(number)];
        let outcome = match &mut slot.state {
            SlotState::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            SlotState::Done(_) => match std::mem::replace(&mut slot.state, SlotState::Free) {
                SlotState::Done(reply) => Ok(reply),
                _ => Err(Lost::Protocol("a slot changed under its lock".to_owned())),
            },
            SlotState::Expired => {
                slot.state = SlotState::Abandoned;
                state.abandoned += 1;
                return Poll::Ready(Err(Lost::Expired));
            }
            SlotState::Lost { sent } => {
                let reason = state.closed.as_deref().unwrap_or("unknown reason").to_owned();
                let lost = if *sent { Lost::Sent(reason) } else { Lost::Unsent(reason) };
                slot.state = SlotState::Free;
                Err(lost)
            }
            SlotState::Free | SlotState::Abandoned => Err(Lost::Protocol("a call was asked again".to_owned())),
        };
        state.free.push(number);
        if std::mem::take(&mut state.starved) {
            self.places.notify_waiters();
        }
        Poll::Ready(outcome)
    }

    fn abandon(&self, number: u16) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let slot = &mut state.slots[usize::from(number)];
        match slot.state {
            SlotState::Waiting(_) | SlotState::Expired => {
                slot.state = SlotState::Abandoned;
                state.abandoned += 1;
            }
            SlotState::Done(_) | SlotState::Lost { .. } => {
                slot.state = SlotState::Free;
                state.free.push(number);
            }
            SlotState::Free | SlotState::Abandoned => {}
        }
    }
}

fn unknown(request_id: Option<u32>) -> Lost {
    Lost::Protocol(format!("a reply to a request that is not under way: {request_id:?}"))
}

/// A request under way. Dropped, it is forgotten; the node may carry it out all the same.
#[derive(Debug)]
pub(crate) struct Call {
    lane: Arc<Lane>,
    slot: u16,
    finished: bool,
}

impl Call {
    pub(crate) fn new(lane: Arc<Lane>, slot: u16) -> Self {
        Call { lane, slot, finished: false }
    }
}

impl Future for Call {
    type Output = Result<Bytes, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.lane.poll_call(self.slot, context);
        self.finished = outcome.is_ready();
        outcome
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.finished {
            self.lane.abandon(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn submit(lane: &Arc<Lane>, now: Instant) -> (Call, u32) {
        let mut id = 0;
        let slot = lane.submit(now + Duration::from_secs(1), |request_id, out| {
            id = request_id;
            out.extend_from_slice(&request_id.to_le_bytes());
        });
        (Call::new(lane.clone(), slot.expect("a place")), id)
    }

    fn take(lane: &Lane) -> Option<Vec<u8>> {
        match lane.poll_take(&mut Context::from_waker(Waker::noop()), &mut Vec::new()) {
            Poll::Ready(taken) => taken,
            Poll::Pending => Some(Vec::new()),
        }
    }

    fn reply(lane: &Lane, id: u32) -> Result<(), Lost> {
        let mut wakers = Vec::new();
        let done = lane.complete(&mut vec![Bytes::copy_from_slice(&id.to_le_bytes())], &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        done
    }

    #[tokio::test]
    async fn frames_of_many_requests_leave_in_one_piece_and_replies_come_in_any_order() {
        let (lane, now) = (Arc::new(Lane::new(3)), Instant::now());
        let (first, first_id) = submit(&lane, now);
        let (second, second_id) = submit(&lane, now);
        assert_eq!((first_id >> 16, Lane::of_request(second_id)), (3, 3));
        assert_eq!(take(&lane).expect("open").len(), 2 * 8, "two frames of a length and an id");
        reply(&lane, second_id).expect("under way");
        reply(&lane, first_id).expect("under way");
        assert_eq!(first.await.expect("answered")[..], first_id.to_le_bytes());
        assert_eq!(second.await.expect("answered")[..], second_id.to_le_bytes());
        assert_eq!(lane.under_way(), 0);
        assert!(reply(&lane, first_id).is_err(), "nobody waits for it any more");
        assert!(reply(&lane, 4 << 16).is_err(), "another lane's");
    }

    #[tokio::test]
    async fn an_abandoned_id_is_not_used_again_before_its_reply() {
        let (lane, now) = (Arc::new(Lane::new(0)), Instant::now());
        let (gone, gone_id) = submit(&lane, now);
        drop(gone);
        let (expired, expired_id) = submit(&lane, now);
        assert_eq!(lane.sweep(now + Duration::from_secs(2), &mut Vec::new()).expired, 1);
        assert_eq!(expired.await, Err(Lost::Expired));
        let (other, other_id) = submit(&lane, now);
        assert!(other_id != gone_id && other_id != expired_id);
        reply(&lane, gone_id).expect("still known");
        let (again, again_id) = submit(&lane, now);
        assert_eq!(again_id, gone_id, "free again");
        reply(&lane, other_id).expect("under way");
        reply(&lane, again_id).expect("under way");
        assert!(other.await.is_ok() && again.await.is_ok());
    }

    #[tokio::test]
    async fn a_closed_lane_tells_what_was_sent_from_what_was_not() {
        let (lane, now) = (Arc::new(Lane::new(0)), Instant::now());
        let (sent, _) = submit(&lane, now);
        take(&lane);
        let (unsent, _) = submit(&lane, now);
        lane.close(&Arc::from("gone"));
        assert_eq!(sent.await, Err(Lost::Sent("gone".to_owned())));
        assert_eq!(unsent.await, Err(Lost::Unsent("gone".to_owned())));
        assert_eq!(lane.submit(now, |_, _| {}), Err(Refusal::Closed));
        assert_eq!(take(&lane), None);
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_wakes_who_waits_when_there_is_a_place() {
        let (lane, now) = (Arc::new(Lane::new(0)), Instant::now());
        let calls: Vec<_> = (0..LANE_INFLIGHT_MAX).map(|_| submit(&lane, now)).collect();
        assert_eq!(lane.submit(now, |_, _| {}), Err(Refusal::Full));
        take(&lane);
        let waiting = lane.place();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none(), "every slot is taken");
        let (call, id) = calls.into_iter().next_back().expect("many");
        reply(&lane, id).expect("under way");
        call.await.expect("answered");
        waiting.await;
        let large = |_, out: &mut Vec<u8>| out.resize(BUFFER_BYTES_MAX, 0);
        assert!(lane.submit(now, large).is_ok(), "one more frame fits while the buffer isn't full");
        assert_eq!(lane.submit(now, |_, _| {}), Err(Refusal::Full));
    }
}
