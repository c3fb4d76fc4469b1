//! `scan.aggregate`: groups of records and what they come to.

use std::collections::BTreeMap;

use outcrop_udf::prelude::*;
use outcrop_udf::{Bytes, archived};
use serde::{Deserialize, Serialize};

use crate::accumulate::{Accumulator, Aggregate as Column};
use crate::columns::{self, Order, columns, condition, named_texts, unique};
use crate::evaluate::Source;
use crate::expression::{Expression, Scope};
use crate::operand::{canonical, identity};

/// Groups of a query, at most.
pub const GROUPS_MAX: usize = 10_000;
/// Bytes that a query's groups may take in one instance, roughly: below what the node lets a state have.
const STATE_BYTES_MAX: usize = 12 << 20;
/// What a group takes beside what its aggregates keep.
const GROUP_BYTES: usize = 256;
/// Code of a query with too many groups.
const TOO_MANY_GROUPS: &str = "too-many-groups";
/// Code of a query whose groups keep too much.
const STATE_TOO_LARGE: &str = "state-too-large";

/// What [`Groups`] takes.
#[derive(Debug, Clone, Default, Deserialize, Shape)]
#[serde(deny_unknown_fields, default)]
pub struct AggregateArgs {
    /// Condition of the records that count.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Expressions by which records are grouped: a list, or a map of column names to expressions.
    pub group_by: Value,
    /// What to work out: a list, or a map of column names to count(), count(x), count_if(c), sum(x), min(x), max(x),
    /// avg(x), distinct(x), percentile(x, 95), top(x, 3), bottom(x, 3). Without it: count().
    pub aggregates: Value,
    /// Condition of the rows that are given, by the names of their columns.
    pub having: Option<String>,
    /// Expressions of columns, each perhaps with `desc` behind it.
    pub order: Value,
    /// Rows, at most.
    pub limit: Option<usize>,
}

/// What [`Groups`] gives.
#[derive(Debug, Clone, PartialEq, Serialize, Shape)]
pub struct Table {
    /// One for each group.
    pub rows: Vec<Row>,
    /// Groups, before `having` and `limit`.
    pub groups: u64,
    /// Records that `where` let through.
    pub records: u64,
    /// Values that were left out as they were no numbers where numbers are summed.
    pub skipped: u64,
}

struct Query {
    filter: Option<Expression>,
    by: Vec<columns::Column>,
    aggregates: Vec<Column>,
    having: Option<Expression>,
    order: Order,
    limit: usize,
}

#[derive(Serialize, Deserialize)]
struct Group {
    /// The values of the group's expressions, in a list.
    #[serde(with = "archived")]
    by: Value,
    states: Vec<Accumulator>,
}

/// Groups of records.
#[derive(Serialize, Deserialize)]
pub struct Groups {
    #[serde(with = "packed")]
    groups: BTreeMap<Vec<u8>, Group>,
    records: u64,
    skipped: u64,
    #[serde(skip)]
    bytes: usize,
    /// Of the instance that takes records; a state that travels hasn't got it.
    #[serde(skip)]
    query: Option<Query>,
    #[serde(skip)]
    scratch: (Vec<u8>, Vec<u8>),
}

/// The groups as they travel: what tells them apart is bytes, not a list of small integers.
mod packed {
    use super::{BTreeMap, Bytes, Deserialize, Group};

    pub fn serialize<S: serde::Serializer>(groups: &BTreeMap<Vec<u8>, Group>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(groups.iter().map(|(identity, group)| (Bytes(identity.clone()), group)))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<Vec<u8>, Group>, D::Error> {
        let groups = Vec::<(Bytes, Group)>::deserialize(from)?;
        Ok(groups.into_iter().map(|(identity, group)| (identity.0, group)).collect())
    }
}

impl Query {
    fn parse(arguments: &AggregateArgs) -> Result<Self> {
        let by = columns("group_by", &arguments.group_by)?;
        let mut texts = named_texts("aggregates", &arguments.aggregates)?;
        if texts.is_empty() {
            texts.push(("count".to_owned(), "count()".to_owned()));
        }
        let aggregate = |(name, text): (String, String)| Column::parse(name, &text);
        let aggregates = texts.into_iter().map(aggregate).collect::<Result<Vec<_>>>()?;
        let names = by.iter().map(|column| &column.name).chain(aggregates.iter().map(|column| &column.name));
        let names: Vec<&str> = names.map(String::as_str).collect();
        unique(names.iter().copied())?;
        let having = condition("having", arguments.having.as_deref(), Scope::Row)?;
        if let Some(having) = &having {
            having.expect_columns(&names).map_err(|error| error.context("having"))?;
        }
        let order = Order::parse(&arguments.order, Scope::Row)?;
        order.expect_columns(&names)?;
        let limit = arguments.limit.unwrap_or(GROUPS_MAX);
        ensure!((1..=GROUPS_MAX).contains(&limit), "`limit` is 1 to {GROUPS_MAX}, not {limit}");
        Ok(Query {
            filter: condition("where", arguments.filter.as_deref(), Scope::Record)?,
            by,
            aggregates,
            having,
            order,
            limit,
        })
    }

    fn start(&self, by: Vec<Value>) -> Group {
        Group { by: Value::List(by), states: self.aggregates.iter().map(Column::start).collect() }
    }
}

fn check_size(groups: usize, bytes: usize) -> Result<()> {
    if groups > GROUPS_MAX {
        bail!(
            code: TOO_MANY_GROUPS,
            "there are more than {GROUPS_MAX} groups: group by something coarser, or narrow `where`; \
             `distinct` counts values without a group for each"
        );
    }
    if bytes > STATE_BYTES_MAX {
        bail!(
            code: STATE_TOO_LARGE,
            "the groups keep more than {STATE_BYTES_MAX} bytes: group by something coarser, narrow `where`, or ask for \
             fewer of `distinct`, `percentile`, `top` and `bottom` at once"
        );
    }
    Ok(())
}

/// Records in groups, and what each group comes to: count, sum, min, max, avg, distinct, percentile, top, bottom.
#[aggregate(name = "aggregate")]
impl Aggregate for Groups {
    type Args = Option<AggregateArgs>;
    type Output = Table;

    fn init(arguments: Option<AggregateArgs>) -> Result<Self> {
        let query = Query::parse(&arguments.unwrap_or_default())?;
        let mut groups = BTreeMap::new();
        if query.by.is_empty() {
            // All records are one group, also if there are none.
            groups.insert(Vec::new(), query.start(Vec::new()));
        }
        Ok(Groups { groups, records: 0, skipped: 0, bytes: 0, query: Some(query), scratch: Default::default() })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        let Some(query) = &self.query else { bail!("a state that travelled takes no records") };
        let source = Source::Record(*record);
        if let Some(filter) = &query.filter
            && !filter.holds(&source)?
        {
            return Ok(());
        }
        self.records += 1;
        let (group_identity, value_bytes) = &mut self.scratch;
        group_identity.clear();
        for column in &query.by {
            identity(&column.expression.value(&source)?, group_identity)?;
        }
        if !self.groups.contains_key(group_identity.as_slice()) {
            let value = |column: &columns::Column| Ok(canonical(column.expression.value(&source)?.to_value()?));
            let by = query.by.iter().map(value).collect::<Result<Vec<_>>>()?;
            self.groups.insert(group_identity.clone(), query.start(by));
            self.bytes += GROUP_BYTES + 2 * group_identity.len();
        }
        let Some(group) = self.groups.get_mut(group_identity.as_slice()) else { bail!("a group was lost") };
        for (column, state) in query.aggregates.iter().zip(&mut group.states) {
            match column.accept(state, record, value_bytes)? {
                Some(grown) => self.bytes += grown,
                None => self.skipped += 1,
            }
        }
        check_size(self.groups.len(), self.bytes)
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let Some(query) = &self.query else { bail!("a state that travelled takes no other") };
        self.records += other.records;
        self.skipped += other.skipped;
        for (group_identity, group) in other.groups {
            let Group { by, states } = group;
            let known = self.groups.entry(group_identity).or_insert_with_key(|group_identity| {
                self.bytes += GROUP_BYTES + 2 * group_identity.len();
                Group { by, ..query.start(Vec::new()) }
            });
            for ((column, own), other) in query.aggregates.iter().zip(&mut known.states).zip(states) {
                self.bytes += column.merge(own, other)?;
            }
            check_size(self.groups.len(), self.bytes)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Table> {
        let Some(query) = self.query else { bail!("a state that travelled has no result") };
        let groups = self.groups.len() as u64;
        let mut rows = Vec::with_capacity(self.groups.len());
        for group in self.groups.into_values() {
            let Value::List(by) = group.by else { bail!(code: Error::MALFORMED, "a group without values") };
            let mut row: Vec<(String, Value)> = Vec::with_capacity(by.len() + group.states.len());
            row.extend(query.by.iter().map(|column| column.name.clone()).zip(by.iter().cloned()));
            for (column, state) in query.aggregates.iter().zip(group.states) {
                row.push((column.name.clone(), column.finish(state)?));
            }
            let source = Source::Row(&row);
            if let Some(having) = &query.having
                && !having.holds(&source)?
            {
                continue;
            }
            rows.push((query.order.values(&source)?, by, row));
        }
        // Groups that the order leaves equal stand in the order of what they are grouped by.
        let by_group = |a: &[Value], b: &[Value]| {
            a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        rows.sort_by(|a, b| query.order.compare(&a.0, &b.0).then_with(|| by_group(&a.1, &b.1)));
        rows.truncate(query.limit);
        let of = |columns: Vec<(String, Value)>| {
            columns.into_iter().fold(Row::new(), |row, (name, value)| row.with(&name, value))
        };
        let rows = rows.into_iter().map(|(_, _, columns)| of(columns)).collect();
        Ok(Table { rows, groups, records: self.records, skipped: self.skipped })
    }
}
