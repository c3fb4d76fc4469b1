//! Whole sets: documents that a filter lets through, how many they are, what values a path finds in them.

use std::collections::BTreeMap;

use outcrop_udf::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::json::{from_json, to_json};
use crate::path::Path;

/// Values that [`Distinct`] tells apart, unless fewer are asked for.
const DISTINCT_MAX: usize = 10_000;

/// A filter that is parsed once a query.
struct Filter {
    path: Option<Path>,
    slot: Json,
}

impl Filter {
    fn new(filter: Option<&str>) -> Result<Self> {
        Ok(Filter { path: filter.map(Path::parse_filter).transpose()?, slot: Json::Array(Vec::new()) })
    }

    /// The record's document, if the filter lets it through.
    fn document(&mut self, record: &RecordView<'_>) -> Result<Option<Json>> {
        let mut members = serde_json::Map::new();
        for bin in record.bins() {
            let (name, value) = bin?;
            members.insert(name.to_owned(), to_json(&value.to_value()?)?);
        }
        let mut document = Json::Object(members);
        Ok(match &self.path {
            Some(path) if !path.passes(&mut document, &mut self.slot)? => None,
            _ => Some(document),
        })
    }
}

/// Filters and maps documents.
pub struct Query {
    filter: Filter,
    select: Option<Path>,
}

/// What [`Query`] takes.
#[derive(Deserialize, Shape, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct QueryArgs {
    /// `@.price < 10 && @.brand == 'X'`; without it every document.
    pub filter: Option<String>,
    /// A path into each document; without it the whole.
    pub select: Option<String>,
}

/// Documents that a JSONPath filter lets through, whole or the parts that a path selects.
#[row_fn(name = "query")]
impl Rows for Query {
    type Args = Option<QueryArgs>;
    type Row = Row;

    fn init(arguments: Option<QueryArgs>) -> Result<Self> {
        let arguments = arguments.unwrap_or_default();
        let select = arguments.select.as_deref().map(Path::parse).transpose()?;
        Ok(Query { filter: Filter::new(arguments.filter.as_deref())?, select })
    }

    fn row(&mut self, record: &RecordView<'_>) -> Result<Option<Row>> {
        let Some(document) = self.filter.document(record)? else { return Ok(None) };
        let row = Row::new().with("key", record.key()?);
        let Some(select) = &self.select else { return Ok(Some(row.with("document", from_json(&document)?))) };
        let selected = select.values(&document)?.into_iter().map(from_json).collect::<Result<Vec<_>>>()?;
        Ok((!selected.is_empty()).then(|| row.with("selected", Value::List(selected))))
    }
}

/// What [`Count`] takes.
#[derive(Deserialize, Shape, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct CountArgs {
    /// As of `query`.
    pub filter: Option<String>,
}

/// Counts documents.
#[derive(Serialize, Deserialize)]
pub struct Count {
    count: u64,
    filter: Option<String>,
    #[serde(skip)]
    parsed: Option<Parsed>,
}

/// A filter that isn't part of a state: states meet to be merged, not to go on.
struct Parsed(Filter);

/// How many documents a JSONPath filter lets through.
#[aggregate(name = "count")]
impl Aggregate for Count {
    type Args = Option<CountArgs>;
    type Output = u64;

    fn init(arguments: Option<CountArgs>) -> Result<Self> {
        let filter = arguments.unwrap_or_default().filter;
        let parsed = Some(Parsed(Filter::new(filter.as_deref())?));
        Ok(Count { count: 0, filter, parsed })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        let found = match &mut self.parsed {
            Some(Parsed(filter)) => filter.path.is_none() || filter.document(record)?.is_some(),
            None => bail!("a state that was merged takes no records"),
        };
        self.count += u64::from(found);
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.count += other.count;
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        Ok(self.count)
    }
}

/// What [`Distinct`] takes.
#[derive(Deserialize, Shape, Clone)]
#[serde(deny_unknown_fields)]
pub struct DistinctArgs {
    /// Where the values are.
    pub path: String,
    /// As of `query`.
    #[serde(default)]
    pub filter: Option<String>,
    /// Values to tell apart, at most; 10,000 by default.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One value.
#[derive(Serialize, Shape, Debug, PartialEq)]
pub struct DistinctValue {
    /// The value.
    pub value: Value,
    /// Times that it was found.
    pub count: u64,
}

/// All values.
#[derive(Serialize, Shape, Debug, PartialEq)]
pub struct DistinctValues {
    /// The most frequent first.
    pub values: Vec<DistinctValue>,
    /// Whether these are all; false: there were more than `limit`, whose counts are missing.
    pub complete: bool,
}

/// Values that a path finds.
#[derive(Serialize, Deserialize)]
pub struct Distinct {
    /// By their JSON text.
    counts: BTreeMap<String, u64>,
    complete: bool,
    limit: usize,
    #[serde(skip)]
    query: Option<(Path, Parsed)>,
}

impl Distinct {
    fn add(&mut self, text: String, count: u64) {
        if let Some(known) = self.counts.get_mut(&text) {
            *known += count;
        } else if self.counts.len() < self.limit {
            self.counts.insert(text, count);
        } else {
            self.complete = false;
        }
    }
}

/// The values that a path finds in the documents of a set, and how often each is there.
#[aggregate(name = "distinct")]
impl Aggregate for Distinct {
    type Args = DistinctArgs;
    type Output = DistinctValues;

    fn init(arguments: DistinctArgs) -> Result<Self> {
        let query = (Path::parse(&arguments.path)?, Parsed(Filter::new(arguments.filter.as_deref())?));
        let limit = arguments.limit.unwrap_or(DISTINCT_MAX);
        ensure!((1..=DISTINCT_MAX).contains(&limit), "`limit` is 1 to {DISTINCT_MAX}, not {limit}");
        Ok(Distinct { counts: BTreeMap::new(), complete: true, limit, query: Some(query) })
    }

    fn accept(&mut self, record: &RecordView<'_>) -> Result<()> {
        let Some((path, Parsed(filter))) = &mut self.query else { bail!("a state that was merged takes no records") };
        let Some(document) = filter.document(record)? else { return Ok(()) };
        let found: Vec<String> = path.values(&document)?.into_iter().map(Json::to_string).collect();
        found.into_iter().for_each(|text| self.add(text, 1));
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.complete &= other.complete;
        other.counts.into_iter().for_each(|(text, count)| self.add(text, count));
        Ok(())
    }

    fn finish(self) -> Result<DistinctValues> {
        let mut counts: Vec<(String, u64)> = self.counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let value = |(text, count): (String, u64)| {
            let json: Json = serde_json::from_str(&text).map_err(|error| Error::from(error.to_string()))?;
            Ok(DistinctValue { value: from_json(&json)?, count })
        };
        let values = counts.into_iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(DistinctValues { values, complete: self.complete })
    }
}
