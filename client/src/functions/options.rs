//! How to call, and what an aggregate goes over.

use std::ops::RangeInclusive;
use std::time::Duration;

use outcrop_wire::Key;
use outcrop_wire::limits::PARTITIONS;

/// How to call a function on a record; [`super::Function`] has a method for each.
///
/// ```
/// use outcrop_client::CallOptions;
/// assert_eq!(CallOptions::default().if_generation, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallOptions {
    /// Only if the record has this generation; 0: only if it isn't there.
    pub if_generation: Option<u32>,
    /// How long to wait; the client's default unless said (of aggregates and row queries a minute).
    pub deadline: Option<Duration>,
    /// Whether to report what the call took and logged.
    pub report: bool,
    /// Calling twice is harmless: send again when a reply was lost.
    pub idempotent: bool,
    /// The function writes nothing: a lost reply leaves nothing unknown.
    pub read_only: bool,
}

/// What an aggregate goes over: a set, a namespace, or a list of keys.
///
/// ```
/// use outcrop_client::{Key, Target};
///
/// let half = Target::set("test", "products").partitions(0..=2_047);
/// let all = Target::namespace("test");
/// let some = Target::keys("test", [Key::new("test", "products", 1), Key::new("test", "products", 2)]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) namespace: String,
    pub(super) of: Of,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    Scan { set: Option<String>, partitions: RangeInclusive<u16> },
    Keys(Vec<Key>),
}

impl Target {
    /// All records of a set.
    ///
    /// ```
    /// let target = outcrop_client::Target::set("test", "products");
    /// ```
    pub fn set(namespace: impl Into<String>, set: impl Into<String>) -> Self {
        Target::scan(namespace.into(), Some(set.into()))
    }

    /// All records of a namespace.
    ///
    /// ```
    /// let target = outcrop_client::Target::namespace("test");
    /// ```
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Target::scan(namespace.into(), None)
    }

    fn scan(namespace: String, set: Option<String>) -> Self {
        Target { namespace, of: Of::Scan { set, partitions: 0..=PARTITIONS as u16 - 1 } }
    }

    /// These records, up to 4,096, all of one namespace; those that aren't there are left out.
    ///
    /// ```
    /// use outcrop_client::{Key, Target};
    /// let target = Target::keys("test", (0..100).map(|id| Key::new("test", "products", id)));
    /// ```
    pub fn keys(namespace: impl Into<String>, keys: impl IntoIterator<Item = Key>) -> Self {
        Target { namespace: namespace.into(), of: Of::Keys(keys.into_iter().collect()) }
    }

    /// Only these partitions, within 0 to 4,095; of a list of keys, no matter.
    ///
    /// ```
    /// let target = outcrop_client::Target::set("test", "products").partitions(0..=9);
    /// ```
    #[must_use]
    pub fn partitions(mut self, range: RangeInclusive<u16>) -> Self {
        if let Of::Scan { partitions, .. } = &mut self.of {
            *partitions = range;
        }
        self
    }
}
