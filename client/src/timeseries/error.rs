//! What can go wrong with a time series.

use thiserror::Error;

use super::name::SeriesNameError;
use super::types::{Appended, Point};
use crate::error::ClientError;

/// Why a request about a series has no result.
///
/// ```
/// use outcrop_client::timeseries::TimeSeriesError;
///
/// let error = TimeSeriesError::NoSeries("cpu{host=a}".into());
/// assert_eq!(error.to_string(), "there is no series cpu{host=a}");
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TimeSeriesError {
    /// The node or the way to it; [`ClientError::function`] has the module's own code (`duplicate-time`, `block-full` …).
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The name or a tag can't be; nothing was sent.
    #[error(transparent)]
    Name(#[from] SeriesNameError),
    /// There is no such series.
    #[error("there is no series {0}")]
    NoSeries(String),
    /// The series has blocks of another length, which can't be changed. Nothing was written.
    #[error("{series} has blocks of {held_ms} ms, not of {asked_ms} ms")]
    OtherSpan {
        /// The series.
        series: String,
        /// What it has.
        held_ms: i64,
        /// What was asked for.
        asked_ms: i64,
    },
    /// A query goes over more blocks than one query may.
    #[error("the time asked for has {blocks} blocks, a query takes {max}")]
    TooManyBlocks {
        /// Blocks that there may be.
        blocks: u64,
        /// What is allowed.
        max: usize,
    },
    /// What was asked can't be; nothing was sent.
    #[error("{0}")]
    Arguments(String),
    /// Some blocks of an append failed, the others are written.
    #[error("{} of {} points are not written: {}", missing(.failed), missing(.failed) + .appended.points(), first(.failed))]
    Partly {
        /// What is written.
        appended: Appended,
        /// What isn't; never empty.
        failed: Vec<FailedBlock>,
    },
}

/// Points of one block that an append could not write, or of which it is not known ([`ClientError::Indeterminate`]).
///
/// ```no_run
/// use outcrop_client::timeseries::{Point, TimeSeries, TimeSeriesError};
/// # async fn example(series: TimeSeries, points: Vec<Point>) {
/// if let Err(TimeSeriesError::Partly { failed, .. }) = series.append(&points).await {
///     for block in failed {
///         println!("{} points from {} ms on: {}", block.points.len(), block.points[0].at_ms, block.error);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FailedBlock {
    /// Those points of the append that aren't known to be written, in the order in which they came.
    pub points: Vec<Point>,
    /// Why.
    pub error: ClientError,
}

fn missing(failed: &[FailedBlock]) -> u64 {
    failed.iter().map(|block| block.points.len() as u64).sum()
}

fn first(failed: &[FailedBlock]) -> String {
    failed.first().map_or_else(String::new, |block| block.error.to_string())
}

impl TimeSeriesError {
    /// What to do about it, in a sentence.
    ///
    /// ```
    /// use outcrop_client::timeseries::TimeSeriesError;
    /// assert!(TimeSeriesError::TooManyBlocks { blocks: 5_000, max: 4_096 }.advice().contains("shorter time"));
    /// ```
    pub fn advice(&self) -> &str {
        match self {
            TimeSeriesError::Client(error) => error.advice(),
            TimeSeriesError::Name(_) => "Write NAME or NAME{TAG=VALUE,…}.",
            TimeSeriesError::NoSeries(_) => "Append to it first; list the set's series to see their names.",
            TimeSeriesError::OtherSpan { .. } => "Leave the span out, or make another series.",
            TimeSeriesError::TooManyBlocks { .. } => "Ask for a shorter time, or use a series with a longer span.",
            TimeSeriesError::Arguments(_) => "Change what is asked.",
            TimeSeriesError::Partly { failed, .. } => {
                failed.first().map_or("Append the rest again.", |block| block.error.advice())
            }
        }
    }

    /// The error of the node or the way to it, if that is what it was; of an append that failed in parts, the first.
    ///
    /// ```
    /// use outcrop_client::timeseries::TimeSeriesError;
    /// assert!(TimeSeriesError::NoSeries("cpu".into()).client().is_none());
    /// ```
    pub fn client(&self) -> Option<&ClientError> {
        match self {
            TimeSeriesError::Client(error) => Some(error),
            TimeSeriesError::Partly { failed, .. } => failed.first().map(|block| &block.error),
            _ => None,
        }
    }
}

/// The short name that the module gave to its failure.
pub(super) fn failure_code(error: &ClientError) -> Option<&str> {
    error.function()?.failure_code.as_deref()
}
