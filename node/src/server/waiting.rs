//! Replies that wait until what they rest on is durable: one line a namespace, one wake-up a sync for a whole lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outcrop_flash::log::Durable;
use outcrop_wire::reply::encode_error;
use outcrop_wire::{Code, ReplyHeader, Verb};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::Context;
use crate::command::answer::Wait;
use crate::telemetry::RequestSpan;

/// A reply in line.
pub struct Held {
    /// Frame content.
    pub content: Vec<u8>,
    /// The request's id, for the answer if its time runs out.
    pub request_id: u32,
    /// The verb.
    pub verb: Verb,
    /// What became of the request.
    pub code: Code,
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
    held: VecDeque<(outcrop_flash::Lsn, Held)>,
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
            Line { durable, held: VecDeque::new() }
        });
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

    /// The soonest deadline in line, if any. Lines are in order of arrival, so the front is near enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        let fronts = self.lines.iter().flatten().filter_map(|line| line.held.front());
        fronts.map(|(_, held)| held.deadline).min()
    }

    /// Gives every reply that may leave to `leave`: as it is if what it rests on is durable; as *indeterminate* if its
    /// time ran out or the device failed.
    pub fn release(&mut self, now: Instant, mut leave: impl FnMut(Held)) {
        let mut released = 0;
        for line in self.lines.iter_mut().flatten() {
            let Durable { lsn, poisoned } = *line.durable.borrow_and_update();
            let durable = |end: outcrop_flash::Lsn| end <= lsn;
            // Ends rise but for reads of older records: everything in front that may go, goes.
            while let Some((end, held)) = line.held.front() {
                let late = held.deadline <= now;
                if !durable(*end) && !late && !poisoned {
                    break;
                }
                let in_time = durable(*end);
                let Some((_, mut held)) = line.held.pop_front() else { break };
                if !in_time {
                    fail(&mut held, poisoned, now);
                }
                released += 1;
                leave(held);
            }
        }
        self.count -= released;
    }
}

/// Turns a reply into what its caller may be told when durability didn't come.
fn fail(held: &mut Held, poisoned: bool, now: Instant) {
    let waited: Duration = now.saturating_duration_since(held.began);
    let (code, message) = match (held.verb.writes() && held.code == Code::Ok, poisoned) {
        (true, true) => (Code::Indeterminate, "the device failed before the write was durable".to_owned()),
        (true, false) => (Code::Indeterminate, format!("the write was not durable after {} ms", waited.as_millis())),
        (false, true) => (
            Code::DevicePoisoned,
            "the device failed before the state that this answer rests on was durable".to_owned(),
        ),
        (false, false) => (
            Code::DeadlineExceeded,
            format!("the state that this answer rests on was not durable after {} ms", waited.as_millis()),
        ),
    };
    held.code = code;
    held.content.clear();
    encode_error(&ReplyHeader::new(held.request_id, held.verb, code), &message, &mut held.content);
}
