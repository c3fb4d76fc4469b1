//! Instances that were wiped after a call and wait for the next call of their module.
//!
//! Each thread has a few of its own, so that one that is used again is still in that processor's cache and no two
//! threads wait for one another. They count against the pool: whoever finds it empty takes them all down first.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use thread_local::ThreadLocal;

use super::limits::Limits;
use super::run::Wiped;

/// Of one thread.
const KEPT_MAX: usize = 16;

/// An instance and its module.
struct Idle {
    module: u64,
    wiped: Wiped,
}

/// All of one node.
pub(super) struct Kept {
    /// Each thread's, the last used last. Others look into it only to take down.
    threads: ThreadLocal<Mutex<Vec<Idle>>>,
    count: AtomicUsize,
    count_max: usize,
    reused: AtomicU64,
}

impl Kept {
    /// Room for so many.
    pub fn new(count_max: usize) -> Self {
        Kept { threads: ThreadLocal::new(), count: AtomicUsize::new(0), count_max, reused: AtomicU64::new(0) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How often one served again.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// One of this module, if this thread has one within these limits; they may have become tighter since it was made.
    pub fn take(&self, module: u64, limits: &Limits) -> Option<Wiped> {
        let mut mine = self.threads.get()?.lock();
        let place = mine.iter().rposition(|idle| idle.module == module)?;
        let Idle { wiped, .. } = mine.remove(place);
        drop(mine);
        self.count.fetch_sub(1, Ordering::SeqCst);
        if !wiped.is_within(limits) {
            return None;
        }
        self.reused.fetch_add(1, Ordering::Relaxed);
        Some(wiped)
    }

    /// Keeps one; this thread's oldest makes room, if it has any.
    pub fn put(&self, module: u64, wiped: Wiped) {
        let mut mine = self.threads.get_or_default().lock();
        let full = mine.len() >= KEPT_MAX || self.count() >= self.count_max;
        if full && mine.is_empty() {
            return;
        }
        let oldest = full.then(|| mine.remove(0));
        mine.push(Idle { module, wiped });
        if oldest.is_none() {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        // Taken apart when nobody can be waiting for the lock.
        drop(mine);
        drop(oldest);
    }

    /// Takes down those of a module that is gone.
    pub fn forget(&self, module: u64) {
        self.take_down(|idle| idle.module == module);
    }

    /// Takes all down.
    pub fn clear(&self) {
        self.take_down(|_| true);
    }

    fn take_down(&self, which: impl Fn(&Idle) -> bool) {
        for thread in &self.threads {
            let gone: Vec<Idle> = thread.lock().extract_if(.., |idle| which(idle)).collect();
            self.count.fetch_sub(gone.len(), Ordering::SeqCst);
        }
    }
}
