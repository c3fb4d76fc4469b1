//! The queues of keys: read-modify-writes of one key wait in line, in order, and the line has an end.
//!
//! Only those that have to wait for the device stand in line; one whose record is in memory is over before another can
//! come between. A blind write doesn't stand in line either: it comes between, and who is in the middle reads again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use outcrop_wire::{Code, Digest};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::CommandError;

/// Requests that may wait for one key.
pub const KEY_QUEUE_MAX: usize = 256;

#[derive(Debug, Default)]
struct Line {
    /// Gives its turn out first come, first served.
    turn: Arc<Mutex<()>>,
    waiting: usize,
}

/// The lines of the keys that have one right now.
#[derive(Debug)]
pub struct KeyQueues {
    lines: DashMap<(u16, Digest), Line>,
    /// How many lines there are: most of the time none, and then nobody has to look.
    count: AtomicUsize,
}

impl Default for KeyQueues {
    fn default() -> Self {
        KeyQueues { lines: DashMap::with_shard_amount(64), count: AtomicUsize::new(0) }
    }
}

/// A request's turn; the next in line goes when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    queues: &'a KeyQueues,
    key: (u16, Digest),
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.queues.leave(self.key);
    }
}

impl KeyQueues {
    /// Whether anybody stands in line for a key.
    pub fn busy(&self, namespace: u16, digest: Digest) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lines.contains_key(&(namespace, digest))
    }

    /// Waits for the key's turn; `HotKey` if the line is full.
    pub async fn turn(&self, namespace: u16, digest: Digest) -> Result<Turn<'_>, CommandError> {
        let key = (namespace, digest);
        let turn = {
            let mut line = self.lines.entry(key).or_insert_with(|| {
                self.count.fetch_add(1, Ordering::AcqRel);
                Line::default()
            });
            if line.waiting >= KEY_QUEUE_MAX {
                let message = format!("{KEY_QUEUE_MAX} read-modify-writes of this key are waiting already");
                return Err(CommandError::new(Code::HotKey, message));
            }
            line.waiting += 1;
            line.turn.clone()
        };
        // From here on the place in line is given back by the drop, even if the wait is given up.
        let mut place = Turn { queues: self, key, guard: None };
        place.guard = Some(match turn.clone().try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => turn.lock_owned().await,
        });
        Ok(place)
    }

    fn leave(&self, key: (u16, Digest)) {
        let emptied = self.lines.remove_if_mut(&key, |_, line| {
            line.waiting -= 1;
            line.waiting == 0
        });
        if emptied.is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_the_line_has_an_end() {
        let queues = Arc::new(KeyQueues::default());
        let first = queues.turn(0, Digest([1; 16])).await.expect("the line is empty");
        let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 1..KEY_QUEUE_MAX {
            let (queues, order) = (queues.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let _turn = queues.turn(0, Digest([1; 16])).await.expect("there is room");
                order.lock().push(number);
            }));
            tokio::task::yield_now().await;
        }
        let refused = queues.turn(0, Digest([1; 16])).await.expect_err("the line is full");
        assert_eq!(refused.code, Code::HotKey);
        assert!(queues.turn(0, Digest([2; 16])).await.is_ok(), "another key has its own line");
        assert!(queues.busy(0, Digest([1; 16])) && !queues.busy(1, Digest([1; 16])));
        drop(first);
        for task in waiting {
            task.await.expect("every one got its turn");
        }
        assert_eq!(*order.lock(), (1..KEY_QUEUE_MAX).collect::<Vec<_>>());
        assert!(!queues.busy(0, Digest([1; 16])), "an empty line is gone");
    }

    #[tokio::test]
    async fn giving_up_the_wait_gives_the_place_back() {
        let queues = KeyQueues::default();
        let first = queues.turn(0, Digest([1; 16])).await.expect("the line is empty");
        let wait = queues.turn(0, Digest([1; 16]));
        let gave_up = tokio::time::timeout(std::time::Duration::from_millis(1), wait).await;
        assert!(gave_up.is_err());
        drop(first);
        assert!(!queues.busy(0, Digest([1; 16])));
    }
}
