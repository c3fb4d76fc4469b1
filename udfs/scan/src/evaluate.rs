//! Works expressions out on one record or row.
//!
//! What isn't there is null, and so is what makes no sense for a value's type. `and`, `or` and `not` know three values:
//! null with `and false` is false, with `or true` true, else null.

use std::borrow::Cow;
use std::cmp::Ordering;

use outcrop_udf::{RecordView, UserKeyRef, Value, now_ms};

use crate::fault::{DIVISION_BY_ZERO, Fault, OVERFLOW};
use crate::functions::Function;
use crate::node::{Arithmetic, Comparison, Kind, Node};
use crate::operand::{Operand, compare, equal, order};

/// What an expression is worked out on.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A record: names are bins.
    Record(RecordView<'a>),
    /// A row of results: names are columns.
    Row(&'a [(String, Value)]),
}

type Worked<'a> = Result<Operand<'a>, Fault>;

/// The value of a part.
pub fn evaluate<'a>(node: &'a Node, source: &Source<'a>) -> Worked<'a> {
    Ok(match &node.kind {
        Kind::Constant(value) => Operand::from(value),
        Kind::Bin(name) => bin(node, name, source)?,
        Kind::Member(of, name) => {
            evaluate(of, source)?.member(name).map_err(|error| Fault::of_error(node.at, &error))?
        }
        Kind::Element(of, place) => element(node, &evaluate(of, source)?, &evaluate(place, source)?)?,
        Kind::Not(a) => evaluate(a, source)?.truth().map_or(Operand::Null, |truth| Operand::Bool(!truth)),
        Kind::Negate(a) => match evaluate(a, source)? {
            Operand::Int(number) => Operand::Int(number.checked_neg().ok_or_else(|| overflow(node))?),
            Operand::Float(number) => Operand::Float(-number),
            _ => Operand::Null,
        },
        Kind::And(parts) => connect(parts, source, false)?,
        Kind::Or(parts) => connect(parts, source, true)?,
        Kind::Compare(how, a, b) => compared(node, *how, &evaluate(a, source)?, &evaluate(b, source)?)?,
        Kind::In(a, b) => {
            let (a, b) = (evaluate(a, source)?, evaluate(b, source)?);
            let held = b.holds(&a).map_err(|error| Fault::of_error(node.at, &error))?;
            held.map_or(Operand::Null, Operand::Bool)
        }
        Kind::InList(a, items) => Operand::Bool(in_list(&evaluate(a, source)?, items)),
        Kind::Calculate(how, a, b) => calculate(node, *how, &evaluate(a, source)?, &evaluate(b, source)?)?,
        Kind::Call(function, arguments) => call(node, *function, arguments, source)?,
    })
}

fn bin<'a>(node: &Node, name: &str, source: &Source<'a>) -> Worked<'a> {
    match source {
        Source::Record(record) => match record.peek(name) {
            Ok(value) => Ok(value.map_or(Operand::Null, Operand::from)),
            Err(error) => Err(Fault::of_error(node.at, &error)),
        },
        Source::Row(columns) => {
            let found = columns.iter().find(|(column, _)| column == name);
            Ok(found.map_or(Operand::Null, |(_, value)| Operand::from(value)))
        }
    }
}

fn element<'a>(node: &Node, of: &Operand<'a>, place: &Operand<'_>) -> Worked<'a> {
    let found = match place {
        Operand::Int(index) => of.element(*index),
        Operand::Text(name) => of.member(name),
        _ => Ok(Operand::Null),
    };
    found.map_err(|error| Fault::of_error(node.at, &error))
}

/// `and` (decided by false) and `or` (decided by true).
fn connect<'a>(parts: &'a [Node], source: &Source<'a>, decides: bool) -> Worked<'a> {
    let mut unknown = false;
    for part in parts {
        match evaluate(part, source)?.truth() {
            Some(truth) if truth == decides => return Ok(Operand::Bool(decides)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Operand::Null } else { Operand::Bool(!decides) })
}

fn compared<'a>(node: &Node, how: Comparison, a: &Operand<'_>, b: &Operand<'_>) -> Worked<'a> {
    let same = || equal(a, b).map_err(|error| Fault::of_error(node.at, &error));
    let truth = match how {
        Comparison::Equal => Some(same()?),
        Comparison::Unequal => Some(!same()?),
        Comparison::Less => compare(a, b).map(Ordering::is_lt),
        Comparison::LessOrEqual => compare(a, b).map(Ordering::is_le),
        Comparison::Greater => compare(a, b).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => compare(a, b).map(Ordering::is_ge),
    };
    Ok(truth.map_or(Operand::Null, Operand::Bool))
}

fn in_list(a: &Operand<'_>, items: &[Value]) -> bool {
    match a {
        Operand::Float(number) if number.is_nan() => false,
        Operand::Stored(_) | Operand::Held(_) => false,
        _ => items.binary_search_by(|item| order(&Operand::from(item), a)).is_ok(),
    }
}

fn overflow(node: &Node) -> Fault {
    Fault::of_record(
        OVERFLOW,
        node.at,
        "the result is over 64 bits: make one of the numbers a float, as in float(a) * b",
    )
}

fn calculate<'a>(node: &Node, how: Arithmetic, a: &Operand<'_>, b: &Operand<'_>) -> Worked<'a> {
    let (a, b) = match (a, b) {
        (Operand::Int(a), Operand::Int(b)) => return integers(node, how, *a, *b).map(Operand::Int),
        (Operand::Float(a), Operand::Float(b)) => (*a, *b),
        (Operand::Int(a), Operand::Float(b)) => (*a as f64, *b),
        (Operand::Float(a), Operand::Int(b)) => (*a, *b as f64),
        _ => return Ok(Operand::Null),
    };
    Ok(Operand::Float(match how {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => a % b,
    }))
}

fn integers(node: &Node, how: Arithmetic, a: i64, b: i64) -> Result<i64, Fault> {
    if b == 0 && matches!(how, Arithmetic::Divide | Arithmetic::Remainder) {
        let message = "an integer is divided by zero: test it before, as in if(b == 0, null, a / b)";
        return Err(Fault::of_record(DIVISION_BY_ZERO, node.at, message));
    }
    let result = match how {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => Some(a.wrapping_rem(b)),
    };
    result.ok_or_else(|| overflow(node))
}

fn call<'a>(node: &'a Node, function: Function, arguments: &'a [Node], source: &Source<'a>) -> Worked<'a> {
    match function {
        Function::Coalesce => {
            for argument in arguments {
                let value = evaluate(argument, source)?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            Ok(Operand::Null)
        }
        Function::If => {
            let holds = evaluate(&arguments[0], source)?.truth() == Some(true);
            evaluate(&arguments[if holds { 1 } else { 2 }], source)
        }
        Function::Bin => match arguments[0].constant() {
            Some(Value::Text(name)) => bin(node, name, source),
            _ => Ok(Operand::Null),
        },
        Function::NowMs => Ok(integer(now_ms())),
        _ => match (arguments, source) {
            ([], Source::Record(record)) => of_record(node, function, record),
            ([a], _) => Ok(of_one(function, evaluate(a, source)?)),
            ([a, b], _) => of_two(node, function, &evaluate(a, source)?, &evaluate(b, source)?),
            _ => Ok(Operand::Null),
        },
    }
}

fn integer<'a>(number: impl TryInto<i64>) -> Operand<'a> {
    number.try_into().map_or(Operand::Null, Operand::Int)
}

fn of_record<'a>(node: &Node, function: Function, record: &RecordView<'a>) -> Worked<'a> {
    let failed = |error| Fault::of_error(node.at, &error);
    Ok(match function {
        Function::Key => match record.key().map_err(failed)? {
            UserKeyRef::Int(number) => Operand::Int(number),
            UserKeyRef::Text(text) => Operand::Text(Cow::Borrowed(text)),
            UserKeyRef::Bytes(bytes) => Operand::Bytes(bytes),
        },
        Function::Set => Operand::Text(Cow::Borrowed(record.set_name().map_err(failed)?)),
        Function::Generation => integer(record.generation()),
        Function::ExpirySecs => record.expiry_secs().map_or(Operand::Null, integer),
        Function::LastUpdateMs => integer(record.last_update_ms()),
        _ => Operand::Null,
    })
}

fn of_one(function: Function, a: Operand<'_>) -> Operand<'_> {
    match (function, a) {
        (Function::TypeOf, a) => Operand::Text(Cow::Borrowed(a.type_name())),
        (Function::Length, a) => a.length().map_or(Operand::Null, integer),
        (Function::Lower, Operand::Text(text)) => Operand::Text(Cow::Owned(text.to_lowercase())),
        (Function::Upper, Operand::Text(text)) => Operand::Text(Cow::Owned(text.to_uppercase())),
        // The absolute value of the smallest integer is no integer.
        (Function::Abs, Operand::Int(number)) => {
            number.checked_abs().map_or(Operand::Float((number as f64).abs()), Operand::Int)
        }
        (Function::Floor | Function::Ceil | Function::Round | Function::Int, Operand::Int(number)) => {
            Operand::Int(number)
        }
        (Function::Abs, Operand::Float(number)) => Operand::Float(number.abs()),
        (Function::Floor, Operand::Float(number)) => Operand::Float(number.floor()),
        (Function::Ceil, Operand::Float(number)) => Operand::Float(number.ceil()),
        (Function::Round, Operand::Float(number)) => Operand::Float(number.round()),
        (Function::Int, Operand::Float(number)) => whole(number),
        (Function::Int, Operand::Text(text)) => text.trim().parse().map_or(Operand::Null, Operand::Int),
        (Function::Float, Operand::Int(number)) => Operand::Float(number as f64),
        (Function::Float, Operand::Float(number)) => Operand::Float(number),
        (Function::Float, Operand::Text(text)) => text.trim().parse().map_or(Operand::Null, Operand::Float),
        _ => Operand::Null,
    }
}

/// A float without its fraction, if 64 bits hold it.
fn whole<'a>(number: f64) -> Operand<'a> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    let whole = number.trunc();
    if (-TWO_63..TWO_63).contains(&whole) { Operand::Int(whole as i64) } else { Operand::Null }
}

fn of_two<'a>(node: &Node, function: Function, a: &Operand<'_>, b: &Operand<'_>) -> Worked<'a> {
    Ok(match (function, a, b) {
        (Function::StartsWith, Operand::Text(a), Operand::Text(b)) => Operand::Bool(a.starts_with(&**b)),
        (Function::EndsWith, Operand::Text(a), Operand::Text(b)) => Operand::Bool(a.ends_with(&**b)),
        (Function::Contains, Operand::Text(a), Operand::Text(b)) => Operand::Bool(a.contains(&**b)),
        (Function::Contains, a, b) => {
            let held = a.holds(b).map_err(|error| Fault::of_error(node.at, &error))?;
            held.map_or(Operand::Null, Operand::Bool)
        }
        _ => Operand::Null,
    })
}
