//! Queries over the blocks of one series: points of a stretch of time, and windows.

use outcrop_udf::prelude::*;
use outcrop_udf::{Bytes, PeekValue, UserKeyRef};
use serde::{Deserialize, Serialize};

use crate::block::{chunks, tail_of, tail_points};
use crate::fill::{Column, Fill, fill};
use crate::point::Point;
use crate::window::{Parts, WINDOWS_MAX, Window, Windows};
use crate::{CHUNKS, TAIL};

/// Points of one answer, at most: as raw bytes they fit a result.
const POINTS_MAX: usize = 400_000;

/// Which series a query has met: a query is about one.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct One(Option<String>);

impl One {
    /// The packed chunks and the tail of a block of the one series; none for a record that is no block.
    pub(crate) fn block<'a>(&mut self, record: &RecordView<'a>) -> Result<Option<(&'a [u8], &'a [u8])>> {
        let bytes = |name| match record.peek(name) {
            Ok(Some(PeekValue::Bytes(bytes))) => bytes,
            _ => &[][..],
        };
        let (packed, tail) = (bytes(CHUNKS), bytes(TAIL));
        if packed.is_empty() && tail.is_empty() {
            return Ok(None);
        }
        let UserKeyRef::Text(key) = record.key()? else { bail!("the key of a block is text") };
        let series = key.rsplit_once('@').map_or(key, |(series, _)| series);
        match &self.0 {
            Some(known) if known == series => {}
            Some(known) => bail!(code: "several-series", "a query is about one series, not {known} and {series}"),
            None => self.0 = Some(series.to_owned()),
        }
        Ok(Some((packed, tail)))
    }

    /// Takes in what another part of the query has met.
    pub(crate) fn merge(&mut self, other: One) -> Result<()> {
        match (&self.0, other.0) {
            (Some(a), Some(b)) if *a != b => {
                bail!(code: "several-series", "a query is about one series, not {a} and {b}")
            }
            (None, other @ Some(_)) => self.0 = other,
            _ => {}
        }
        Ok(())
    }
}

/// What [`Range`] takes.
#[derive(Debug, Clone, Serialize, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct RangeArgs {
    /// First time, ms since 1970, included.
    pub from_ms: i64,
    /// Last time, excluded.
    pub to_ms: i64,
    /// Points, at most; 400,000 by default and at most.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Whether the latest points are wanted if there are more.
    #[serde(default)]
    pub latest: bool,
    /// Whether the points are wanted as bytes, in `packed`.
    #[serde(default)]
    pub packed: bool,
}

/// Points in time order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Shape)]
pub struct Points {
    /// Times, ms since 1970.
    pub times_ms: Vec<i64>,
    /// Values, one for each time.
    pub values: Vec<f64>,
    /// Of each point a little-endian i64 and f64, if that is how they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Bytes>,
    /// Whether there are no more points than these.
    pub complete: bool,
}

/// The points of a stretch of time.
#[derive(Serialize, Deserialize)]
pub struct Range {
    asked: RangeArgs,
    points: Vec<Point>,
    complete: bool,
    one: One,
}

impl Range {
    fn limit(&self) -> usize {
        self.asked.limit.unwrap_or(POINTS_MAX)
    }

    /// Keeps what can still be in the answer.
    fn trim(&mut self) {
        let limit = self.limit();
        self.points.sort_by_key(|point| point.at_ms);
        if self.points.len() > limit {
            self.complete = false;
            match self.asked.latest {
                true => drop(self.points.drain(..self.points.len() - limit)),
                false => self.points.truncate(limit),
            }
        }
    }
}

/// The points of a stretch of time, in order.
#[aggregate(name = "range")]
impl Aggregate for Range {
    type Args = RangeArgs;
    type Output = Points;

    fn init(asked: RangeArgs) -> Result<Self> {
        let limit = asked.limit.unwrap_or(POINTS_MAX);
        ensure!((1..=POINTS_MAX).contains(&limit), "`limit` is 1 to {POINTS_MAX}, not {limit}");
        ensure!(asked.from_ms < asked.to_ms, "`from_ms` has to lie before `to_ms`");
        Ok(Range { asked, points: Vec::new(), complete: true, one: One::default() })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        let Some((packed, tail)) = self.one.block(record)? else { return Ok(()) };
        let (from, to) = (self.asked.from_ms, self.asked.to_ms);
        let mut points = Vec::new();
        for chunk in chunks(packed) {
            let chunk = chunk?;
            if chunk.summary.last.at_ms >= from && chunk.summary.first.at_ms < to {
                chunk.unpack(&mut points)?;
            }
        }
        points.extend(tail_points(tail)?);
        self.points.extend(points.into_iter().filter(|point| point.at_ms >= from && point.at_ms < to));
        if self.points.len() > 2 * self.limit() {
            self.trim();
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.one.merge(other.one)?;
        self.complete &= other.complete;
        self.points.extend(other.points);
        self.trim();
        Ok(())
    }

    fn finish(mut self) -> Result<Points> {
        self.trim();
        if self.asked.packed {
            let packed = Some(Bytes(tail_of(&self.points)));
            return Ok(Points { times_ms: Vec::new(), values: Vec::new(), packed, complete: self.complete });
        }
        let times_ms = self.points.iter().map(|point| point.at_ms).collect();
        let values = self.points.iter().map(|point| point.value).collect();
        Ok(Points { times_ms, values, packed: None, complete: self.complete })
    }
}

/// What [`WindowAggregate`] takes.
#[derive(Debug, Clone, Serialize, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct WindowArgs {
    /// First time, ms since 1970, included.
    pub from_ms: i64,
    /// Last time, excluded.
    pub to_ms: i64,
    /// Length of a window; without it one window for all.
    #[serde(default)]
    pub step_ms: Option<i64>,
    /// A time at which a window begins, ms since 1970; `from_ms` by default. The first window begins at or before
    /// `from_ms`.
    #[serde(default)]
    pub align_ms: Option<i64>,
    /// What to work out: `count`, `sum`, `min`, `max`, `avg`, `first`, `last`, `stddev`, `rate`, `p50`, `p99.9` …
    pub aggregates: Vec<String>,
    /// What stands in windows without points.
    #[serde(default)]
    pub fill: Fill,
}

/// One column for each aggregate, one row for each window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Shape)]
pub struct WindowTable {
    /// Where the windows begin.
    pub start_ms: Vec<i64>,
    /// Points of each.
    pub count: Vec<u64>,
    /// The aggregates, in the order in which they were asked for.
    pub columns: Vec<Column>,
    /// Chunks whose summary was enough, and chunks that had to be unpacked.
    pub chunks_summarised: u64,
    /// See `chunks_summarised`.
    pub chunks_unpacked: u64,
}

/// One aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Function {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    First,
    Last,
    Stddev,
    Rate,
    Percentile(f64),
}

impl Function {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "count" => Function::Count,
            "sum" => Function::Sum,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" => Function::Avg,
            "first" => Function::First,
            "last" => Function::Last,
            "stddev" => Function::Stddev,
            "rate" => Function::Rate,
            other => match other.strip_prefix('p').and_then(|percent| percent.parse::<f64>().ok()) {
                Some(percent) if (0.0..=100.0).contains(&percent) => Function::Percentile(percent),
                _ => bail!(
                    code: Error::INVALID_ARGUMENTS,
                    "there is no aggregate {other:?}; there are count, sum, min, max, avg, first, last, stddev, rate, p0 to p100"
                ),
            },
        })
    }

    fn of(&self, window: &Window) -> Option<f64> {
        let summary = &window.summary;
        match self {
            Function::Count => Some(summary.count as f64),
            Function::Sum => Some(summary.sum),
            Function::Min => Some(summary.min),
            Function::Max => Some(summary.max),
            Function::Avg => Some(summary.mean()),
            Function::First => Some(summary.first.value),
            Function::Last => Some(summary.last.value),
            Function::Stddev => Some(summary.deviation()),
            Function::Rate => window.rate_per_sec(),
            Function::Percentile(percent) => window.percentile(*percent),
        }
    }
}

/// What the points of windows come to.
#[derive(Serialize, Deserialize)]
pub struct WindowAggregate {
    asked: WindowArgs,
    functions: Vec<Function>,
    windows: Windows,
    parts: Parts,
    one: One,
}

/// Count, sum, min, max, avg, first, last, stddev, rate and percentiles of windows of time.
#[aggregate(name = "windows")]
impl Aggregate for WindowAggregate {
    type Args = WindowArgs;
    type Output = WindowTable;

    fn init(asked: WindowArgs) -> Result<Self> {
        ensure!(!asked.aggregates.is_empty() && asked.aggregates.len() <= 32, "a query asks for 1 to 32 aggregates");
        let functions = asked.aggregates.iter().map(|name| Function::parse(name)).collect::<Result<Vec<_>>>()?;
        let windows = Windows {
            from_ms: asked.from_ms,
            to_ms: asked.to_ms,
            step_ms: asked.step_ms,
            align_ms: asked.align_ms,
            values: functions.iter().any(|function| matches!(function, Function::Percentile(_))),
            rates: functions.contains(&Function::Rate),
        };
        windows.check()?;
        Ok(WindowAggregate { asked, functions, windows, parts: Parts::default(), one: One::default() })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        match self.one.block(record)? {
            Some((packed, tail)) => self.parts.accept(&self.windows, packed, tail),
            None => Ok(()),
        }
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.one.merge(other.one)?;
        self.parts.merge(other.parts);
        Ok(())
    }

    fn finish(self) -> Result<WindowTable> {
        let found = self.parts.windows();
        let rows: Vec<(u64, u64, Vec<Option<f64>>)> = found
            .iter()
            .map(|(number, window)| {
                (*number, window.summary.count, self.functions.iter().map(|f| f.of(window)).collect())
            })
            .collect();
        let last = self.windows.number(self.asked.to_ms - 1);
        debug_assert!(last < WINDOWS_MAX || self.asked.step_ms.is_none());
        let filled = fill(&rows, last, self.functions.len(), self.asked.fill);
        let columns = self.asked.aggregates.iter().zip(filled.values);
        Ok(WindowTable {
            start_ms: filled.numbers.iter().map(|number| self.windows.start_ms(*number)).collect(),
            count: filled.counts,
            columns: columns.map(|(name, values)| Column { name: name.clone(), values }).collect(),
            chunks_summarised: self.parts.summarised,
            chunks_unpacked: self.parts.unpacked,
        })
    }
}
