//! Replies that wait until what they rest on is durable: one line a namespace, one wake-up a sync for a whole lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outcrop_flash::Lsn;
use outcrop_flash::log::Durable;
use outcrop_wire::reply::encode_error;
use outcrop_wire::{Code, ReplyHeader, Verb};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::Context;
use crate::command::answer::{Finished, Wait};
use crate::telemetry::RequestSpan;

/// A reply in line.
pub struct Held {
    /// What it says.
    pub reply: Finished,
    /// The request's id, for the answer if its time runs out.
    pub request_id: u32,
    /// The verb.
    pub verb: Verb,
    /// When it came.
    pub began: Instant,
    /// When its caller stops waiting.
    pub deadline: Instant,
    /// Bytes of the request.
    pub bytes_in: usize,
    /// Its span, if it is traced.
    pub span: Option<RequestSpan>,
}

struct Line {
    durable: watch::Receiver<Durable>,
    held: VecDeque<(Lsn, Held)>,
    /// No deadline in the line is sooner.
    soonest: Option<Instant>,
}

impl Line {
    /// Takes out what may leave: from the front what is durable, and from anywhere what is out of time. What the device
    /// failed comes all out.
    fn take(&mut self, now: Instant) -> Vec<(bool, Held)> {
        let Durable { lsn, poisoned } = *self.durable.borrow_and_update();
        let mut taken = Vec::new();
        // Ends rise but for reads of older records: everything in front that may go, goes.
        while let Some((end, _)) = self.held.front()
            && (*end <= lsn || poisoned)
        {
            taken.extend(self.held.pop_front().map(|(end, held)| (end <= lsn, held)));
        }
        if self.soonest.is_some_and(|soonest| soonest <= now) {
            // Deadlines come in any order: a patient request in front must not keep the others waiting.
            let (late, rest): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut self.held).into_iter().partition(|(_, held)| held.deadline <= now);
            taken.extend(late.into_iter().map(|(end, held)| (end <= lsn, held)));
            self.soonest = rest.iter().map(|(_, held)| held.deadline).min();
            self.held = rest;
        }
        if self.held.is_empty() {
            self.soonest = None;
        }
        taken
    }
}

/// The lines of one lane.
pub struct Waiting {
    lines: Vec<Option<Line>>,
    context: Arc<Context>,
    count: usize,
}

impl Waiting {
    /// Empty lines.
    pub fn new(context: Arc<Context>) -> Self {
        let lines = context.namespaces.iter().map(|_| None).collect();
        Waiting { lines, context, count: 0 }
    }

    /// Replies in line.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is in line.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether `wait` is over already.
    pub fn is_durable(&self, wait: Wait) -> bool {
        let namespace = self.context.namespaces.get(usize::from(wait.namespace));
        namespace.is_none_or(|namespace| namespace.log.durable_lsn() >= wait.end)
    }

    /// Puts a reply in line.
    pub fn hold(&mut self, wait: Wait, held: Held) {
        let place = usize::from(wait.namespace);
        let (Some(slot), Some(namespace)) = (self.lines.get_mut(place), self.context.namespaces.get(place)) else {
            return;
        };
        let line = slot.get_or_insert_with(|| {
            let mut durable = namespace.log.subscribe_durable();
            // What became durable between the check and now must not be missed.
            durable.mark_changed();
            Line { durable, held: VecDeque::new(), soonest: None }
        });
        line.soonest = Some(line.soonest.map_or(held.deadline, |soonest| soonest.min(held.deadline)));
        line.held.push_back((wait.end, held));
        self.count += 1;
    }

    /// Waits until some line may move. For ever if nothing is in line.
    pub async fn changed(&mut self) {
        let lines = self.lines.iter_mut().flatten().filter(|line| !line.held.is_empty());
        let mut changes: Vec<_> = lines.map(|line| Box::pin(line.durable.changed())).collect();
        match changes.len() {
            0 => std::future::pending().await,
            1 => {
                // An error says that the log is gone; `release` looks at its state.
                let _ = changes.remove(0).await;
            }
            _ => {
                let _ = futures_util::future::select_all(changes).await;
            }
        }
    }

    /// When to look again at the latest, if anything is in line.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lines.iter().flatten().filter_map(|line| line.soonest).min()
    }

    /// Gives every reply that may leave to `leave`: as it is if what it rests on is durable; as *indeterminate* if its
    /// time ran out or the device failed.
    pub fn release(&mut self, now: Instant, mut leave: impl FnMut(Held)) {
        for line in self.lines.iter_mut().flatten() {
            for (durable, mut held) in line.take(now) {
                if !durable {
                    let poisoned = line.durable.borrow().poisoned;
                    held.reply = failed(&held, poisoned, now);
                }
                self.count -= 1;
                leave(held);
            }
        }
    }
}

/// What a caller is told when durability didn't come.
fn failed(held: &Held, poisoned: bool, now: Instant) -> Finished {
    let waited: Duration = now.saturating_duration_since(held.began);
    let (code, message) = undurable(held.verb, held.reply.code, poisoned, waited);
    let mut content = Vec::with_capacity(128);
    encode_error(&ReplyHeader::new(held.request_id, held.verb, code), &message, &mut content);
    Finished::small(code, content, None)
}

/// The code and the message of an answer whose durability didn't come: a write may have happened, anything else rests
/// on state that a crash could take back.
pub fn undurable(verb: Verb, code: Code, poisoned: bool, waited: Duration) -> (Code, String) {
    let waited_ms = waited.as_millis();
    match (verb.writes() && code == Code::Ok, poisoned) {
        (true, true) => (
            Code::Indeterminate,
            "the device failed before the write was durable: whether it happened shows once the device is mended and \
             the node restarted; read the record then"
                .to_owned(),
        ),
        (true, false) => (Code::Indeterminate, format!("the write was not durable after {waited_ms} ms")),
        (false, true) => (
            Code::DevicePoisoned,
            "the device failed before the newest write of this record was durable, and whether it happened isn't known: \
             mend the device and restart the node, which serves what the device has; older copies aren't served in its \
             place"
                .to_owned(),
        ),
        (false, false) => (
            Code::DeadlineExceeded,
            format!("the state that this answer rests on was not durable after {waited_ms} ms"),
        ),
    }
}
