//! Expressions as trees, in the form in which they are worked out for one record after another.

use std::borrow::Cow;

use outcrop_udf::Value;

use crate::fault::Fault;
use crate::functions::Function;

/// Operators and brackets inside one another, at most.
pub const DEPTH_MAX: usize = 64;

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Offset of its first byte in the text.
    pub at: usize,
    /// How deep the tree is below and with it.
    pub depth: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A value that stands in the text.
    Constant(Value),
    /// A bin of the record, or a column of the row.
    Bin(String),
    /// `of.name`
    Member(Box<Node>, String),
    /// `of[place]`
    Element(Box<Node>, Box<Node>),
    /// `not a`
    Not(Box<Node>),
    /// `-a`
    Negate(Box<Node>),
    /// `a and b and …`
    And(Vec<Node>),
    /// `a or b or …`
    Or(Vec<Node>),
    /// `a < b`
    Compare(Comparison, Box<Node>, Box<Node>),
    /// `a in b`
    In(Box<Node>, Box<Node>),
    /// `a in [1, 2]`: the list is in the order of [`crate::operand::order`].
    InList(Box<Node>, Vec<Value>),
    /// `a + b`
    Calculate(Arithmetic, Box<Node>, Box<Node>),
    /// `f(a, b)`
    Call(Function, Vec<Node>),
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Arithmetic of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// What can be known of a value's type before there is a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// It depends on the record.
    Any,
    /// Null, always.
    Null,
    /// True or false.
    Bool,
    /// An integer or a float.
    Number,
    /// Text.
    Text,
    /// Bytes, a list or a map.
    Other,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Any => "a value",
            Type::Null => "null",
            Type::Bool => "true or false",
            Type::Number => "a number",
            Type::Text => "a text",
            Type::Other => "bytes, a list or a map",
        }
    }
}

impl Node {
    /// A part whose depth follows from its own parts; refused if that is too deep.
    pub fn new(at: usize, kind: Kind) -> Result<Self, Fault> {
        let mut below = 0;
        let mut look = |node: &Node| below = below.max(node.depth);
        match &kind {
            Kind::Constant(_) | Kind::Bin(_) => {}
            Kind::Member(a, _) | Kind::Not(a) | Kind::Negate(a) | Kind::InList(a, _) => look(a),
            Kind::Element(a, b) | Kind::Compare(_, a, b) | Kind::In(a, b) | Kind::Calculate(_, a, b) => {
                look(a);
                look(b);
            }
            Kind::And(parts) | Kind::Or(parts) | Kind::Call(_, parts) => parts.iter().for_each(look),
        }
        match below < DEPTH_MAX {
            true => Ok(Node { at, depth: below + 1, kind }),
            false => Err(too_deep(at)),
        }
    }

    /// The value, if the part is a constant.
    pub fn constant(&self) -> Option<&Value> {
        if let Kind::Constant(value) = &self.kind { Some(value) } else { None }
    }

    /// The type of its values; `null` may stand in for each.
    pub fn type_of(&self) -> Type {
        match &self.kind {
            Kind::Constant(value) => match value {
                Value::Null => Type::Null,
                Value::Bool(_) => Type::Bool,
                Value::Int(_) | Value::Float(_) => Type::Number,
                Value::Text(_) => Type::Text,
                Value::Bytes(_) | Value::List(_) | Value::Map(_) => Type::Other,
            },
            Kind::Bin(_) | Kind::Member(..) | Kind::Element(..) => Type::Any,
            Kind::Negate(_) | Kind::Calculate(..) => Type::Number,
            Kind::Call(function, _) => function.returns(),
            _ => Type::Bool,
        }
    }

    /// Refuses a part that can never have values of a type. Null passes: it stands in for values of any type.
    pub fn expect(&self, wanted: Type) -> Result<(), Fault> {
        match self.type_of() {
            Type::Any | Type::Null => Ok(()),
            found if found == wanted || wanted == Type::Any => Ok(()),
            found => Err(Fault::new(self.at, format!("this is {}, where {} belongs", found.name(), wanted.name()))),
        }
    }

    /// The first call of a function that doesn't belong into an expression of this kind.
    pub fn find_call(&self, wanted: &dyn Fn(Function) -> bool) -> Option<(usize, Function)> {
        self.find(&|node| match node.kind {
            Kind::Call(function, _) if wanted(function) => Some((node.at, function)),
            _ => None,
        })
    }

    /// The first name of a bin or column that isn't wanted.
    pub fn find_name(&self, unwanted: &dyn Fn(&str) -> bool) -> Option<(usize, String)> {
        self.find(&|node| match &node.kind {
            Kind::Bin(name) if unwanted(name) => Some((node.at, name.clone())),
            _ => None,
        })
    }

    /// What the first part gives of which something is found, those outside before those within them.
    fn find<T>(&self, look: &dyn Fn(&Node) -> Option<T>) -> Option<T> {
        look(self).or_else(|| match &self.kind {
            Kind::Constant(_) | Kind::Bin(_) => None,
            Kind::Member(a, _) | Kind::Not(a) | Kind::Negate(a) | Kind::InList(a, _) => a.find(look),
            Kind::Element(a, b) | Kind::Compare(_, a, b) | Kind::In(a, b) | Kind::Calculate(_, a, b) => {
                a.find(look).or_else(|| b.find(look))
            }
            Kind::And(parts) | Kind::Or(parts) | Kind::Call(_, parts) => parts.iter().find_map(|part| part.find(look)),
        })
    }
}

/// The fault of too many parts inside one another.
pub fn too_deep(at: usize) -> Fault {
    Fault::new(at, Cow::Owned(format!("brackets and operators nest at most {DEPTH_MAX} deep")))
}
