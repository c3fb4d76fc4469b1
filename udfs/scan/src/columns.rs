//! What callers write: lists or maps of named expressions, and orders.

use std::cmp::Ordering;

use outcrop_udf::{Error, MapKey, RecordView, Row, Value};

use crate::evaluate::Source;
use crate::expression::{Expression, Scope};

/// Columns of a result, at most.
pub const COLUMNS_MAX: usize = 64;
/// Expressions of an order, at most.
const ORDER_MAX: usize = 8;

/// A column: its name, and what it is made of.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The value of a record for it.
    pub expression: Expression,
}

/// Reads `"a"`, `["a", "b.c"]` or `{"name": "a * 2"}` as names and texts; a text alone is its own name.
pub fn named_texts(what: &str, given: &Value) -> Result<Vec<(String, String)>, Error> {
    let wrong = |found: &Value| {
        let found = found.type_name();
        Error::invalid_arguments(format!(
            "`{what}` is a list of expressions or a map of names and expressions, not {found}"
        ))
    };
    let mut named = Vec::new();
    match given {
        Value::Null => {}
        Value::Text(text) => named.push((text.clone(), text.clone())),
        Value::List(items) => {
            for item in items {
                let Value::Text(text) = item else { return Err(wrong(item)) };
                named.push((text.clone(), text.clone()));
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                let (MapKey::Text(name), Value::Text(text)) = (key, value) else { return Err(wrong(value)) };
                named.push((name.clone(), text.clone()));
            }
        }
        other => return Err(wrong(other)),
    }
    if named.len() > COLUMNS_MAX {
        return Err(Error::invalid_arguments(format!(
            "`{what}` has at most {COLUMNS_MAX} columns, not {}",
            named.len()
        )));
    }
    Ok(named)
}

/// Reads columns that are made of records.
pub fn columns(what: &str, given: &Value) -> Result<Vec<Column>, Error> {
    let named = named_texts(what, given)?;
    let column = |(name, text): (String, String)| {
        let expression = Expression::parse(&text, Scope::Record);
        Ok(Column { expression: expression.map_err(|error| error.context(what))?, name })
    };
    let columns = named.into_iter().map(column).collect::<Result<Vec<_>, Error>>()?;
    unique(columns.iter().map(|column| column.name.as_str()))?;
    Ok(columns)
}

/// Refuses two columns of one name.
pub fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid_arguments(format!("two columns are named {:?}", pair[0]))),
        None => Ok(()),
    }
}

/// A condition, if one was given.
pub fn condition(what: &str, given: Option<&str>, scope: Scope) -> Result<Option<Expression>, Error> {
    let parse = |text| Expression::parse_condition(text, scope).map_err(|error| error.context(what));
    given.map(parse).transpose()
}

/// A record as a row: its columns, or its key and all bins if none are given. What is null stays out.
pub fn project(columns: &[Column], record: &RecordView<'_>) -> Result<Row, Error> {
    let mut row = Row::new();
    if columns.is_empty() {
        row.set("key", record.key()?);
        for bin in record.bins() {
            let (name, value) = bin?;
            row.set(name, value.to_value()?);
        }
        return Ok(row);
    }
    let source = Source::Record(*record);
    for column in columns {
        let value = column.expression.value(&source)?;
        if !value.is_null() {
            row.set(&column.name, value.to_value()?);
        }
    }
    Ok(row)
}

/// An order: expressions, each rising or falling.
#[derive(Debug, Clone, Default)]
pub struct Order {
    by: Vec<(Expression, bool)>,
}

impl Order {
    /// Reads `"price desc"` or `["price desc", "name"]`.
    pub fn parse(given: &Value, scope: Scope) -> Result<Self, Error> {
        let texts = named_texts("order", given)?;
        if texts.len() > ORDER_MAX {
            return Err(Error::invalid_arguments(format!(
                "`order` has at most {ORDER_MAX} expressions, not {}",
                texts.len()
            )));
        }
        let read = |(_, text): (String, String)| {
            Expression::parse_directed(&text, scope).map_err(|error| error.context("order"))
        };
        Ok(Order { by: texts.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Refuses an order of rows by a column that they don't have.
    pub fn expect_columns(&self, names: &[&str]) -> Result<(), Error> {
        self.by.iter().try_for_each(|(by, _)| by.expect_columns(names).map_err(|error| error.context("order")))
    }

    /// Whether nothing is ordered.
    pub fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    /// What a record or row is ordered by.
    pub fn values(&self, source: &Source<'_>) -> Result<Vec<Value>, Error> {
        self.by.iter().map(|(by, _)| Ok(crate::operand::canonical(by.value(source)?.to_value()?))).collect()
    }

    /// Which of two comes first, by their values. Null comes before everything, then false, true, numbers, texts, bytes,
    /// lists, maps; `desc` turns that round.
    pub fn compare(&self, a: &[Value], b: &[Value]) -> Ordering {
        let each = self.by.iter().zip(a.iter().zip(b)).map(|((_, descending), (a, b))| {
            let order = a.order(b);
            if *descending { order.reverse() } else { order }
        });
        each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}
