//! Spreading: of a client's connections to a node, no two share a worker while another worker has none.
//!
//! A node's workers share its port, and the kernel picks one by the addresses and ports of a connection. Of two
//! connections to a node of two workers every other pair falls to the same one, which then serves both with one core. The
//! node tells in its welcome which worker it is, so a client connects anew, from another port, until it has what it wants.

use std::collections::HashMap;
use std::sync::Arc;

use outcrop_wire::{Welcome, WorkerPlace};
use parking_lot::Mutex;

/// Attempts at a connection to a worker that is wanted; then any is taken.
pub(crate) const TRIES_MAX: usize = 16;

/// A worker of a node.
type Place = (u64, u16);

/// Connections of one kind, by worker.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    held: Mutex<HashMap<Place, usize>>,
}

/// A connection's place at its worker, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    spread: Arc<Spread>,
    place: Place,
}

impl Spread {
    /// A seat at the worker that a node welcomed us from, unless another of its workers has fewer connections of ours.
    pub(crate) fn take(self: &Arc<Self>, welcome: &Welcome) -> Option<Seat> {
        let mut held = self.held.lock();
        let at = |number: u16| held.get(&(welcome.node_id, number)).copied().unwrap_or(0);
        if let Some(WorkerPlace { number, count }) = welcome.worker
            && (0..count).any(|other| at(other) < at(number))
        {
            return None;
        }
        Some(self.seat(&mut held, welcome))
    }

    /// A seat at that worker, whatever the others have.
    pub(crate) fn take_anyway(self: &Arc<Self>, welcome: &Welcome) -> Seat {
        self.seat(&mut self.held.lock(), welcome)
    }

    fn seat(self: &Arc<Self>, held: &mut HashMap<Place, usize>, welcome: &Welcome) -> Seat {
        let place = (welcome.node_id, welcome.worker.map_or(0, |worker| worker.number));
        *held.entry(place).or_default() += 1;
        Seat { spread: self.clone(), place }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.spread.held.lock();
        if let Some(count) = held.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(worker: Option<(u16, u16)>) -> Welcome {
        let worker = worker.map(|(number, count)| WorkerPlace { number, count });
        Welcome { version: 1, node_id: 7, lanes_max: 4, namespaces: Vec::new(), worker }
    }

    #[test]
    fn a_worker_with_more_than_another_gives_no_seat() {
        let spread = Arc::new(Spread::default());
        let first = spread.take(&welcome(Some((1, 2)))).expect("nobody has any");
        assert!(spread.take(&welcome(Some((1, 2)))).is_none(), "worker 0 has none");
        let second = spread.take(&welcome(Some((0, 2)))).expect("worker 0 has fewer");
        let third = spread.take(&welcome(Some((0, 2)))).expect("both have one");
        assert!(spread.take(&welcome(Some((0, 2)))).is_none(), "worker 1 has fewer");
        let anyway = spread.take_anyway(&welcome(Some((0, 2))));
        drop((second, third, anyway));
        assert!(spread.take(&welcome(Some((1, 2)))).is_none(), "what was dropped has given its seat back");
        drop(first);
        assert!(spread.held.lock().is_empty());
    }

    #[test]
    fn a_node_that_does_not_tell_its_worker_gives_every_seat() {
        let spread = Arc::new(Spread::default());
        let seats: Vec<_> = (0..5).map(|_| spread.take(&welcome(None)).expect("nothing is known")).collect();
        drop(seats);
        assert!(spread.held.lock().is_empty());
    }
}
