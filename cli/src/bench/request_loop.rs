//! The decisions of one connection's load: what to send next and when, what a reply means. No sockets, no clock: time
//! comes in as nanoseconds, so that a stall can be played through in a test.

use std::collections::VecDeque;

use outcrop_wire::{Code, Retry};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus as Prng;

use super::keys::{Chooser, Inserts};
use super::mix::{Kind, Mix};
use super::pace::Pacer;
use super::tally::Tally;

/// How often a request of the load phase is sent again before the load is given up.
const LOAD_ATTEMPTS_MAX: u32 = 2_000;
/// Wait before the first repetition; doubles up to the next line's.
const RETRY_NS_MIN: u64 = 500_000;
const RETRY_NS_MAX: u64 = 50_000_000;
/// A load that has got nothing into a full namespace for so long is given up. The node's sweep of expired records comes
/// round in six seconds: what has made no room by then won't.
const FULL_NS_MAX: u64 = 10_000_000_000;

/// Failure of requests whose connection went away before their reply.
pub const CONNECTION_LOST: &str = "connection_lost";

/// What the requests of a phase are.
#[derive(Debug)]
pub enum Source {
    /// Every `stride`-th record from `next` to `end`, once, until it is there.
    Load {
        /// The next record's number.
        next: u64,
        /// Connections.
        stride: u64,
        /// Records.
        end: u64,
    },
    /// Operations by chance.
    Mixed {
        /// Their kinds.
        mix: Mix,
        /// Their records.
        chooser: Chooser,
        /// Records that this connection inserts.
        inserts: Inserts,
    },
}

/// Bounds of a phase, in the run's nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What starts earlier is warm-up.
    pub measure_from_ns: u64,
    /// Nothing starts later.
    pub stop_at_ns: u64,
    /// What hasn't ended by then is given up.
    pub drain_until_ns: u64,
    /// Measured operations of this connection, at most.
    pub ops_max: Option<u64>,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Comes back with the reply.
    pub token: u64,
    /// What.
    pub kind: Kind,
    /// The record's number; the first of a batch.
    pub number: u64,
    /// A put (of an update, an insert, or the second half of a read-modify-write), else a read.
    pub writes: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Order),
    /// Wait for replies, but no longer than until then.
    WaitUntil(u64),
    /// Everything has ended.
    Finished,
}

/// What a reply said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Done {
        /// Records read or written.
        records: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The node refused or failed it.
    Refused(Code),
    /// No answer, or one that can't be, by its name in the report.
    Failed(&'static str),
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    kind: Kind,
    /// When it was meant to start; latency counts from here.
    intended_ns: u64,
    number: u64,
    attempts: u32,
    /// Second half of a read-modify-write.
    writing: bool,
    bytes: u64,
    busy: bool,
}

/// Counts of warm-up and of what is measured.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Before the measurement began.
    pub warmup: Tally,
    /// What the report is about.
    pub measured: Tally,
    /// Why a connection was lost last.
    pub last_loss: Option<String>,
    /// What the node said when it refused a write because its device is full.
    pub full: Option<String>,
}

impl Tallies {
    fn of(&mut self, intended_ns: u64, bounds: &Bounds) -> &mut Tally {
        if intended_ns >= bounds.measure_from_ns { &mut self.measured } else { &mut self.warmup }
    }
}

/// One connection's requests.
#[derive(Debug)]
pub struct RequestLoop {
    bounds: Bounds,
    pacer: Pacer,
    source: Source,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots whose next request can go at once: the writing half of a read-modify-write.
    ready: VecDeque<u32>,
    /// Slots that wait before they are sent again.
    waiting: VecDeque<(u64, u32)>,
    started: u64,
    /// Of a load: since when the namespace is full and nothing got in.
    full_since_ns: Option<u64>,
    /// The load was given up.
    given_up: bool,
    /// A request was due and every slot was taken.
    blocked: bool,
    /// When that ended last: lateness up to here is the node's, not the generator's.
    unblocked_ns: u64,
    prng: Prng,
}

impl RequestLoop {
    /// With at most `in_flight` requests under way.
    pub fn new(bounds: Bounds, pacer: Pacer, source: Source, in_flight: u32, prng: Prng) -> Self {
        let empty =
            Slot { kind: Kind::Read, intended_ns: 0, number: 0, attempts: 0, writing: false, bytes: 0, busy: false };
        RequestLoop {
            bounds,
            pacer,
            source,
            slots: vec![empty; in_flight as usize],
            free: (0..in_flight).rev().collect(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            started: 0,
            full_since_ns: None,
            given_up: false,
            blocked: false,
            unblocked_ns: 0,
            prng,
        }
    }

    /// Requests under way, those included that wait to be sent again.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is, or will be, something to send or to wait for.
    pub fn has_more(&self, now_ns: u64) -> bool {
        now_ns < self.bounds.drain_until_ns && !(self.is_over(now_ns) && self.in_flight() == 0)
    }

    /// What to do at `now_ns`; to be asked again after each [`Step::Send`].
    pub fn poll_step(&mut self, now_ns: u64, tallies: &mut Tallies) -> Step {
        if now_ns >= self.bounds.drain_until_ns {
            self.give_up(now_ns, tallies);
            return Step::Finished;
        }
        if let Some(place) = self.ready.pop_front() {
            return Step::Send(self.order(place));
        }
        if let Some((at_ns, place)) = self.waiting.front().copied()
            && at_ns <= now_ns
        {
            self.waiting.pop_front();
            return Step::Send(self.order(place));
        }
        if let Some(order) = self.poll_new(now_ns, tallies) {
            return Step::Send(order);
        }
        let over = self.is_over(now_ns);
        if over && self.in_flight() == 0 {
            return Step::Finished;
        }
        let mut until_ns = self.bounds.drain_until_ns;
        if let Some((at_ns, _)) = self.waiting.front() {
            until_ns = until_ns.min(*at_ns);
        }
        if !over && !self.blocked {
            until_ns = until_ns.min(self.pacer.next_ns().unwrap_or(u64::MAX)).min(self.bounds.stop_at_ns.max(now_ns));
        }
        Step::WaitUntil(until_ns)
    }

    /// Whether no further operation begins.
    fn is_over(&self, now_ns: u64) -> bool {
        let exhausted = matches!(&self.source, Source::Load { next, end, .. } if next >= end);
        let due_later = self.pacer.next_ns().unwrap_or(now_ns);
        exhausted || due_later >= self.bounds.stop_at_ns || self.bounds.ops_max.is_some_and(|max| self.started >= max)
    }

    fn poll_new(&mut self, now_ns: u64, tallies: &mut Tallies) -> Option<Order> {
        if self.is_over(now_ns) {
            return None;
        }
        if self.free.is_empty() {
            self.blocked = matches!(self.pacer.next_ns(), Some(due_ns) if due_ns <= now_ns);
            return None;
        }
        let intended_ns = self.pacer.take_due(now_ns)?;
        if matches!(self.pacer, Pacer::Open(_)) {
            let possible_ns = intended_ns.max(self.unblocked_ns);
            tallies.of(intended_ns, &self.bounds).lagged(now_ns.saturating_sub(possible_ns));
        }
        let place = self.free.pop()?;
        let (kind, number) = self.draw();
        self.started += u64::from(intended_ns >= self.bounds.measure_from_ns);
        self.slots[place as usize] =
            Slot { kind, intended_ns, number, attempts: 0, writing: false, bytes: 0, busy: true };
        Some(self.order(place))
    }

    fn draw(&mut self) -> (Kind, u64) {
        match &mut self.source {
            Source::Load { next, stride, .. } => {
                let number = *next;
                *next += *stride;
                (Kind::Insert, number)
            }
            Source::Mixed { mix, chooser, inserts } => {
                let kind = mix.draw(&mut self.prng);
                let number = match kind {
                    Kind::Insert => inserts.begin(),
                    _ => chooser.choose(&mut self.prng, inserts),
                };
                (kind, number)
            }
        }
    }

    /// A further record of a batch whose first is drawn already.
    pub fn draw_number(&mut self) -> u64 {
        match &self.source {
            Source::Mixed { chooser, inserts, .. } => chooser.choose(&mut self.prng, inserts),
            Source::Load { .. } => 0,
        }
    }

    /// A random number for a write's content or a scan's start.
    pub fn draw_nonce(&mut self) -> u64 {
        self.prng.random()
    }

    /// The generator of this connection, for sizes.
    pub fn prng(&mut self) -> &mut Prng {
        &mut self.prng
    }

    fn order(&self, place: u32) -> Order {
        let slot = &self.slots[place as usize];
        let writes = slot.writing || matches!(slot.kind, Kind::Update | Kind::Insert);
        Order { token: place.into(), kind: slot.kind, number: slot.number, writes }
    }

    /// Kind and record of a token's request, and whether it is a put; `None` for a token that isn't under way.
    pub fn under_way(&self, token: u64) -> Option<(Kind, u64, bool)> {
        let slot = self.slots.get(token as usize).filter(|slot| slot.busy)?;
        let writes = slot.writing || matches!(slot.kind, Kind::Update | Kind::Insert);
        Some((slot.kind, slot.number, writes))
    }

    /// Some requests of a batch failed.
    pub fn handle_partial(&mut self, token: u64, failure: &'static str, tallies: &mut Tallies) {
        if let Some(slot) = self.slots.get(token as usize).filter(|slot| slot.busy) {
            tallies.of(slot.intended_ns, &self.bounds).kind(slot.kind).failed(failure, 1);
        }
    }

    /// The session had no room for an order: it goes first when there is.
    pub fn handle_refused_submit(&mut self, order: Order) {
        self.ready.push_front(order.token as u32);
    }

    /// A reply.
    pub fn handle_outcome(&mut self, token: u64, outcome: Outcome, now_ns: u64, tallies: &mut Tallies) {
        let place = token as u32;
        let Some(slot) = self.slots.get_mut(token as usize).filter(|slot| slot.busy) else { return };
        match outcome {
            Outcome::Done { bytes, .. } if slot.kind == Kind::ReadModifyWrite && !slot.writing => {
                slot.writing = true;
                slot.bytes = bytes;
                self.ready.push_back(place);
                return;
            }
            Outcome::Done { records, bytes } => {
                self.full_since_ns = None;
                let latency_ns = now_ns.saturating_sub(slot.intended_ns);
                let (kind, bytes) = (slot.kind, bytes + slot.bytes);
                let tally = tallies.of(slot.intended_ns, &self.bounds);
                tally.kind(kind).done(latency_ns, records, bytes);
                tally.last_ns = tally.last_ns.max(now_ns);
            }
            Outcome::Refused(Code::StopWrites) if self.is_full_for_good(now_ns) => {
                self.count_failure(place, Code::StopWrites.name(), now_ns, tallies);
                self.give_up_load(now_ns, tallies);
            }
            Outcome::Refused(_) | Outcome::Failed(_) if self.retry(place, outcome, now_ns, tallies) => return,
            Outcome::Refused(code) => self.count_failure(place, code.name(), now_ns, tallies),
            Outcome::Failed(name) => self.count_failure(place, name, now_ns, tallies),
        }
        self.end(place, matches!(outcome, Outcome::Done { .. }), now_ns);
    }

    /// Whether a load meets a full namespace that makes no room.
    fn is_full_for_good(&mut self, now_ns: u64) -> bool {
        let since_ns = *self.full_since_ns.get_or_insert(now_ns);
        matches!(self.source, Source::Load { .. }) && now_ns.saturating_sub(since_ns) >= FULL_NS_MAX
    }

    /// Nothing more of a load is sent; what is under way ends with its reply.
    fn give_up_load(&mut self, now_ns: u64, tallies: &mut Tallies) {
        self.given_up = true;
        for (_, place) in std::mem::take(&mut self.waiting) {
            self.count_failure(place, Code::StopWrites.name(), now_ns, tallies);
            self.end(place, false, now_ns);
        }
        self.leave_out_rest(tallies);
    }

    /// What a load hasn't come to is said, once.
    fn leave_out_rest(&mut self, tallies: &mut Tallies) {
        if let Source::Load { next, stride, end } = &mut self.source {
            tallies.measured.unsent += end.saturating_sub(*next).div_ceil(*stride);
            *next = (*next).max(*end);
        }
    }

    /// The load phase repeats what can be repeated: a put that replaces is harmless to do twice.
    fn retry(&mut self, place: u32, outcome: Outcome, now_ns: u64, tallies: &mut Tallies) -> bool {
        let repeatable = match outcome {
            Outcome::Refused(code) => code.retry() != Retry::Never,
            Outcome::Failed(name) => name == CONNECTION_LOST,
            Outcome::Done { .. } => false,
        };
        let slot = &mut self.slots[place as usize];
        let loads = matches!(self.source, Source::Load { .. }) && !self.given_up;
        if !repeatable || !loads || slot.attempts >= LOAD_ATTEMPTS_MAX {
            return false;
        }
        let wait_ns = (RETRY_NS_MIN << slot.attempts.min(16)).min(RETRY_NS_MAX);
        slot.attempts += 1;
        let at_ns = now_ns + wait_ns;
        let after = self.waiting.partition_point(|(earlier, _)| *earlier <= at_ns);
        self.waiting.insert(after, (at_ns, place));
        tallies.measured.retries += 1;
        true
    }

    fn count_failure(&mut self, place: u32, name: &'static str, now_ns: u64, tallies: &mut Tallies) {
        let slot = self.slots[place as usize];
        let tally = tallies.of(slot.intended_ns, &self.bounds);
        tally.kind(slot.kind).failed(name, 1);
        tally.last_ns = tally.last_ns.max(now_ns);
    }

    fn end(&mut self, place: u32, done: bool, now_ns: u64) {
        let slot = &mut self.slots[place as usize];
        slot.busy = false;
        if let (Kind::Insert, Source::Mixed { inserts, .. }) = (slot.kind, &mut self.source) {
            inserts.end(slot.number, done);
        }
        self.free.push(place);
        if std::mem::take(&mut self.blocked) {
            self.unblocked_ns = now_ns;
        }
    }

    /// The connection is lost, and with it every answer.
    pub fn handle_loss(&mut self, now_ns: u64, tallies: &mut Tallies) {
        self.ready.clear();
        let waiting: Vec<u32> = self.waiting.iter().map(|(_, place)| *place).collect();
        for place in 0..self.slots.len() as u32 {
            if self.slots[place as usize].busy && !waiting.contains(&place) {
                self.handle_outcome(place.into(), Outcome::Failed(CONNECTION_LOST), now_ns, tallies);
            }
        }
        // Requests that fall due until there is a new connection are late through no fault of the generator.
        self.blocked = true;
    }

    /// A new connection stands.
    pub fn handle_reconnect(&mut self, now_ns: u64, tallies: &mut Tallies) {
        self.blocked = false;
        self.unblocked_ns = now_ns;
        tallies.measured.reconnects += 1;
    }

    /// The end of the drain: what has no answer has failed, and what was due and never sent is said.
    fn give_up(&mut self, now_ns: u64, tallies: &mut Tallies) {
        self.waiting.clear();
        for place in 0..self.slots.len() as u32 {
            if self.slots[place as usize].busy {
                self.count_failure(place, "unanswered", now_ns, tallies);
                self.end(place, false, now_ns);
            }
        }
        if self.bounds.ops_max.is_none() {
            tallies.measured.unsent += self.pacer.backlog(self.bounds.stop_at_ns.min(now_ns));
        }
        self.leave_out_rest(tallies);
    }
}

#[cfg(test)]
mod tests;
