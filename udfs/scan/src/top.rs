//! `scan.select` and `scan.top`: records, filtered and projected, as they come or the first of an order.

use outcrop_udf::archived;
use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accumulate::key_value;
use crate::columns::{Column, Order, columns, condition, project};
use crate::evaluate::Source;
use crate::expression::{Expression, Scope};
use crate::operand::weight;

/// Records that `top` gives, unless more are asked for.
const LIMIT_DEFAULT: usize = 100;
/// Records that `top` gives, at most.
const LIMIT_MAX: usize = 10_000;
/// Bytes of rows that `top` keeps, roughly: below what the node lets a state have.
const ROWS_BYTES_MAX: usize = 8 << 20;
/// Code of rows that take too much.
const STATE_TOO_LARGE: &str = "state-too-large";

/// What [`Select`] takes.
#[derive(Debug, Clone, Default, Deserialize, Shape)]
#[serde(deny_unknown_fields, default)]
pub struct SelectArgs {
    /// Condition of the records that are given; without it all.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// What of each: a list of expressions, or a map of names to expressions; without it the key and all bins.
    pub project: Value,
}

/// Filters and projects.
pub struct Select {
    filter: Option<Expression>,
    columns: Vec<Column>,
}

impl Select {
    fn parse(filter: Option<&str>, columns_given: &Value) -> Result<Self> {
        let filter = condition("where", filter, Scope::Record)?;
        Ok(Select { filter, columns: columns("project", columns_given)? })
    }

    fn passes(&self, record: &RecordView<'_>) -> Result<bool> {
        self.filter.as_ref().map_or(Ok(true), |filter| filter.holds(&Source::Record(*record)))
    }
}

/// Records that a condition lets through, whole or some expressions of them.
#[row_fn(name = "select")]
impl Rows for Select {
    type Args = Option<SelectArgs>;
    type Row = Row;

    fn init(arguments: Option<SelectArgs>) -> Result<Self> {
        let arguments = arguments.unwrap_or_default();
        Select::parse(arguments.filter.as_deref(), &arguments.project)
    }

    fn row(&mut self, record: &RecordView<'_>) -> Result<Option<Row>> {
        match self.passes(record)? {
            true => project(&self.columns, record).map(Some),
            false => Ok(None),
        }
    }
}

/// What [`Top`] takes.
#[derive(Debug, Clone, Deserialize, Shape)]
#[serde(deny_unknown_fields)]
pub struct TopArgs {
    /// Condition of the records that count; without it all.
    #[serde(rename = "where", default)]
    pub filter: Option<String>,
    /// As of `select`.
    #[serde(default)]
    pub project: Value,
    /// What they are ordered by: expressions, each perhaps with `desc` behind it.
    pub order: Value,
    /// Records, at most: 1 to 10,000; 100 by default.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// What [`Top`] gives.
#[derive(Debug, Clone, PartialEq, Serialize, Shape)]
pub struct TopRows {
    /// The first records of the order.
    pub rows: Vec<Row>,
    /// Records that `where` let through.
    pub records: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(with = "archived")]
    by: Value,
    set: String,
    #[serde(with = "archived")]
    key: Value,
    #[serde(with = "archived")]
    row: Value,
    bytes: usize,
}

struct Query {
    select: Select,
    order: Order,
    limit: usize,
}

/// The first records of an order.
#[derive(Serialize, Deserialize)]
pub struct Top {
    kept: Vec<Kept>,
    records: u64,
    /// Of all that are kept.
    #[serde(skip)]
    bytes: usize,
    /// What the last of enough rows is ordered by: what comes behind it is never in the answer.
    #[serde(skip)]
    worst: Option<Value>,
    #[serde(skip)]
    query: Option<Query>,
}

fn values(list: &Value) -> &[Value] {
    if let Value::List(values) = list { values } else { &[] }
}

impl Top {
    /// Keeps what can still be in the answer, in order.
    fn trim(&mut self) -> Result<()> {
        let Some(Query { order, limit, .. }) = &self.query else { bail!("a state that travelled is not ordered") };
        let by_record = |a: &Kept, b: &Kept| a.set.cmp(&b.set).then_with(|| a.key.order(&b.key));
        self.kept.sort_by(|a, b| order.compare(values(&a.by), values(&b.by)).then_with(|| by_record(a, b)));
        self.kept.truncate(*limit);
        self.worst = (self.kept.len() == *limit).then(|| self.kept.last().map(|kept| kept.by.clone())).flatten();
        self.bytes = self.kept.iter().map(|kept| kept.bytes).sum();
        if self.bytes > ROWS_BYTES_MAX {
            bail!(code: STATE_TOO_LARGE, "the rows take more than {ROWS_BYTES_MAX} bytes: project less, or lower `limit`");
        }
        Ok(())
    }

    /// Takes a row in; trims now and then, sooner if rows are large.
    fn add(&mut self, kept: Kept) -> Result<()> {
        let limit = self.query.as_ref().map_or(0, |query| query.limit);
        self.bytes += kept.bytes;
        self.kept.push(kept);
        if self.kept.len() >= limit + limit / 2 + 8 || self.bytes > ROWS_BYTES_MAX + ROWS_BYTES_MAX / 2 {
            self.trim()
        } else {
            Ok(())
        }
    }
}

/// The first records of an order: `order` and `limit`, with `where` and `project` as of `select`.
#[aggregate(name = "top")]
impl Aggregate for Top {
    type Args = TopArgs;
    type Output = TopRows;

    fn init(arguments: TopArgs) -> Result<Self> {
        let select = Select::parse(arguments.filter.as_deref(), &arguments.project)?;
        let order = Order::parse(&arguments.order, Scope::Record)?;
        ensure!(!order.is_empty(), "`order` says by what: \"price desc\"");
        let limit = arguments.limit.unwrap_or(LIMIT_DEFAULT);
        ensure!((1..=LIMIT_MAX).contains(&limit), "`limit` is 1 to {LIMIT_MAX}, not {limit}");
        Ok(Top { kept: Vec::new(), records: 0, bytes: 0, worst: None, query: Some(Query { select, order, limit }) })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        let Some(Query { select, order, .. }) = &self.query else { bail!("a state that travelled takes no records") };
        if !select.passes(record)? {
            return Ok(());
        }
        self.records += 1;
        let by = order.values(&Source::Record(*record))?;
        if self.worst.as_ref().is_some_and(|worst| order.compare(&by, values(worst)).is_gt()) {
            return Ok(());
        }
        let row = Value::from(project(&select.columns, record)?);
        let (set, key) = (record.set_name()?.to_owned(), key_value(record.key()?));
        let by = Value::List(by);
        let bytes = set.len() + weight(&by) + weight(&key) + weight(&row);
        self.add(Kept { by, set, key, row, bytes })
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.records += other.records;
        other.kept.into_iter().try_for_each(|kept| self.add(kept))
    }

    fn finish(mut self) -> Result<TopRows> {
        self.trim()?;
        let row = |kept: Kept| match kept.row {
            Value::Map(entries) => {
                let name = |key| if let outcrop_udf::MapKey::Text(name) = key { name } else { String::new() };
                entries.into_iter().fold(Row::new(), |row, (key, value)| row.with(&name(key), value))
            }
            _ => Row::new(),
        };
        Ok(TopRows { rows: self.kept.into_iter().map(row).collect(), records: self.records })
    }
}
