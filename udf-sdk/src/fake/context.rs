//! A fake of the call under way: its time, its seed, other records, what was logged and counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use outcrop_wire::UserKey;

use crate::context::Level;
use crate::record::Record;

/// Log lines that are kept; older ones stay.
const LINES_MAX: usize = 10_000;

/// What functions of this thread see as their call, from [`Context::enter`] until its guard is dropped.
///
/// ```
/// use outcrop_udf::{Level, fake, info, now_ms};
///
/// let context = fake::Context::new().now_ms(1_000).seed(7).enter();
/// info!("it is {}", now_ms());
/// assert_eq!(context.logs(), [(Level::Info, "it is 1000".to_owned())]);
/// context.advance_ms(500);
/// assert_eq!(now_ms(), 1_500);
/// ```
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) now_ms: u64,
    pub(crate) seed: u64,
    pub(crate) namespace: String,
    others: BTreeMap<(String, UserKey), Vec<u8>>,
    logs: Vec<(Level, String)>,
    counters: BTreeMap<String, u64>,
}

impl Default for Context {
    fn default() -> Self {
        Context {
            now_ms: 1_700_000_000_000,
            seed: 1,
            namespace: "test".to_owned(),
            others: BTreeMap::new(),
            logs: Vec::new(),
            counters: BTreeMap::new(),
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Context> = RefCell::new(Context::default());
}

pub(crate) fn with_current<R>(act: impl FnOnce(&mut Context) -> R) -> R {
    CURRENT.with_borrow_mut(act)
}

impl Context {
    /// A call in the namespace `test` at a fixed time, without other records.
    pub fn new() -> Self {
        Context::default()
    }

    /// The time of the call, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(mut self, now_ms: u64) -> Self {
        self.now_ms = now_ms;
        self
    }

    /// The seed of the call.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The namespace's name.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        name.clone_into(&mut self.namespace);
        self
    }

    /// Puts a record where [`crate::other::read`] finds it.
    #[must_use]
    pub fn other(mut self, record: &Record) -> Self {
        if let Some(stored) = record.source.stored() {
            self.others.insert((record.set_name(), record.key()), stored);
        }
        self
    }

    /// Makes it the context of this thread until the guard is dropped.
    #[must_use = "the context ends when the guard is dropped"]
    pub fn enter(self) -> Entered {
        let before = with_current(|current| std::mem::replace(current, self));
        Entered { before: Some(before), _of_this_thread: PhantomData }
    }

    pub(crate) fn log(&mut self, level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
        if self.logs.len() < LINES_MAX {
            self.logs.push((level, message.to_owned()));
        }
    }

    pub(crate) fn count(&mut self, name: &str, delta: u64) {
        let counter = self.counters.entry(name.to_owned()).or_default();
        *counter = counter.saturating_add(delta);
    }

    pub(crate) fn other_record(&self, set: &str, key: &UserKey) -> Option<Vec<u8>> {
        self.others.get(&(set.to_owned(), key.clone())).cloned()
    }
}

/// A context that is under way; dropping it brings back the one before.
#[derive(Debug)]
pub struct Entered {
    before: Option<Context>,
    _of_this_thread: PhantomData<*const ()>,
}

impl Entered {
    /// What was logged since [`Context::enter`].
    pub fn logs(&self) -> Vec<(Level, String)> {
        with_current(|current| current.logs.clone())
    }

    /// A counter; 0 if nothing was counted.
    pub fn counter(&self, name: &str) -> u64 {
        with_current(|current| current.counters.get(name).copied().unwrap_or(0))
    }

    /// Sets the time.
    pub fn set_now_ms(&self, now_ms: u64) {
        with_current(|current| current.now_ms = now_ms);
    }

    /// Lets time pass.
    pub fn advance_ms(&self, ms: u64) {
        with_current(|current| current.now_ms = current.now_ms.saturating_add(ms));
    }

    /// Puts a record where [`crate::other::read`] finds it, in place of what was there.
    pub fn put_other(&self, record: &Record) {
        with_current(|current| *current = std::mem::take(current).other(record));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            with_current(|current| *current = before);
        }
    }
}
