//! Reading points: a stretch of time in pages, and the latest ones.

use outcrop_wire::{MapKey, Value};
use serde::Serialize;

use super::blocks::Blocks;
use super::error::TimeSeriesError;
use super::handle::TimeSeries;
use super::types::Point;
use crate::error::ClientError;
use crate::functions::Target;

/// Blocks that one page goes over.
const PAGE_BLOCKS: usize = 32;
/// Points of one page, at most: 4 MiB as they travel.
const PAGE_POINTS: usize = 262_144;
/// Points that [`TimeSeries::last`] gives, at most.
const LAST_MAX: usize = PAGE_POINTS;

/// What the module's `range` takes.
#[derive(Serialize)]
struct RangeArgs {
    from_ms: i64,
    to_ms: i64,
    limit: usize,
    latest: bool,
    packed: bool,
}

/// A stretch of time under way, page by page, in time order.
///
/// ```no_run
/// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
/// let mut pages = cpu.range(1_404_172_800_000, 1_435_708_800_000).await?;
/// while let Some(page) = pages.next().await {
///     for point in page? {
///         println!("{} {}", point.at_ms, point.value);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct RangePages {
    series: TimeSeries,
    /// Blocks left to read, in order.
    left: Blocks,
    /// Blocks of the page at hand; not empty only if it had more points than fit.
    open: Vec<i64>,
    from_ms: i64,
    to_ms: i64,
}

impl TimeSeries {
    /// The points from `from_ms` to `to_ms` (excluded), in pages. Only blocks of that time are read.
    ///
    /// ```no_run
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let points = cpu.range(1_404_172_800_000, 1_404_259_200_000).await?.all().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn range(&self, from_ms: i64, to_ms: i64) -> Result<RangePages, TimeSeriesError> {
        if from_ms >= to_ms {
            return Err(TimeSeriesError::Arguments(format!("from {from_ms} ms has to lie before to {to_ms} ms")));
        }
        let left = Blocks::between(&self.existing().await?, from_ms, to_ms);
        Ok(RangePages { series: self.clone(), left, open: Vec::new(), from_ms, to_ms })
    }

    /// The latest points, up to 262,144, in time order.
    ///
    /// ```no_run
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// if let [point] = cpu.last(1).await?[..] {
    ///     println!("{} at {}", point.value, point.at_ms);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn last(&self, count: usize) -> Result<Vec<Point>, TimeSeriesError> {
        if count == 0 || count > LAST_MAX {
            return Err(TimeSeriesError::Arguments(format!("1 to {LAST_MAX} points, not {count}")));
        }
        let mut left = Blocks::all(&self.existing().await?);
        let mut points: Vec<Point> = Vec::new();
        // The last blocks first; those of the past may have expired.
        while points.len() < count {
            let numbers = left.take_last(PAGE_BLOCKS);
            if numbers.is_empty() {
                break;
            }
            let limit = count - points.len();
            let (mut page, _) = self.page(&numbers, i64::MIN, i64::MAX, limit, true).await?;
            page.append(&mut points);
            points = page;
        }
        Ok(points)
    }

    /// Points of some blocks, and whether these are all.
    async fn page(
        &self,
        numbers: &[i64],
        from_ms: i64,
        to_ms: i64,
        limit: usize,
        latest: bool,
    ) -> Result<(Vec<Point>, bool), TimeSeriesError> {
        let over = Target::keys(&*self.namespace, numbers.iter().map(|number| self.block(*number)));
        let arguments = RangeArgs { from_ms, to_ms, limit, latest, packed: true };
        let called = self.client.function("timeseries.range").arguments(&arguments).aggregate(&over).await?;
        let told = called.value()?;
        let field = |name: &str| told.get(&MapKey::from(name));
        match (field("packed"), field("complete")) {
            (Some(Value::Bytes(bytes)), Some(Value::Bool(complete))) => Ok((points_of(bytes)?, *complete)),
            _ => Err(ClientError::Protocol("points came in another form".to_owned()).into()),
        }
    }
}

impl RangePages {
    /// The next page, which isn't empty; `None` at the end.
    ///
    /// ```no_run
    /// # async fn example(mut pages: outcrop_client::timeseries::RangePages) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// while let Some(page) = pages.next().await {
    ///     println!("{} points", page?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Vec<Point>, TimeSeriesError>> {
        loop {
            if self.open.is_empty() {
                self.open = self.left.take_first(PAGE_BLOCKS);
            }
            if self.open.is_empty() {
                return None;
            }
            let (from_ms, to_ms) = (self.from_ms, self.to_ms);
            let (points, complete) = match self.series.page(&self.open, from_ms, to_ms, PAGE_POINTS, false).await {
                Ok(page) => page,
                Err(error) => {
                    (self.open, self.left) = (Vec::new(), Blocks::default());
                    return Some(Err(error));
                }
            };
            // What lies behind the last point of the page comes with the next, from the same blocks.
            match points.last() {
                Some(last) if !complete && last.at_ms < i64::MAX => self.from_ms = last.at_ms + 1,
                _ => self.open.clear(),
            }
            if !points.is_empty() {
                return Some(Ok(points));
            }
        }
    }

    /// All points that are left.
    ///
    /// ```no_run
    /// # async fn example(pages: outcrop_client::timeseries::RangePages) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let points = pages.all().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn all(mut self) -> Result<Vec<Point>, TimeSeriesError> {
        let mut points = Vec::new();
        while let Some(page) = self.next().await {
            points.append(&mut page?);
        }
        Ok(points)
    }
}

fn points_of(bytes: &[u8]) -> Result<Vec<Point>, ClientError> {
    let (whole, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(ClientError::Protocol("the last point is cut off".to_owned()));
    }
    let half = |bytes: &[u8; 16], at: usize| -> [u8; 8] { std::array::from_fn(|byte| bytes[at + byte]) };
    Ok(whole
        .iter()
        .map(|bytes| Point::new(i64::from_le_bytes(half(bytes, 0)), f64::from_le_bytes(half(bytes, 8))))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sixteen_bytes_each() {
        let bytes = [7_i64.to_le_bytes(), (-1.5_f64).to_le_bytes()].concat();
        assert_eq!(points_of(&bytes).expect("one"), [Point::new(7, -1.5)]);
        assert!(points_of(&bytes[..15]).is_err());
    }
}
