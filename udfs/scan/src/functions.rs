//! The functions of the language: their names, how many arguments they take, of what types, and what they give.

use crate::fault::Fault;
use crate::node::{Node, Type};

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Of texts, lists, maps, bytes.
    Length,
    /// Of texts.
    Lower,
    /// Of texts.
    Upper,
    /// Of two texts.
    StartsWith,
    /// Of two texts.
    EndsWith,
    /// A text within a text, an element of a list.
    Contains,
    /// The first that isn't null.
    Coalesce,
    /// The second if the first is true, else the third.
    If,
    /// A value's type.
    TypeOf,
    /// Of numbers.
    Abs,
    /// Of numbers.
    Floor,
    /// Of numbers.
    Ceil,
    /// Of numbers.
    Round,
    /// A number or text as an integer.
    Int,
    /// A number or text as a float.
    Float,
    /// A bin by any name.
    Bin,
    /// Time of the query.
    NowMs,
    /// The record's key.
    Key,
    /// The record's set.
    Set,
    /// The record's generation.
    Generation,
    /// When it expires.
    ExpirySecs,
    /// When it was written.
    LastUpdateMs,
    /// Aggregate: records, or those with a value.
    Count,
    /// Aggregate: records for which a condition is true.
    CountIf,
    /// Aggregate.
    Sum,
    /// Aggregate.
    Min,
    /// Aggregate.
    Max,
    /// Aggregate.
    Avg,
    /// Aggregate: how many different values.
    Distinct,
    /// Aggregate.
    Percentile,
    /// Aggregate: the largest values.
    Top,
    /// Aggregate: the smallest values.
    Bottom,
}

use Function::*;

/// Name, function, fewest and most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 32] = [
    ("length", Length, 1, 1),
    ("lower", Lower, 1, 1),
    ("upper", Upper, 1, 1),
    ("starts_with", StartsWith, 2, 2),
    ("ends_with", EndsWith, 2, 2),
    ("contains", Contains, 2, 2),
    ("coalesce", Coalesce, 1, 16),
    ("if", If, 3, 3),
    ("type", TypeOf, 1, 1),
    ("abs", Abs, 1, 1),
    ("floor", Floor, 1, 1),
    ("ceil", Ceil, 1, 1),
    ("round", Round, 1, 1),
    ("int", Int, 1, 1),
    ("float", Float, 1, 1),
    ("bin", Bin, 1, 1),
    ("now_ms", NowMs, 0, 0),
    ("key", Key, 0, 0),
    ("set", Set, 0, 0),
    ("generation", Generation, 0, 0),
    ("expiry_secs", ExpirySecs, 0, 0),
    ("last_update_ms", LastUpdateMs, 0, 0),
    ("count", Count, 0, 1),
    ("count_if", CountIf, 1, 1),
    ("sum", Sum, 1, 1),
    ("min", Min, 1, 1),
    ("max", Max, 1, 1),
    ("avg", Avg, 1, 1),
    ("distinct", Distinct, 1, 1),
    ("percentile", Percentile, 2, 2),
    ("top", Top, 2, 2),
    ("bottom", Bottom, 2, 2),
];

impl Function {
    /// The function of a name.
    pub fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, function, ..)| *function)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function, ..)| *function == self).map_or("", |(name, ..)| name)
    }

    /// All names, for who misspelled one.
    pub fn names() -> String {
        FUNCTIONS.map(|(name, ..)| name).join(", ")
    }

    /// Whether it is one result of many records.
    pub fn is_aggregate(self) -> bool {
        matches!(self, Count | CountIf | Sum | Min | Max | Avg | Distinct | Percentile | Top | Bottom)
    }

    /// Whether it asks the record for more than bins, which a row of results hasn't got.
    pub fn is_of_record(self) -> bool {
        matches!(self, Key | Set | Generation | ExpirySecs | LastUpdateMs)
    }

    /// The type of what it gives.
    pub fn returns(self) -> Type {
        match self {
            Length | Abs | Floor | Ceil | Round | Int | Float | NowMs | Generation | ExpirySecs | LastUpdateMs
            | Count | CountIf | Sum | Avg => Type::Number,
            Lower | Upper | TypeOf | Set => Type::Text,
            StartsWith | EndsWith | Contains => Type::Bool,
            Distinct | Percentile | Top | Bottom => Type::Other,
            Coalesce | If | Bin | Key | Min | Max => Type::Any,
        }
    }

    /// Refuses arguments that never fit.
    pub fn check(self, at: usize, arguments: &[Node]) -> Result<(), Fault> {
        let (name, _, least, most) =
            FUNCTIONS.iter().find(|(_, function, ..)| *function == self).ok_or_else(|| Fault::new(at, "unknown"))?;
        if !(*least..=*most).contains(&arguments.len()) {
            let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let found = arguments.len();
            return Err(Fault::new(at, format!("`{name}` takes {wanted} argument(s), not {found}")));
        }
        let all = |wanted| arguments.iter().try_for_each(|argument| argument.expect(wanted));
        match self {
            Lower | Upper | StartsWith | EndsWith => all(Type::Text),
            Abs | Floor | Ceil | Round | Sum | Avg => all(Type::Number),
            If | CountIf => arguments.iter().take(1).try_for_each(|condition| condition.expect(Type::Bool)),
            Bin => match arguments[0].constant() {
                Some(outcrop_udf::Value::Text(_)) => Ok(()),
                _ => Err(Fault::new(arguments[0].at, "`bin` takes a name as a text: bin('a b')")),
            },
            Percentile => {
                arguments[0].expect(Type::Number)?;
                let percent = percent(&arguments[1]);
                percent.map(|_| ()).ok_or_else(|| Fault::new(arguments[1].at, "a percentile is 0 to 100, as a number"))
            }
            Top | Bottom => match arguments[1].constant() {
                Some(outcrop_udf::Value::Int(1..=TOP_MAX)) => Ok(()),
                _ => Err(Fault::new(arguments[1].at, format!("`{name}` takes a number of values: 1 to {TOP_MAX}"))),
            },
            _ => Ok(()),
        }
    }
}

/// Values that `top` and `bottom` keep of a group, at most.
pub const TOP_MAX: i64 = 1_000;

/// A percentile's constant.
pub fn percent(node: &Node) -> Option<f64> {
    let percent = match node.constant()? {
        outcrop_udf::Value::Int(percent) => *percent as f64,
        outcrop_udf::Value::Float(percent) => *percent,
        _ => return None,
    };
    (0.0..=100.0).contains(&percent).then_some(percent)
}
