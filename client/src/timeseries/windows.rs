//! Windows: what the points of each stretch of time come to, worked out beside the blocks.

use std::fmt;
use std::str::FromStr;

use outcrop_wire::limits::AGGREGATE_KEYS_MAX;
use serde::{Deserialize, Serialize};

use super::blocks::Blocks;
use super::error::TimeSeriesError;
use super::handle::TimeSeries;
use super::types::{Appended, Point};
use crate::functions::Target;

/// What to work out of a window's points.
///
/// ```
/// use outcrop_client::timeseries::WindowFunction;
/// assert_eq!("p99.9".parse(), Ok(WindowFunction::Percentile(99.9)));
/// assert_eq!(WindowFunction::Stddev.to_string(), "stddev");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum WindowFunction {
    /// How many there are.
    Count,
    /// The sum of their values.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The mean of the values.
    Avg,
    /// The earliest value.
    First,
    /// The latest value.
    Last,
    /// Standard deviation of the points themselves (divided by their number).
    Stddev,
    /// Growth of a counter a second, between the first and the last point; a fall counts as a counter that began anew.
    Rate,
    /// A percentile of the values, 0 to 100: exact up to 1,024 points a block and window, else by t-digest.
    Percentile(f64),
}

impl fmt::Display for WindowFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WindowFunction::Count => "count",
            WindowFunction::Sum => "sum",
            WindowFunction::Min => "min",
            WindowFunction::Max => "max",
            WindowFunction::Avg => "avg",
            WindowFunction::First => "first",
            WindowFunction::Last => "last",
            WindowFunction::Stddev => "stddev",
            WindowFunction::Rate => "rate",
            WindowFunction::Percentile(percent) => return write!(f, "p{percent}"),
        })
    }
}

impl FromStr for WindowFunction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "count" => WindowFunction::Count,
            "sum" => WindowFunction::Sum,
            "min" => WindowFunction::Min,
            "max" => WindowFunction::Max,
            "avg" => WindowFunction::Avg,
            "first" => WindowFunction::First,
            "last" => WindowFunction::Last,
            "stddev" => WindowFunction::Stddev,
            "rate" => WindowFunction::Rate,
            other => match other.strip_prefix('p').and_then(|percent| percent.parse().ok()) {
                Some(percent) if (0.0..=100.0).contains(&percent) => WindowFunction::Percentile(percent),
                _ => return Err("count, sum, min, max, avg, first, last, stddev, rate, or p0 to p100".to_owned()),
            },
        })
    }
}

/// What stands in windows without points.
///
/// ```
/// assert_eq!(outcrop_client::timeseries::Fill::default(), outcrop_client::timeseries::Fill::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// They are left out.
    #[default]
    None,
    /// Nothing.
    Null,
    /// Zero.
    Zero,
    /// What the window before has.
    Previous,
    /// On the line between the windows before and behind; nothing at the ends.
    Linear,
}

/// Which windows of which time, and what of them.
///
/// ```
/// use outcrop_client::timeseries::{Fill, WindowFunction, WindowQuery};
///
/// let query = WindowQuery::new(1_404_172_800_000, 1_404_259_200_000)
///     .every_ms(3_600_000)
///     .aligned_to_ms(0)
///     .function(WindowFunction::Avg)
///     .fill(Fill::Linear);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WindowQuery {
    from_ms: i64,
    to_ms: i64,
    step_ms: Option<i64>,
    align_ms: Option<i64>,
    functions: Vec<WindowFunction>,
    fill: Fill,
}

/// What the module's `windows` takes.
#[derive(Serialize)]
struct WindowArgs {
    from_ms: i64,
    to_ms: i64,
    step_ms: Option<i64>,
    align_ms: Option<i64>,
    aggregates: Vec<String>,
    fill: Fill,
}

impl WindowQuery {
    /// One window, from `from_ms` to `to_ms` (excluded).
    ///
    /// ```
    /// let query = outcrop_client::timeseries::WindowQuery::new(0, 86_400_000);
    /// ```
    pub fn new(from_ms: i64, to_ms: i64) -> Self {
        WindowQuery { from_ms, to_ms, step_ms: None, align_ms: None, functions: Vec::new(), fill: Fill::None }
    }

    /// Windows of this length, up to 100,000 of them, the first beginning at `from_ms` unless it is aligned.
    ///
    /// ```
    /// let hourly = outcrop_client::timeseries::WindowQuery::new(0, 86_400_000).every_ms(3_600_000);
    /// ```
    #[must_use]
    pub fn every_ms(mut self, step_ms: i64) -> Self {
        self.step_ms = Some(step_ms);
        self
    }

    /// Windows begin at this time and whole steps before and behind it; 0 makes days and hours those of UTC. The first
    /// and the last window may be cut by the query's own ends.
    ///
    /// ```
    /// let hourly = outcrop_client::timeseries::WindowQuery::new(7, 86_400_000).every_ms(3_600_000).aligned_to_ms(0);
    /// ```
    #[must_use]
    pub fn aligned_to_ms(mut self, align_ms: i64) -> Self {
        self.align_ms = Some(align_ms);
        self
    }

    /// One more column, up to 32; a query needs one.
    ///
    /// ```
    /// use outcrop_client::timeseries::{WindowFunction, WindowQuery};
    /// let average = WindowQuery::new(0, 86_400_000).function(WindowFunction::Avg);
    /// ```
    #[must_use]
    pub fn function(mut self, function: WindowFunction) -> Self {
        self.functions.push(function);
        self
    }

    /// What stands in windows without points.
    ///
    /// ```
    /// use outcrop_client::timeseries::{Fill, WindowQuery};
    /// let query = WindowQuery::new(0, 86_400_000).every_ms(3_600_000).fill(Fill::Zero);
    /// ```
    #[must_use]
    pub fn fill(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }
}

/// One column of a table.
///
/// ```no_run
/// # fn example(table: outcrop_client::timeseries::WindowTable) {
/// println!("{}", table.columns[0].name);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WindowColumn {
    /// The function.
    pub name: String,
    /// Its value for each window; none where there is none.
    pub values: Vec<Option<f64>>,
}

/// Windows in order: where each begins, how many points it has, and a column for each function.
///
/// ```no_run
/// # fn example(table: outcrop_client::timeseries::WindowTable) {
/// for row in table.rows() {
///     println!("{} {} {:?}", row.start_ms, row.count, row.values);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct WindowTable {
    /// Where the windows begin, ms since 1970.
    pub start_ms: Vec<i64>,
    /// Points of each.
    pub count: Vec<u64>,
    /// A column for each function, in the order in which they were asked for.
    pub columns: Vec<WindowColumn>,
    /// Chunks whose summary was enough.
    pub chunks_summarised: u64,
    /// Chunks that had to be unpacked.
    pub chunks_unpacked: u64,
}

/// One window.
///
/// ```no_run
/// # fn example(row: outcrop_client::timeseries::WindowRow) {
/// println!("{}: {:?}", row.start_ms, row.values);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRow {
    /// Where it begins, ms since 1970.
    pub start_ms: i64,
    /// Its points.
    pub count: u64,
    /// A value for each function.
    pub values: Vec<Option<f64>>,
}

impl WindowTable {
    /// The windows one by one.
    ///
    /// ```no_run
    /// # fn example(table: outcrop_client::timeseries::WindowTable) {
    /// let busiest = table.rows().max_by_key(|row| row.count);
    /// # }
    /// ```
    pub fn rows(&self) -> impl Iterator<Item = WindowRow> + '_ {
        let of_row = |place| self.columns.iter().map(move |column| column.values.get(place).copied().flatten());
        self.start_ms.iter().zip(&self.count).enumerate().map(move |(place, (start_ms, count))| WindowRow {
            start_ms: *start_ms,
            count: *count,
            values: of_row(place).collect(),
        })
    }
}

impl TimeSeries {
    /// Windows of its points. A window that takes whole chunks in is answered from their summaries, without unpacking.
    ///
    /// ```no_run
    /// use outcrop_client::timeseries::{WindowFunction, WindowQuery};
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let year = WindowQuery::new(1_404_172_800_000, 1_435_708_800_000).function(WindowFunction::Avg);
    /// let average = cpu.windows(&year).await?.columns[0].values.first().copied().flatten();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn windows(&self, query: &WindowQuery) -> Result<WindowTable, TimeSeriesError> {
        if query.from_ms >= query.to_ms {
            let message = format!("from {} ms has to lie before to {} ms", query.from_ms, query.to_ms);
            return Err(TimeSeriesError::Arguments(message));
        }
        let mut blocks = Blocks::between(&self.existing().await?, query.from_ms, query.to_ms);
        if blocks.count() > AGGREGATE_KEYS_MAX as u64 {
            return Err(TimeSeriesError::TooManyBlocks { blocks: blocks.count(), max: AGGREGATE_KEYS_MAX });
        }
        let numbers = blocks.take_first(AGGREGATE_KEYS_MAX);
        let over = Target::keys(&*self.namespace, numbers.into_iter().map(|number| self.block(number)));
        let WindowQuery { from_ms, to_ms, step_ms, align_ms, fill, .. } = *query;
        let aggregates = query.functions.iter().map(WindowFunction::to_string).collect();
        let arguments = WindowArgs { from_ms, to_ms, step_ms, align_ms, aggregates, fill };
        Ok(self.client.function("timeseries.windows").arguments(&arguments).aggregate(&over).await?.to()?)
    }

    /// Writes the first column of windows of this series as points of another, at the windows' beginnings: a series for
    /// long times with few points. Windows without a value are left out.
    ///
    /// ```no_run
    /// use outcrop_client::timeseries::{TimeSeries, WindowFunction, WindowQuery};
    /// # async fn example(cpu: TimeSeries, cpu_hourly: TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let year = WindowQuery::new(1_404_172_800_000, 1_435_708_800_000).every_ms(3_600_000).function(WindowFunction::Avg);
    /// cpu.downsample(&year, &cpu_hourly).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn downsample(&self, query: &WindowQuery, into: &TimeSeries) -> Result<Appended, TimeSeriesError> {
        let table = self.windows(query).await?;
        let of_row = |row: WindowRow| Some(Point::new(row.start_ms, row.values.first().copied().flatten()?));
        let points: Vec<Point> = table.rows().filter_map(of_row).collect();
        into.append(&points).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_names() {
        for name in ["count", "sum", "min", "max", "avg", "first", "last", "stddev", "rate", "p50", "p99.9", "p0"] {
            assert_eq!(name.parse::<WindowFunction>().map(|function| function.to_string()), Ok(name.to_owned()));
        }
        for wrong in ["", "p", "p101", "p-1", "pNaN", "mean"] {
            assert!(wrong.parse::<WindowFunction>().is_err(), "{wrong}");
        }
    }
}
