//! Appending: points are sorted into blocks, new blocks are registered, many blocks are written side by side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use outcrop_wire::{MapKey, Value};
use serde::Deserialize;

use super::blocks::has_block;
use super::error::{FailedBlock, TimeSeriesError, failure_code};
use super::handle::TimeSeries;
use super::span::{by_block, span_for};
use super::types::{Appended, Duplicates, Point, Series};
use crate::error::ClientError;
use crate::functions::Function;

/// Points of one call: one or two make up a usual block.
const CALL_POINTS: usize = 16_384;
/// Blocks that one append writes at once.
const BLOCKS_UNDER_WAY: usize = 8;
/// How long a call may take unless the client's own deadline is longer.
const APPEND_DEADLINE: Duration = Duration::from_secs(10);

/// What the module's `append` tells.
#[derive(Deserialize)]
struct Told {
    added: u64,
    duplicates: u64,
}

impl TimeSeries {
    /// Adds points, in any order and any number; the series is made if it isn't there.
    ///
    /// Each block is written all or nothing, call by call of up to 16,384 points; several blocks are written side by side.
    /// Points of one time within an append count as written one after the other.
    ///
    /// # Errors
    /// [`TimeSeriesError::Partly`] if some blocks are written and some aren't. With [`Duplicates::Last`] and
    /// [`Duplicates::First`] the same points may simply be appended again.
    ///
    /// ```no_run
    /// use outcrop_client::timeseries::Point;
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let points: Vec<Point> = (0..100_000).map(|n| Point::new(1_404_172_800_000 + n * 1_000, n as f64)).collect();
    /// let appended = cpu.append(&points).await?;
    /// println!("{} new points in {} blocks", appended.added, appended.blocks);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn append(&self, points: &[Point]) -> Result<Appended, TimeSeriesError> {
        if points.is_empty() {
            return Ok(Appended::default());
        }
        let span_ms = self.span_of(points).await?;
        let mut blocks = by_block(points, span_ms);
        let series = match self.registered(span_ms, blocks.keys().copied()).await {
            // Somebody else has made it meanwhile, with a span of his own.
            Err(TimeSeriesError::OtherSpan { held_ms, .. }) if self.asked_span_ms().is_none() && held_ms > 0 => {
                blocks = by_block(points, held_ms);
                self.registered(held_ms, blocks.keys().copied()).await?
            }
            registered => registered?,
        };
        let writes = blocks.into_iter().map(|(number, points)| self.write_block(&series, number, points));
        let written: Vec<_> = futures_util::stream::iter(writes).buffer_unordered(BLOCKS_UNDER_WAY).collect().await;
        let (mut appended, mut failed) = (Appended::default(), Vec::new());
        for (done, error) in written {
            appended.add(&done);
            failed.extend(error);
        }
        failed.sort_by_key(|block: &FailedBlock| block.points.first().map(|point| point.at_ms));
        match failed.first() {
            None => Ok(appended),
            Some(first) if appended.points() == 0 && failed.len() == 1 => Err(first.error.clone().into()),
            Some(_) => Err(TimeSeriesError::Partly { appended, failed }),
        }
    }

    /// The span of the series, or one for these points if it isn't there yet.
    async fn span_of(&self, points: &[Point]) -> Result<i64, TimeSeriesError> {
        if let Some(span_ms) = self.asked_span_ms() {
            return match span_ms {
                1_000.. => Ok(span_ms),
                _ => Err(TimeSeriesError::Arguments(format!("a block spans at least 1,000 ms, not {span_ms}"))),
            };
        }
        if let Some(known) = self.known() {
            return Ok(known.span_ms);
        }
        let held = self.describe().await?.map(|series| series.span_ms).filter(|span_ms| *span_ms > 0);
        Ok(held.unwrap_or_else(|| span_for(points)))
    }

    /// The series with these blocks registered.
    async fn registered(
        &self,
        span_ms: i64,
        numbers: impl Iterator<Item = i64>,
    ) -> Result<Arc<Series>, TimeSeriesError> {
        let known = self.known().filter(|known| known.span_ms == span_ms);
        let missing: Vec<i64> = match &known {
            Some(known) => numbers.filter(|number| !has_block(known, *number)).collect(),
            None => numbers.collect(),
        };
        match known {
            Some(known) if missing.is_empty() => Ok(known),
            _ => self.register(span_ms, &missing).await,
        }
    }

    /// Writes one block's points; what was written before an error, and the error.
    async fn write_block(&self, series: &Series, number: i64, points: Vec<Point>) -> (Appended, Option<FailedBlock>) {
        let key = self.block(number);
        let append = self
            .client
            .function("timeseries.append")
            .deadline(APPEND_DEADLINE.max(self.client.shared.deadline))
            .idempotent(series.duplicates.repeatable());
        let mut done = Appended::default();
        for (place, call) in points.chunks(CALL_POINTS).enumerate() {
            let written = place * CALL_POINTS;
            match call_append(&append, &key, series, number, call).await {
                Ok(told) => {
                    done.added += told.added;
                    done.duplicates += told.duplicates;
                }
                Err(error) if failure_code(&error) == Some("expired") => done.expired += call.len() as u64,
                Err(error) => {
                    return (done, Some(FailedBlock { points: points[written..].to_vec(), error }));
                }
            }
        }
        done.blocks += u64::from(done.added + done.duplicates > 0);
        (done, None)
    }
}

async fn call_append(
    append: &Function,
    key: &outcrop_wire::Key,
    series: &Series,
    number: i64,
    points: &[Point],
) -> Result<Told, ClientError> {
    let mut bytes = Vec::with_capacity(points.len() * 16);
    for point in points {
        bytes.extend_from_slice(&point.at_ms.to_le_bytes());
        bytes.extend_from_slice(&point.value.to_le_bytes());
    }
    let field = |name: &str, value: Value| (MapKey::from(name), value);
    let arguments = Value::Map(vec![
        field("block", number.into()),
        field("span_ms", series.span_ms.into()),
        field("points", bytes.into()),
        field("duplicates", Duplicates::name(series.duplicates).into()),
        field("retention_secs", series.retention_secs.map_or(Value::Null, |secs| i64::from(secs).into())),
    ]);
    append.clone().value(&arguments).call(key).await?.to()
}
