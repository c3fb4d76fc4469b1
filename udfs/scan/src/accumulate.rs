//! What one aggregate keeps of one group.

use std::cmp::Ordering;

use outcrop_udf::{Error, MapKey, RecordView, UserKey, UserKeyRef, Value, archived};
use serde::{Deserialize, Serialize};

use crate::distinct::Distinct;
use crate::evaluate::Source;
use crate::expression::Expression;
use crate::fault::OVERFLOW;
use crate::functions::{Function, percent};
use crate::operand::{Operand, canonical, compare, identity, weight};
use crate::spread::Spread;

/// An aggregate of a query.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The name of its column.
    pub name: String,
    function: Function,
    value: Option<Expression>,
    /// Of `percentile`.
    percent: f64,
    /// Of `top` and `bottom`.
    keep: usize,
}

/// What a group's records came to so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Accumulator {
    /// Of `count` and `count_if`.
    Count(u64),
    /// Of `sum` and `avg`.
    Sum(Sum),
    /// Of `min` and `max`.
    Extreme(#[serde(with = "archived")] Value),
    /// Of `distinct`.
    Distinct(Distinct),
    /// Of `percentile`.
    Spread(Spread),
    /// Of `top` and `bottom`: the best first.
    Best(Vec<Best>),
}

/// A sum: integers exactly, floats with what rounding lost.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Sum {
    integers: i128,
    floats: f64,
    lost: f64,
    has_floats: bool,
    count: u64,
}

/// A value, and the record that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    #[serde(with = "archived")]
    value: Value,
    set: String,
    #[serde(with = "archived")]
    key: Value,
}

impl Sum {
    fn add_float(&mut self, number: f64) {
        self.has_floats = true;
        let sum = self.floats + number;
        // Neumaier's: what the smaller of the two lost by being added to the larger.
        let lost = match self.floats.abs() >= number.abs() {
            true => (self.floats - sum) + number,
            false => (number - sum) + self.floats,
        };
        // Beyond the largest float there is nothing to correct.
        if lost.is_finite() {
            self.lost += lost;
        }
        self.floats = sum;
    }

    fn merge(&mut self, other: &Sum) {
        self.integers += other.integers;
        self.count += other.count;
        if other.has_floats {
            self.add_float(other.floats);
            self.lost += other.lost;
        }
    }

    fn as_float(&self) -> f64 {
        self.floats + self.lost + self.integers as f64
    }
}

/// The value of a key.
pub fn key_value(key: UserKeyRef<'_>) -> Value {
    match key.to_owned() {
        UserKey::Int(number) => Value::Int(number),
        UserKey::Text(text) => Value::Text(text),
        UserKey::Bytes(bytes) => Value::Bytes(bytes),
    }
}

impl Aggregate {
    /// Reads a call such as `sum(price)`.
    pub fn parse(name: String, text: &str) -> Result<Self, Error> {
        let (function, mut arguments) = Expression::parse_aggregate(text).map_err(|error| error.context(&name))?;
        let constant = if arguments.len() == 2 { arguments.pop() } else { None };
        let percent = constant.as_ref().and_then(|constant| percent(constant.root())).unwrap_or(0.0);
        let keep = match constant.as_ref().and_then(Expression::constant) {
            Some(Value::Int(keep)) => usize::try_from(*keep).unwrap_or(0),
            _ => 0,
        };
        Ok(Aggregate { name, function, value: arguments.pop(), percent, keep })
    }

    /// The state of no records.
    pub fn start(&self) -> Accumulator {
        match self.function {
            Function::Sum | Function::Avg => Accumulator::Sum(Sum::default()),
            Function::Min | Function::Max => Accumulator::Extreme(Value::Null),
            Function::Distinct => Accumulator::Distinct(Distinct::default()),
            Function::Percentile => Accumulator::Spread(Spread::default()),
            Function::Top | Function::Bottom => Accumulator::Best(Vec::new()),
            _ => Accumulator::Count(0),
        }
    }

    /// Takes a record in; how many bytes the state grew by, or none if the record's value was of no use.
    pub fn accept(
        &self,
        state: &mut Accumulator,
        record: &RecordView<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<usize>, Error> {
        let value = match &self.value {
            Some(value) => value.value(&Source::Record(*record))?,
            None => Operand::Bool(true),
        };
        if value.is_null() {
            return Ok(Some(0));
        }
        match (state, &value) {
            (Accumulator::Count(count), value) => {
                *count += u64::from(self.function == Function::Count || value.truth() == Some(true));
            }
            (Accumulator::Sum(sum), Operand::Int(number)) => {
                sum.integers += i128::from(*number);
                sum.count += 1;
            }
            (Accumulator::Sum(sum), Operand::Float(number)) => {
                sum.add_float(*number);
                sum.count += 1;
            }
            (Accumulator::Spread(spread), Operand::Int(number)) => return Ok(Some(spread.add(*number as f64))),
            (Accumulator::Spread(spread), Operand::Float(number)) => return Ok(Some(spread.add(*number))),
            (Accumulator::Sum(_) | Accumulator::Spread(_), _) => return Ok(None),
            (Accumulator::Extreme(best), value) => return self.extreme(best, value).map(Some),
            (Accumulator::Distinct(distinct), value) => {
                bytes.clear();
                identity(value, bytes)?;
                return distinct.add(bytes).map(Some);
            }
            (Accumulator::Best(best), value) => {
                let value = canonical(value.to_value()?);
                if best.len() == self.keep && best.last().is_some_and(|last| self.rank(&value, &last.value).is_gt()) {
                    return Ok(Some(0));
                }
                let (set, key) = (record.set_name()?.to_owned(), key_value(record.key()?));
                return Ok(Some(self.insert(best, Best { value, set, key })));
            }
        }
        Ok(Some(0))
    }

    /// Which of two values comes first in `top`, `bottom`, `min` and `max`.
    fn rank(&self, a: &Value, b: &Value) -> Ordering {
        match self.function {
            Function::Top | Function::Max => b.order(a),
            _ => a.order(b),
        }
    }

    fn extreme(&self, best: &mut Value, value: &Operand<'_>) -> Result<usize, Error> {
        // The usual case, numbers, without a copy.
        let beaten = match compare(value, &Operand::from(&*best)) {
            Some(order) => {
                if self.function == Function::Max {
                    order.is_le()
                } else {
                    order.is_ge()
                }
            }
            None => false,
        };
        if beaten {
            return Ok(0);
        }
        let value = canonical(value.to_value()?);
        if *best == Value::Null || self.rank(&value, best).is_lt() {
            let grown = weight(&value).saturating_sub(weight(best));
            *best = value;
            return Ok(grown);
        }
        Ok(0)
    }

    fn insert(&self, best: &mut Vec<Best>, new: Best) -> usize {
        let first = |a: &Best, b: &Best| {
            let by_record = || a.set.cmp(&b.set).then_with(|| a.key.order(&b.key));
            self.rank(&a.value, &b.value).then_with(by_record)
        };
        let at = best.partition_point(|old| first(old, &new).is_lt());
        if at >= self.keep {
            return 0;
        }
        let grown = new.set.len() + weight(&new.value) + weight(&new.key);
        best.insert(at, new);
        match best.len() > self.keep {
            true => {
                best.pop();
                0
            }
            false => grown,
        }
    }

    /// Takes in what other records came to; how many bytes the state grew by.
    pub fn merge(&self, state: &mut Accumulator, other: Accumulator) -> Result<usize, Error> {
        match (state, other) {
            (Accumulator::Count(count), Accumulator::Count(other)) => *count += other,
            (Accumulator::Sum(sum), Accumulator::Sum(other)) => sum.merge(&other),
            (Accumulator::Extreme(best), Accumulator::Extreme(other)) => {
                if other != Value::Null {
                    return self.extreme(best, &Operand::from(&other));
                }
            }
            (Accumulator::Distinct(distinct), Accumulator::Distinct(other)) => return distinct.merge(other),
            (Accumulator::Spread(spread), Accumulator::Spread(other)) => return Ok(spread.merge(other)),
            (Accumulator::Best(best), Accumulator::Best(other)) => {
                return Ok(other.into_iter().map(|new| self.insert(best, new)).sum());
            }
            _ => return Err(Error::new(Error::MALFORMED, "a state of another query")),
        }
        Ok(0)
    }

    /// The result. No values: a sum of 0, else null.
    pub fn finish(&self, state: Accumulator) -> Result<Value, Error> {
        let map = |entries: Vec<(&str, Value)>| {
            Value::Map(entries.into_iter().map(|(name, value)| (MapKey::from(name), value)).collect())
        };
        Ok(match state {
            Accumulator::Count(count) => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            Accumulator::Sum(sum) if self.function == Function::Avg => match sum.count {
                0 => Value::Null,
                count => Value::Float(sum.as_float() / count as f64),
            },
            Accumulator::Sum(sum) if sum.has_floats => Value::Float(sum.as_float()),
            Accumulator::Sum(sum) => match i64::try_from(sum.integers) {
                Ok(sum) => Value::Int(sum),
                Err(_) => {
                    let message = format!(
                        "`{}`: the sum {} is over 64 bits: ask for a float, as in sum(float(n))",
                        self.name, sum.integers
                    );
                    return Err(Error::new(OVERFLOW, message));
                }
            },
            Accumulator::Extreme(value) => value,
            Accumulator::Distinct(distinct) => {
                let (count, exact) = distinct.count();
                let count = Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
                map(vec![("distinct", count), ("exact", Value::Bool(exact))])
            }
            Accumulator::Spread(spread) => match spread.percentile(self.percent) {
                Some((value, exact)) => map(vec![("value", Value::Float(value)), ("exact", Value::Bool(exact))]),
                None => Value::Null,
            },
            Accumulator::Best(best) => {
                Value::List(best.into_iter().map(|best| map(vec![("key", best.key), ("value", best.value)])).collect())
            }
        })
    }
}
