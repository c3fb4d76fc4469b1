//! Points, policies of a series, and what is told of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measurement.
///
/// ```
/// let point = outcrop_client::timeseries::Point::new(1_404_172_800_000, 10_844.0);
/// assert_eq!(point.at_ms, 1_404_172_800_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
    /// What was measured.
    pub value: f64,
}

impl Point {
    /// A measurement.
    ///
    /// ```
    /// let point = outcrop_client::timeseries::Point::new(0, 1.5);
    /// ```
    pub fn new(at_ms: i64, value: f64) -> Self {
        Point { at_ms, value }
    }
}

/// What becomes of a point whose time is there already.
///
/// ```
/// use outcrop_client::timeseries::Duplicates;
/// assert_eq!(Duplicates::default(), Duplicates::Last);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// The later write counts.
    #[default]
    Last,
    /// The earlier write stays.
    First,
    /// The points of its block are refused, as [`FailedBlock`](super::FailedBlock) with the module's code
    /// `duplicate-time`.
    Refuse,
    /// Both values are added up, as of counters that arrive in parts.
    Sum,
}

impl Duplicates {
    /// Its name, as the module has it.
    ///
    /// ```
    /// assert_eq!(outcrop_client::timeseries::Duplicates::Sum.name(), "sum");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Duplicates::Last => "last",
            Duplicates::First => "first",
            Duplicates::Refuse => "refuse",
            Duplicates::Sum => "sum",
        }
    }

    /// Whether the same append twice leaves what it leaves once, so that it may be sent again when a reply was lost.
    pub(super) fn repeatable(self) -> bool {
        matches!(self, Duplicates::Last | Duplicates::First)
    }
}

/// What a series is to be like: what isn't said stays as it is, or is the default of a series that is made.
///
/// ```
/// use std::time::Duration;
/// use outcrop_client::timeseries::{Duplicates, SeriesOptions};
///
/// let options = SeriesOptions::default()
///     .duplicates(Duplicates::Refuse)
///     .retention(Duration::from_secs(90 * 86_400))
///     .span(Duration::from_secs(3_600));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeriesOptions {
    pub(super) span_ms: Option<i64>,
    pub(super) duplicates: Option<Duplicates>,
    pub(super) retention_secs: Option<u32>,
}

impl SeriesOptions {
    /// How long a block is; can't be changed later. Without it, it is chosen by the distance between the first points that
    /// are appended, so that a block has some 4,000 to 32,000 of them (one day if there is but one point).
    ///
    /// ```
    /// let hourly = outcrop_client::timeseries::SeriesOptions::default().span(std::time::Duration::from_secs(3_600));
    /// ```
    #[must_use]
    pub fn span(mut self, span: Duration) -> Self {
        self.span_ms = Some(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        self
    }

    /// What becomes of a point whose time is there already.
    ///
    /// ```
    /// use outcrop_client::timeseries::{Duplicates, SeriesOptions};
    /// let counters = SeriesOptions::default().duplicates(Duplicates::Sum);
    /// ```
    #[must_use]
    pub fn duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = Some(duplicates);
        self
    }

    /// How long points are kept behind the end of their block, in whole seconds; zero: for ever again. It holds for
    /// blocks that are written from then on.
    ///
    /// ```
    /// let month = outcrop_client::timeseries::SeriesOptions::default().retention(std::time::Duration::from_secs(30 * 86_400));
    /// ```
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention_secs = Some(u32::try_from(retention.as_secs()).unwrap_or(u32::MAX));
        self
    }
}

/// What a series is.
///
/// ```no_run
/// # async fn example(series: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
/// if let Some(known) = series.describe().await? {
///     println!("blocks of {} ms, {} runs of them", known.span_ms, known.blocks.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Series {
    /// Length of its blocks, in ms.
    pub span_ms: i64,
    /// What becomes of a time that is there already.
    pub duplicates: Duplicates,
    /// How long points are kept behind the end of their block; none: for ever.
    pub retention_secs: Option<u32>,
    /// Blocks that there are, or were: first and last number of each run, in order. Block n holds the times from
    /// n × span to (n + 1) × span, excluded.
    pub blocks: Vec<(i64, i64)>,
}

/// What an append did.
///
/// ```
/// let mut appended = outcrop_client::timeseries::Appended::default();
/// (appended.added, appended.duplicates) = (2, 1);
/// assert_eq!(appended.points(), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Appended {
    /// Points that are new.
    pub added: u64,
    /// Points whose time was there already.
    pub duplicates: u64,
    /// Points that are older than the series keeps them; they aren't written.
    pub expired: u64,
    /// Blocks that were written.
    pub blocks: u64,
}

impl Appended {
    /// Points that it was given.
    ///
    /// ```
    /// assert_eq!(outcrop_client::timeseries::Appended::default().points(), 0);
    /// ```
    pub fn points(&self) -> u64 {
        self.added + self.duplicates + self.expired
    }

    /// Takes another append in.
    ///
    /// ```
    /// use outcrop_client::timeseries::Appended;
    /// let mut whole = Appended::default();
    /// whole.add(&Appended::default());
    /// ```
    pub fn add(&mut self, other: &Appended) {
        self.added += other.added;
        self.duplicates += other.duplicates;
        self.expired += other.expired;
        self.blocks += other.blocks;
    }
}

/// What a series' blocks hold and take.
///
/// ```no_run
/// # async fn example(series: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
/// let stored = series.stored().await?;
/// println!("{} points, {:.2} bytes each", stored.points, stored.bytes as f64 / stored.points as f64);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Stored {
    /// Blocks that there are.
    pub blocks: u64,
    /// Their points.
    pub points: u64,
    /// Bytes of their records as they are stored: header, key and all.
    pub bytes: u64,
    /// The earliest point.
    pub first: Option<Point>,
    /// The latest point.
    pub last: Option<Point>,
}

impl Stored {
    pub(super) fn add(&mut self, other: Stored) {
        self.blocks += other.blocks;
        self.points += other.points;
        self.bytes += other.bytes;
        let earlier = |a: Point, b: Point| if b.at_ms < a.at_ms { b } else { a };
        let later = |a: Point, b: Point| if b.at_ms > a.at_ms { b } else { a };
        self.first = [self.first, other.first].into_iter().flatten().reduce(earlier);
        self.last = [self.last, other.last].into_iter().flatten().reduce(later);
    }
}

/// A series in a list.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
/// let mut list = client.list_time_series("test", "metrics");
/// while let Some(entry) = list.next().await {
///     println!("{}", entry?.series);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SeriesEntry {
    /// Its name with tags, as [`SeriesName`](super::SeriesName) reads it.
    pub series: String,
    /// Length of its blocks, in ms.
    pub span_ms: i64,
    /// What becomes of a time that is there already.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How long points are kept behind the end of their block.
    #[serde(default)]
    pub retention_secs: Option<u32>,
    /// Blocks that there are, or were.
    pub blocks: i64,
    /// Where the first block begins.
    pub from_ms: Option<i64>,
    /// Where the last block ends.
    pub to_ms: Option<i64>,
}
