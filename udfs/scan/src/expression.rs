//! Expressions: parsed once a query, worked out once a record.

use outcrop_udf::{Error, Value};

use crate::evaluate::{Source, evaluate};
use crate::fault::Fault;
use crate::functions::Function;
use crate::grammar;
use crate::node::{Kind, Node, Type};
use crate::operand::Operand;

/// Bytes of an expression, at most.
const EXPRESSION_BYTES_MAX: usize = 16_384;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    root: Node,
}

/// What an expression may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Bins, and what else there is of a record.
    Record,
    /// Columns of a result.
    Row,
}

impl Expression {
    /// Parses an expression of single records or rows.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, Error> {
        Ok(Self::parse_order(text, scope, false)?.0)
    }

    /// Parses an expression that may end in `asc` or `desc`; the second says whether it was `desc`.
    pub fn parse_directed(text: &str, scope: Scope) -> Result<(Self, bool), Error> {
        Self::parse_order(text, scope, true)
    }

    /// Parses a condition.
    pub fn parse_condition(text: &str, scope: Scope) -> Result<Self, Error> {
        let condition = Self::parse(text, scope)?;
        condition.root.expect(Type::Bool).map_err(|fault| fault.into_error(text))?;
        Ok(condition)
    }

    /// Parses the call of an aggregate: the function, and its arguments as expressions of records.
    pub fn parse_aggregate(text: &str) -> Result<(Function, Vec<Expression>), Error> {
        let (root, _) = read(text, false)?;
        let at = root.at;
        let wrong = |at, message| Err(Fault::new(at, message).into_error(text));
        match root.kind {
            Kind::Call(function, arguments) if function.is_aggregate() => {
                if let Some((at, _)) = arguments.iter().find_map(|node| node.find_call(&Function::is_aggregate)) {
                    return wrong(at, "aggregates don't nest");
                }
                let of = |root| Expression { text: text.to_owned(), root };
                Ok((function, arguments.into_iter().map(of).collect()))
            }
            _ => wrong(
                at,
                "an aggregate is one call, such as sum(price * 2); calculate with results in `having` and `order`",
            ),
        }
    }

    fn parse_order(text: &str, scope: Scope, directed: bool) -> Result<(Self, bool), Error> {
        let (root, descending) = read(text, directed)?;
        let unfit = |function: Function| function.is_aggregate() || scope == Scope::Row && function.is_of_record();
        if let Some((at, function)) = root.find_call(&unfit) {
            let place = match function.is_aggregate() {
                true => "`aggregates`",
                false => "expressions about records",
            };
            return Err(Fault::new(at, format!("`{}` belongs into {place}", function.name())).into_error(text));
        }
        Ok((Expression { text: text.to_owned(), root }, descending))
    }

    /// Refuses an expression of rows that names a column which they don't have.
    pub fn expect_columns(&self, names: &[&str]) -> Result<(), Error> {
        match self.root.find_name(&|name| !names.contains(&name)) {
            None => Ok(()),
            Some((at, name)) => {
                let message = format!("there is no column `{name}`; there are {}", names.join(", "));
                Err(Fault::new(at, message).into_error(&self.text))
            }
        }
    }

    /// Its value.
    #[inline]
    pub fn value<'a>(&'a self, source: &Source<'a>) -> Result<Operand<'a>, Error> {
        evaluate(&self.root, source).map_err(|fault| fault.into_error(&self.text))
    }

    /// Whether it is true; null isn't.
    #[inline]
    pub fn holds(&self, source: &Source<'_>) -> Result<bool, Error> {
        Ok(self.value(source)?.truth() == Some(true))
    }

    /// Its value if it doesn't depend on a record.
    pub fn constant(&self) -> Option<&Value> {
        self.root.constant()
    }

    /// The tree, for constants that functions take.
    pub fn root(&self) -> &Node {
        &self.root
    }
}

fn read(text: &str, directed: bool) -> Result<(Node, bool), Error> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let message = format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes, not {}", text.len());
        return Err(Error::new(crate::fault::INVALID_EXPRESSION, message));
    }
    grammar::parse(text, directed).map_err(|fault| fault.into_error(text))
}
