//! What a request may be told beyond its key and value; every options struct has a default that suits most.

use std::ops::RangeInclusive;
use std::time::Duration;

use outcrop_wire::limits::PARTITIONS;
use outcrop_wire::{Cursor, PutMode, Ttl};

/// How to write a record.
///
/// ```
/// use std::time::Duration;
/// use outcrop_client::{PutMode, PutOptions, Ttl};
///
/// let options = PutOptions::default().mode(PutMode::UpdateOnly).ttl(Ttl::Secs(60)).if_generation(3);
/// assert_eq!(options.if_generation, Some(3));
/// assert_eq!(PutOptions::new().mode, PutMode::Upsert);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutOptions {
    /// What becomes of what is there; `Upsert` by default.
    pub mode: PutMode,
    /// Only if the record has this generation; 0: only if it isn't there.
    pub if_generation: Option<u32>,
    /// The record's time to live; the namespace's default unless said.
    pub ttl: Ttl,
    /// How long to wait; the client's default unless said.
    pub deadline: Option<Duration>,
    /// Writing twice is harmless: send again when a reply was lost.
    pub idempotent: bool,
}

/// How to delete a record.
///
/// ```
/// use outcrop_client::DeleteOptions;
/// assert_eq!(DeleteOptions::new().if_generation(7).if_generation, Some(7));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteOptions {
    /// Only if the record has this generation.
    pub if_generation: Option<u32>,
    /// How long to wait; the client's default unless said.
    pub deadline: Option<Duration>,
    /// Deleting twice is harmless: send again when a reply was lost. The answer to "was it there" is then the last one.
    pub idempotent: bool,
}

/// How to carry out a list of operations.
///
/// ```
/// use outcrop_client::{OperateOptions, Ttl};
/// assert_eq!(OperateOptions::default().ttl(Ttl::Never).ttl, Ttl::Never);
/// assert_eq!(OperateOptions::default().ttl, Ttl::Keep);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperateOptions {
    /// Only if the record has this generation; 0: only if it isn't there.
    pub if_generation: Option<u32>,
    /// The record's time to live if a step writes; [`Ttl::Keep`] unless said.
    pub ttl: Ttl,
    /// How long to wait; the client's default unless said.
    pub deadline: Option<Duration>,
    /// Doing it twice is harmless: send again when a reply was lost.
    pub idempotent: bool,
}

impl Default for OperateOptions {
    fn default() -> Self {
        OperateOptions { if_generation: None, ttl: Ttl::Keep, deadline: None, idempotent: false }
    }
}

macro_rules! shared_options {
    ($options:ident) => {
        impl $options {
            /// The defaults.
            ///
            /// ```
            /// assert_eq!(outcrop_client::PutOptions::new(), outcrop_client::PutOptions::default());
            /// ```
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// Only if the record has this generation.
            ///
            /// ```
            /// assert_eq!(outcrop_client::DeleteOptions::new().if_generation(3).if_generation, Some(3));
            /// ```
            #[must_use]
            pub fn if_generation(mut self, generation: u32) -> Self {
                self.if_generation = Some(generation);
                self
            }

            /// How long to wait for the answer, further attempts included.
            ///
            /// ```
            /// let options = outcrop_client::PutOptions::new().deadline(std::time::Duration::from_millis(50));
            /// ```
            #[must_use]
            pub fn deadline(mut self, deadline: Duration) -> Self {
                self.deadline = Some(deadline);
                self
            }

            /// Says that carrying it out twice is harmless, so that it may be sent again when a reply was lost.
            ///
            /// ```
            /// assert!(outcrop_client::PutOptions::new().idempotent(true).idempotent);
            /// ```
            #[must_use]
            pub fn idempotent(mut self, idempotent: bool) -> Self {
                self.idempotent = idempotent;
                self
            }
        }
    };
}

shared_options!(PutOptions);
shared_options!(DeleteOptions);
shared_options!(OperateOptions);

impl PutOptions {
    /// What becomes of what is there.
    ///
    /// ```
    /// use outcrop_client::{PutMode, PutOptions};
    /// assert_eq!(PutOptions::new().mode(PutMode::CreateOnly).mode, PutMode::CreateOnly);
    /// ```
    #[must_use]
    pub fn mode(mut self, mode: PutMode) -> Self {
        self.mode = mode;
        self
    }

    /// The record's time to live.
    ///
    /// ```
    /// use outcrop_client::{PutOptions, Ttl};
    /// assert_eq!(PutOptions::new().ttl(Ttl::Never).ttl, Ttl::Never);
    /// ```
    #[must_use]
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }
}

impl OperateOptions {
    /// The record's time to live if a step writes.
    ///
    /// ```
    /// use outcrop_client::{OperateOptions, Ttl};
    /// assert_eq!(OperateOptions::new().ttl(Ttl::Secs(60)).ttl, Ttl::Secs(60));
    /// ```
    #[must_use]
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }
}

/// What a scan gives, and how fast.
///
/// ```
/// use outcrop_client::ScanOptions;
///
/// let options = ScanOptions::default().bins(["name", "price"]).limit(1_000).partitions(0..=2_047);
/// assert_eq!(options.limit, 1_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// The bins to give: all (`None`), or these; an empty list gives keys and generations only.
    pub bins: Option<Vec<String>>,
    /// Records in all, at most; 0: no limit.
    pub limit: u64,
    /// Records a second, at most; 0: as fast as they are read.
    pub records_per_sec: u32,
    /// Partitions to go through, within 0 to 4,095.
    pub partitions: RangeInclusive<u16>,
    /// Where an earlier scan stopped ([`crate::Scan::cursor`]).
    pub cursor: Option<Cursor>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        ScanOptions { bins: None, limit: 0, records_per_sec: 0, partitions: 0..=PARTITIONS as u16 - 1, cursor: None }
    }
}

impl ScanOptions {
    /// Gives these bins only.
    ///
    /// ```
    /// assert_eq!(outcrop_client::ScanOptions::default().bins(["name"]).bins.map(|bins| bins.len()), Some(1));
    /// ```
    #[must_use]
    pub fn bins<T: Into<String>>(mut self, bins: impl IntoIterator<Item = T>) -> Self {
        self.bins = Some(bins.into_iter().map(Into::into).collect());
        self
    }

    /// Gives this many records in all, at most.
    ///
    /// ```
    /// assert_eq!(outcrop_client::ScanOptions::default().limit(10).limit, 10);
    /// ```
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Gives this many records a second, at most.
    ///
    /// ```
    /// assert_eq!(outcrop_client::ScanOptions::default().records_per_sec(1_000).records_per_sec, 1_000);
    /// ```
    #[must_use]
    pub fn records_per_sec(mut self, records_per_sec: u32) -> Self {
        self.records_per_sec = records_per_sec;
        self
    }

    /// Goes through these partitions only.
    ///
    /// ```
    /// assert_eq!(outcrop_client::ScanOptions::default().partitions(0..=9).partitions, 0..=9);
    /// ```
    #[must_use]
    pub fn partitions(mut self, partitions: RangeInclusive<u16>) -> Self {
        self.partitions = partitions;
        self
    }

    /// Goes on where an earlier scan stopped.
    ///
    /// ```
    /// use outcrop_client::{Cursor, ScanOptions};
    /// let cursor = Cursor { log_id: 1, start_lsn: 0, position_lsn: 4_096, emitted: 3 };
    /// assert_eq!(ScanOptions::default().cursor(Some(cursor)).cursor, Some(cursor));
    /// ```
    #[must_use]
    pub fn cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }
}
