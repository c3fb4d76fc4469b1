//! A series' own record: its span, its policies, and which blocks there are.

use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

use crate::block::Duplicates;

/// Bin of the span.
pub const SPAN: &str = "span_ms";
/// Bin of the policy of duplicates.
pub const DUPLICATES: &str = "duplicates";
/// Bin of the retention.
pub const RETENTION: &str = "retention_secs";
/// Bin of the blocks.
pub const BLOCKS: &str = "blocks";
/// Runs of blocks, at most: a series with more gaps than that wants a longer span.
const RUNS_MAX: usize = 10_000;

/// A run of blocks: first and last number.
pub type Run = (i64, i64);

/// What a series is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, Shape)]
pub struct Series {
    /// Length of its blocks.
    pub span_ms: i64,
    /// What becomes of a time that is there already.
    pub duplicates: Duplicates,
    /// How long points are kept behind the end of their block; without it for ever.
    pub retention_secs: Option<u32>,
    /// Blocks that there are, or were: `[first, last]` numbers, in order.
    pub blocks: Vec<Run>,
}

/// What is to be known of a series.
#[derive(Debug, Clone, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Length of its blocks; can't be changed.
    pub span_ms: i64,
    /// As of [`Series::duplicates`].
    #[serde(default)]
    pub duplicates: Option<Duplicates>,
    /// As of [`Series::retention_secs`]; 0: for ever again.
    #[serde(default)]
    pub retention_secs: Option<u32>,
    /// Blocks to add.
    #[serde(default)]
    pub blocks: Vec<i64>,
}

/// The series of a record; none if it isn't there.
pub fn read_series(record: &Record) -> Result<Option<Series>> {
    if !record.exists() {
        return Ok(None);
    }
    Ok(Some(Series {
        span_ms: record.require(SPAN)?,
        duplicates: record.get(DUPLICATES)?.unwrap_or_default(),
        retention_secs: record.get::<Option<u32>>(RETENTION)?.flatten(),
        blocks: record.get(BLOCKS)?.unwrap_or_default(),
    }))
}

/// Adds blocks to runs that are in order, and keeps them so.
pub fn add_runs(runs: &mut Vec<Run>, blocks: &[i64]) -> Result<()> {
    for block in blocks {
        let behind = runs.partition_point(|run| run.0 <= *block);
        if behind > 0 && runs[behind - 1].1 >= *block {
            continue;
        }
        let joins_before = behind > 0 && runs[behind - 1].1.checked_add(1) == Some(*block);
        let joins_after = behind < runs.len() && block.checked_add(1) == Some(runs[behind].0);
        match (joins_before, joins_after) {
            (true, true) => {
                runs[behind - 1].1 = runs[behind].1;
                runs.remove(behind);
            }
            (true, false) => runs[behind - 1].1 = *block,
            (false, true) => runs[behind].0 = *block,
            (false, false) => runs.insert(behind, (*block, *block)),
        }
    }
    if runs.len() > RUNS_MAX {
        bail!(code: "too-many-blocks", "the series has over {RUNS_MAX} runs of blocks: use a longer span");
    }
    Ok(())
}

/// Takes blocks out whose points have all expired by `now_secs`.
pub fn drop_expired(series: &mut Series, now_secs: u64) {
    let Some(retention) = series.retention_secs else { return };
    let kept_from_ms =
        i64::try_from(now_secs.saturating_sub(retention.into())).unwrap_or(i64::MAX).saturating_mul(1_000);
    // The block that holds this time has its end behind it, all before have expired.
    let first = kept_from_ms.div_euclid(series.span_ms);
    series.blocks.retain(|run| run.1 >= first);
    if let Some(run) = series.blocks.first_mut() {
        run.0 = run.0.max(first);
    }
}
