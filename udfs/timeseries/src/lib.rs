//! The `timeseries` module: points in compressed blocks, one record for each series and span of time.
//!
//! A series' record (key `name{tag=value,…}`) says how long its blocks are and which there are; a block's record (key
//! `name{…}@NUMBER`) holds the points of `[NUMBER * span_ms, (NUMBER + 1) * span_ms)`. An append touches one block; a
//! query runs over the blocks of its time beside one another and merges what they come to. Whoever appends sorts his
//! points into blocks and registers a block before it first appends to it; the client SDK does both.

mod block;
mod chunk;
mod fill;
mod point;
mod query;
mod series;
mod summary;
mod window;

use outcrop_udf::PeekValue;
use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

use block::{Appended, Block, Duplicates};
use point::Point;
pub use query::{Range, WindowAggregate};
use series::{BLOCKS, DUPLICATES, RETENTION, SPAN, add_runs, drop_expired, read_series};
pub use series::{Register, Series};
pub use summary::{List, Summarize};

/// Bin of the packed chunks.
const CHUNKS: &str = "c";
/// Bin of the raw tail.
const TAIL: &str = "t";
/// Points of one append, at most: half of what the arguments of a call may have, by default.
const APPEND_POINTS_MAX: usize = 32_768;
/// Code of points that don't lie in the block.
const OUTSIDE_BLOCK: &str = "outside-block";
/// Code of points that are older than the series keeps them.
const EXPIRED: &str = "expired";

/// What `append` takes.
#[derive(Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct AppendArgs {
    /// The block's number: what its key ends in.
    pub block: i64,
    /// The series' span.
    pub span_ms: i64,
    /// A list of `[time_ms, value]`, or bytes: for each point a little-endian i64 and f64.
    pub points: Value,
    /// What becomes of a time that is there already.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How long the block is kept behind its end; without it for ever.
    #[serde(default)]
    pub retention_secs: Option<u32>,
}

/// Tells a series' span, policies and blocks, and adds blocks to it; a series that isn't there is made.
#[record_fn]
pub fn register(record: &mut Record, #[arguments] series: Register) -> Result<Series> {
    ensure!(series.span_ms >= 1_000, "a block spans at least 1,000 ms, not {}", series.span_ms);
    let mut known = match read_series(record)? {
        Some(known) => {
            if known.span_ms != series.span_ms {
                bail!(code: "other-span", "the series has blocks of {} ms, not {}", known.span_ms, series.span_ms);
            }
            known
        }
        None => Series { span_ms: series.span_ms, ..Series::default() },
    };
    let before = known.clone();
    known.duplicates = series.duplicates.unwrap_or(known.duplicates);
    known.retention_secs = series.retention_secs.or(known.retention_secs).filter(|secs| *secs > 0);
    add_runs(&mut known.blocks, &series.blocks)?;
    drop_expired(&mut known, now_ms() / 1_000);
    if known != before || !record.exists() {
        record.set(SPAN, known.span_ms)?;
        record.set(DUPLICATES, known.duplicates)?;
        record.set(RETENTION, known.retention_secs)?;
        record.set(BLOCKS, &known.blocks)?;
        // Blocks expire, each by itself; the series stays whatever the namespace's default is.
        record.set_ttl(Ttl::Never)?;
    }
    Ok(known)
}

/// What is known of a series.
#[record_fn]
pub fn describe(record: &Record) -> Result<Option<Series>> {
    read_series(record)
}

/// Adds points to a block, in any order.
#[record_fn]
pub fn append(record: &mut Record, #[arguments] append: AppendArgs) -> Result<Appended> {
    let AppendArgs { block: number, span_ms, points, duplicates, retention_secs } = append;
    ensure!(span_ms >= 1_000, "a block spans at least 1,000 ms, not {span_ms}");
    let points = points_of(&points)?;
    let start = number.checked_mul(span_ms).ok_or("the block's number is out of range")?;
    let end = start.checked_add(span_ms).ok_or("the block's number is out of range")?;
    if let Some(point) = points.iter().find(|point| point.at_ms < start || point.at_ms >= end) {
        bail!(code: OUTSIDE_BLOCK, "{} ms doesn't lie in block {number}, {start} to {end} ms", point.at_ms);
    }
    let ttl = match retention_secs {
        None => Ttl::Never,
        Some(retention) => {
            let over = u64::try_from(end).unwrap_or(0).div_ceil(1_000).saturating_add(retention.into());
            let left = over.saturating_sub(now_ms() / 1_000);
            if left == 0 {
                bail!(code: EXPIRED, "the series keeps {retention} s; block {number} is older");
            }
            Ttl::Secs(u32::try_from(left).unwrap_or(u32::MAX).min(TTL_SECS_MAX))
        }
    };
    let mut block = read_block(record)?;
    let done = block.append(points, duplicates)?;
    if done.added > 0 || done.duplicates > 0 {
        record.set_value(CHUNKS, Value::Bytes(block.chunks))?;
        record.set_value(TAIL, Value::Bytes(block.tail))?;
        record.set_ttl(ttl)?;
    }
    Ok(done)
}

/// Ten years, the longest time to live of a record.
const TTL_SECS_MAX: u32 = 315_360_000;

/// The latest point of a block.
#[record_fn]
pub fn last(record: &Record) -> Result<Option<Point>> {
    Ok(read_block(record)?.summary()?.map(|summary| summary.last))
}

/// How a block is stored.
#[derive(Serialize, Shape, Debug, PartialEq)]
pub struct BlockInfo {
    /// Points.
    pub points: u64,
    /// Packed chunks.
    pub chunks: usize,
    /// Their bytes.
    pub packed_bytes: usize,
    /// Bytes of raw points that wait to be packed.
    pub tail_bytes: usize,
}

/// How many points a block has and what they take.
#[record_fn]
pub fn stored(record: &Record) -> Result<BlockInfo> {
    let block = read_block(record)?;
    Ok(BlockInfo {
        points: block.summary()?.map_or(0, |summary| summary.count),
        chunks: block::chunks(&block.chunks).count(),
        packed_bytes: block.chunks.len(),
        tail_bytes: block.tail.len(),
    })
}

fn read_block(record: &Record) -> Result<Block> {
    let bytes = |name: &str| -> Result<Vec<u8>> {
        let bin = record.with(name, |value| match value {
            PeekValue::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        })?;
        match bin {
            None => Ok(Vec::new()),
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => bail!(code: Error::WRONG_TYPE, "the record {} is no block of a series", record.key()),
        }
    };
    Ok(Block { chunks: bytes(CHUNKS)?, tail: bytes(TAIL)? })
}

fn points_of(points: &Value) -> Result<Vec<Point>> {
    let points = match points {
        Value::Bytes(bytes) => block::tail_points(bytes)?,
        Value::List(items) => items.iter().map(point_of).collect::<Result<Vec<_>>>()?,
        other => bail!(code: Error::INVALID_ARGUMENTS, "points are a list or bytes, not {}", other.type_name()),
    };
    if points.len() > APPEND_POINTS_MAX {
        bail!(code: Error::INVALID_ARGUMENTS, "an append takes {APPEND_POINTS_MAX} points, not {}", points.len());
    }
    Ok(points)
}

fn point_of(item: &Value) -> Result<Point> {
    let Value::List(pair) = item else { bail!(code: Error::INVALID_ARGUMENTS, "a point is [time_ms, value]") };
    match &pair[..] {
        [Value::Int(at_ms), Value::Float(value)] => Ok(Point { at_ms: *at_ms, value: *value }),
        [Value::Int(at_ms), Value::Int(value)] => Ok(Point { at_ms: *at_ms, value: *value as f64 }),
        _ => bail!(code: Error::INVALID_ARGUMENTS, "a point is [time_ms, value]: an integer and a number"),
    }
}

outcrop_udf::module! {
    doc: "Time series: points in compressed blocks; ranges, windows, percentiles, rates, gap filling, retention.",
    functions: [register, describe, append, last, stored, Range, WindowAggregate, Summarize, List],
}

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;
