//! What a series' blocks hold and take, from their summaries alone; and which series a set has.

use std::collections::BTreeMap;

use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

use crate::block::{chunks, tail_points};
use crate::point::{Point, Summary};
use crate::query::One;
use crate::series::{DUPLICATES, RETENTION, Run, SPAN};

/// What blocks come to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, Shape)]
pub struct Stored {
    /// Blocks that there are.
    pub blocks: u64,
    /// Their points.
    pub points: u64,
    /// Bytes of their records as they are stored, header and key included.
    pub bytes: u64,
    /// The earliest point.
    pub first: Option<Point>,
    /// The latest point.
    pub last: Option<Point>,
}

/// Sums blocks up.
#[derive(Default, Serialize, Deserialize)]
pub struct Summarize {
    blocks: u64,
    bytes: u64,
    whole: Option<Summary>,
    one: One,
}

impl Summarize {
    fn take(&mut self, part: Summary) {
        match &mut self.whole {
            Some(whole) => whole.merge(&part),
            None => self.whole = Some(part),
        }
    }
}

/// How many points the blocks of a series have, the earliest and the latest, and what they take.
#[aggregate(name = "summary")]
impl Aggregate for Summarize {
    type Args = ();
    type Output = Stored;

    fn init(_: ()) -> Result<Self> {
        Ok(Summarize::default())
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        let Some((packed, tail)) = self.one.block(record)? else { return Ok(()) };
        self.blocks += 1;
        self.bytes += record.stored().len() as u64;
        for chunk in chunks(packed) {
            self.take(chunk?.summary);
        }
        if let Some(tail) = Summary::of(&tail_points(tail)?) {
            self.take(tail);
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.one.merge(other.one)?;
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        if let Some(part) = other.whole {
            self.take(part);
        }
        Ok(())
    }

    fn finish(self) -> Result<Stored> {
        let Summarize { blocks, bytes, whole, .. } = self;
        let points = whole.map_or(0, |whole| whole.count);
        Ok(Stored { blocks, points, bytes, first: whole.map(|whole| whole.first), last: whole.map(|whole| whole.last) })
    }
}

/// What [`List`] takes.
#[derive(Debug, Clone, Default, Deserialize, Shape)]
#[serde(deny_unknown_fields, default)]
pub struct ListArgs {
    /// Only series of this name.
    pub name: Option<String>,
    /// Only series that have all of these tags.
    pub tags: BTreeMap<String, String>,
}

/// Lists series.
pub struct List {
    asked: ListArgs,
}

/// Whether a series of this key is of the name and has the tags.
fn fits(key: &str, asked: &ListArgs) -> bool {
    let (name, tags) = key.split_once('{').unwrap_or((key, "}"));
    let has = |wanted: (&String, &String)| {
        tags.trim_end_matches('}').split(',').any(|tag| tag.split_once('=') == Some((wanted.0, wanted.1)))
    };
    asked.name.as_ref().is_none_or(|wanted| wanted == name) && asked.tags.iter().all(has)
}

/// The series of a set: their keys, policies, and from when to when there are blocks.
#[row_fn(name = "list")]
impl Rows for List {
    type Args = Option<ListArgs>;
    type Row = Row;

    fn init(arguments: Option<ListArgs>) -> Result<Self> {
        Ok(List { asked: arguments.unwrap_or_default() })
    }

    fn row(&mut self, record: &RecordView<'_>) -> Result<Option<Row>> {
        let Some(span_ms) = record.integer(SPAN).filter(|span| *span > 0) else { return Ok(None) };
        let outcrop_udf::UserKeyRef::Text(key) = record.key()? else { return Ok(None) };
        if !fits(key, &self.asked) {
            return Ok(None);
        }
        let runs: Vec<Run> = record.get(crate::series::BLOCKS)?.unwrap_or_default();
        let of_run = |run: &Run| run.1.saturating_sub(run.0).saturating_add(1);
        let count = runs.iter().map(of_run).fold(0, i64::saturating_add);
        let time =
            |number: Option<i64>| number.and_then(|number| number.checked_mul(span_ms)).map_or(Value::Null, Value::Int);
        let row = Row::new().with("series", key).with("span_ms", span_ms);
        let row = row.with_bin(record, DUPLICATES)?.with_bin(record, RETENTION)?;
        Ok(Some(
            row.with("blocks", count)
                .with("from_ms", time(runs.first().map(|run| run.0)))
                .with("to_ms", time(runs.last().and_then(|run| run.1.checked_add(1)))),
        ))
    }
}
