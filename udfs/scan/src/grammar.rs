//! The grammar: from a text to a tree, each part with its place.
//!
//! ```text
//! a or b   a || b          a and b   a && b       not a   !a
//! == != < <= > >= in   not in      + -   * / %   -a   a.b   a[b]   f(a, b)   (a)
//! 1  -2  0.5  1e3  'text'  "text"  true  false  null  [1, 2]  name  `any name`
//! ```

use outcrop_udf::Value;
use winnow::Parser;
use winnow::combinator::{Infix, Postfix, Prefix, expression};
use winnow::error::ParserError;
use winnow::stream::{LocatingSlice, Location, Stateful, Stream};

use crate::fault::Fault;
use crate::functions::Function;
use crate::literal;
use crate::node::{Arithmetic, Comparison, DEPTH_MAX, Kind, Node, Type, too_deep};
use crate::operand::{Operand, order};

/// A text that is being parsed, and how many brackets and prefixes are open.
pub type Input<'i> = Stateful<LocatingSlice<&'i str>, usize>;
type Parsed<T> = Result<T, Fault>;

impl ParserError<Input<'_>> for Fault {
    type Inner = Fault;

    fn from_input(input: &Input<'_>) -> Self {
        let rest = rest(input);
        let message = match rest.chars().next() {
            None => "the expression ends where a value belongs".to_owned(),
            Some(_) => format!("{} where a value belongs", quoted(rest)),
        };
        Fault { may_backtrack: true, ..Fault::new(at(input), message) }
    }

    fn assert(input: &Input<'_>, _message: &'static str) -> Self {
        Self::from_input(input)
    }

    fn is_backtrack(&self) -> bool {
        self.may_backtrack
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

/// Parses a whole expression; with `directed` it may end in `asc` or `desc`, and the second says whether it was `desc`.
pub fn parse(text: &str, directed: bool) -> Parsed<(Node, bool)> {
    let mut input = Stateful { input: LocatingSlice::new(text), state: 0 };
    let node = nested(&mut input)?;
    let descending = directed && take_word(&mut input, "desc");
    if directed && !descending {
        take_word(&mut input, "asc");
    }
    blank(&mut input);
    match rest(&input) {
        "" => Ok((node, descending)),
        unread => Err(Fault::new(at(&input), format!("{} where the expression could end", quoted(unread)))),
    }
}

/// The place of what comes next.
pub fn at(input: &Input<'_>) -> usize {
    input.input.current_token_start()
}

/// What comes next.
pub fn rest<'i>(input: &Input<'i>) -> &'i str {
    input.input.peek_finish()
}

/// Goes on by so many bytes.
pub fn take(input: &mut Input<'_>, bytes: usize) {
    let _ = input.input.next_slice(bytes);
}

fn blank(input: &mut Input<'_>) {
    let rest = rest(input);
    take(input, rest.len() - rest.trim_start().len());
}

/// The first word or sign of a text, for messages.
fn quoted(text: &str) -> String {
    let word = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let end = if word == 0 { text.chars().next().map_or(0, char::len_utf8) } else { word };
    let shown: String = text[..end].chars().take(40).collect();
    format!("`{}`", shown.escape_debug())
}

fn word(text: &str) -> &str {
    let first = |c: char| c.is_alphabetic() || c == '_';
    match text.starts_with(first) {
        true => &text[..text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())],
        false => "",
    }
}

fn take_word(input: &mut Input<'_>, wanted: &str) -> bool {
    blank(input);
    let found = word(rest(input)) == wanted;
    if found {
        take(input, wanted.len());
    }
    found
}

fn take_sign(input: &mut Input<'_>, sign: &str) -> bool {
    blank(input);
    let found = rest(input).starts_with(sign);
    if found {
        take(input, sign.len());
    }
    found
}

fn close(input: &mut Input<'_>, sign: &str, opened: usize) -> Parsed<()> {
    match take_sign(input, sign) {
        true => Ok(()),
        false if rest(input).is_empty() => Err(Fault::new(opened, format!("`{sign}` is missing for this"))),
        false => Err(Fault::new(at(input), format!("{} where `{sign}` belongs", quoted(rest(input))))),
    }
}

fn enter(input: &mut Input<'_>) -> Parsed<()> {
    input.state += 1;
    if input.state > DEPTH_MAX { Err(too_deep(at(input))) } else { Ok(()) }
}

/// An expression inside of something, or the whole of it. What is wrong in there is wrong, whatever else is tried.
fn nested(input: &mut Input<'_>) -> Parsed<Node> {
    enter(input)?;
    let node = expression(operand).prefix(prefix).postfix(postfix).infix(infix).parse_next(input);
    input.state -= 1;
    node.map_err(|fault| Fault { may_backtrack: false, ..fault })
}

fn operand(input: &mut Input<'_>) -> Parsed<Node> {
    blank(input);
    let (start, text) = (at(input), rest(input));
    let mut letters = text.chars();
    let value = match letters.next() {
        Some('0'..='9') => literal::number(input)?,
        Some('-') if letters.next().is_some_and(|c| c.is_ascii_digit()) => literal::number(input)?,
        Some('\'' | '"') => Value::Text(literal::text(input)?),
        Some('`') => {
            let name = literal::text(input)?;
            return Node::new(start, Kind::Bin(name));
        }
        Some('[') => list(input)?,
        Some('(') => {
            take(input, 1);
            let node = nested(input)?;
            close(input, ")", start)?;
            return Ok(node);
        }
        _ => return named(input),
    };
    Node::new(start, Kind::Constant(value))
}

/// `true`, `false`, `null`, a bin, or a call.
fn named(input: &mut Input<'_>) -> Parsed<Node> {
    let (start, name) = (at(input), word(rest(input)));
    let kind = match name {
        "" | "not" | "and" | "or" | "in" => return Err(Fault::from_input(input)),
        "true" => Kind::Constant(Value::Bool(true)),
        "false" => Kind::Constant(Value::Bool(false)),
        "null" => Kind::Constant(Value::Null),
        name => {
            take(input, name.len());
            if take_sign(input, "(") {
                return call(input, start, name);
            }
            return Node::new(start, Kind::Bin(name.to_owned()));
        }
    };
    take(input, name.len());
    Node::new(start, kind)
}

fn call(input: &mut Input<'_>, start: usize, name: &str) -> Parsed<Node> {
    const ARGUMENTS_MAX: usize = 16;
    let Some(function) = Function::named(name) else {
        let names = Function::names();
        return Err(Fault::new(start, format!("there is no function {}; there are {names}", quoted(name))));
    };
    let mut arguments = Vec::new();
    if !take_sign(input, ")") {
        loop {
            arguments.push(nested(input)?);
            if !take_sign(input, ",") {
                break;
            }
            if arguments.len() == ARGUMENTS_MAX {
                return Err(Fault::new(at(input), "a call has at most 16 arguments"));
            }
        }
        close(input, ")", start)?;
    }
    function.check(start, &arguments)?;
    Node::new(start, Kind::Call(function, arguments))
}

/// A list of constants.
fn list(input: &mut Input<'_>) -> Parsed<Value> {
    let start = at(input);
    take(input, 1);
    let mut items = Vec::new();
    if take_sign(input, "]") {
        return Ok(Value::List(items));
    }
    loop {
        let node = nested(input)?;
        match node.kind {
            Kind::Constant(Value::List(_)) => return Err(Fault::new(node.at, "lists in lists can't be written")),
            Kind::Constant(value) => items.push(value),
            _ => return Err(Fault::new(node.at, "a list is written with numbers, texts, true, false and null only")),
        }
        if !take_sign(input, ",") {
            break;
        }
    }
    close(input, "]", start)?;
    Ok(Value::List(items))
}

type Fold1<'i> = fn(&mut Input<'i>, Node) -> Parsed<Node>;
type Fold2<'i> = fn(&mut Input<'i>, Node, Node) -> Parsed<Node>;

fn prefix<'i>(input: &mut Input<'i>) -> Parsed<Prefix<Input<'i>, Node, Fault>> {
    blank(input);
    let text = rest(input);
    let (bytes, power, fold): (usize, i64, Fold1<'i>) = match text.as_bytes() {
        [b'!', b'=', ..] => return Err(Fault::from_input(input)),
        [b'!', ..] => (1, 70, fold_not),
        [b'-', ..] => (1, 70, fold_minus),
        _ if word(text) == "not" => (3, 30, fold_not),
        _ => return Err(Fault::from_input(input)),
    };
    enter(input)?;
    take(input, bytes);
    Ok(Prefix(power, fold))
}

fn fold_not(input: &mut Input<'_>, a: Node) -> Parsed<Node> {
    input.state -= 1;
    a.expect(Type::Bool)?;
    Node::new(a.at, Kind::Not(Box::new(a)))
}

fn fold_minus(input: &mut Input<'_>, a: Node) -> Parsed<Node> {
    input.state -= 1;
    a.expect(Type::Number)?;
    Node::new(a.at, Kind::Negate(Box::new(a)))
}

fn postfix<'i>(input: &mut Input<'i>) -> Parsed<Postfix<Input<'i>, Node, Fault>> {
    blank(input);
    let fold = match rest(input).as_bytes() {
        [b'.', ..] => Postfix(80, fold_member as Fold1<'i>),
        [b'[', ..] => Postfix(80, fold_element as Fold1<'i>),
        _ => return Err(Fault::from_input(input)),
    };
    take(input, 1);
    Ok(fold)
}

fn fold_member(input: &mut Input<'_>, of: Node) -> Parsed<Node> {
    blank(input);
    let name = match rest(input).starts_with('`') {
        true => literal::text(input)?,
        false => {
            let name = word(rest(input)).to_owned();
            take(input, name.len());
            name
        }
    };
    match name.is_empty() {
        true => Err(Fault::new(at(input), "the name of a member belongs behind the dot")),
        false => Node::new(of.at, Kind::Member(Box::new(of), name)),
    }
}

fn fold_element(input: &mut Input<'_>, of: Node) -> Parsed<Node> {
    let opened = at(input).saturating_sub(1);
    let place = nested(input)?;
    close(input, "]", opened)?;
    Node::new(of.at, Kind::Element(Box::new(of), Box::new(place)))
}

fn infix<'i>(input: &mut Input<'i>) -> Parsed<Infix<Input<'i>, Node, Fault>> {
    blank(input);
    let text = rest(input);
    let compare = |bytes: usize, fold: Fold2<'i>| (bytes, Infix::Neither(40, fold));
    let left = |bytes: usize, power: i64, fold: Fold2<'i>| (bytes, Infix::Left(power, fold));
    let (bytes, operator) = match text.as_bytes() {
        [b'|', b'|', ..] => left(2, 10, fold_or),
        [b'&', b'&', ..] => left(2, 20, fold_and),
        [b'=', b'=', ..] => compare(2, |_, a, b| comparison(Comparison::Equal, a, b)),
        [b'!', b'=', ..] => compare(2, |_, a, b| comparison(Comparison::Unequal, a, b)),
        [b'<', b'=', ..] => compare(2, |_, a, b| comparison(Comparison::LessOrEqual, a, b)),
        [b'>', b'=', ..] => compare(2, |_, a, b| comparison(Comparison::GreaterOrEqual, a, b)),
        [b'<', ..] => compare(1, |_, a, b| comparison(Comparison::Less, a, b)),
        [b'>', ..] => compare(1, |_, a, b| comparison(Comparison::Greater, a, b)),
        [b'+', ..] => left(1, 50, |_, a, b| arithmetic(Arithmetic::Add, a, b)),
        [b'-', ..] => left(1, 50, |_, a, b| arithmetic(Arithmetic::Subtract, a, b)),
        [b'*', ..] => left(1, 60, |_, a, b| arithmetic(Arithmetic::Multiply, a, b)),
        [b'/', ..] => left(1, 60, |_, a, b| arithmetic(Arithmetic::Divide, a, b)),
        [b'%', ..] => left(1, 60, |_, a, b| arithmetic(Arithmetic::Remainder, a, b)),
        [b'=', ..] => return Err(Fault::new(at(input), "values are compared with `==`")),
        _ => match word(text) {
            "or" => left(2, 10, fold_or),
            "and" => left(3, 20, fold_and),
            "in" => compare(2, |_, a, b| membership(a, b)),
            "not" if word(text[3..].trim_start()) == "in" => {
                let bytes = text.len() - text[3..].trim_start().len() + 2;
                compare(bytes, |_, a, b| Node::new(a.at, Kind::Not(Box::new(membership(a, b)?))))
            }
            _ => return Err(Fault::from_input(input)),
        },
    };
    take(input, bytes);
    Ok(operator)
}

fn fold_or(_: &mut Input<'_>, a: Node, b: Node) -> Parsed<Node> {
    a.expect(Type::Bool)?;
    b.expect(Type::Bool)?;
    let at = a.at;
    let mut parts = if let Kind::Or(parts) = a.kind { parts } else { vec![a] };
    parts.push(b);
    Node::new(at, Kind::Or(parts))
}

fn fold_and(_: &mut Input<'_>, a: Node, b: Node) -> Parsed<Node> {
    a.expect(Type::Bool)?;
    b.expect(Type::Bool)?;
    let at = a.at;
    let mut parts = if let Kind::And(parts) = a.kind { parts } else { vec![a] };
    parts.push(b);
    Node::new(at, Kind::And(parts))
}

fn comparison(how: Comparison, a: Node, b: Node) -> Parsed<Node> {
    if !matches!(how, Comparison::Equal | Comparison::Unequal) {
        b.expect(a.type_of()).or_else(|fault| if a.type_of() == Type::Null { Ok(()) } else { Err(fault) })?;
    }
    Node::new(a.at, Kind::Compare(how, Box::new(a), Box::new(b)))
}

fn arithmetic(how: Arithmetic, a: Node, b: Node) -> Parsed<Node> {
    a.expect(Type::Number)?;
    b.expect(Type::Number)?;
    Node::new(a.at, Kind::Calculate(how, Box::new(a), Box::new(b)))
}

fn membership(a: Node, b: Node) -> Parsed<Node> {
    let (at, kind) = match b.kind {
        Kind::Constant(Value::List(mut items)) => {
            items.sort_by(|a, b| order(&Operand::from(a), &Operand::from(b)));
            (a.at, Kind::InList(Box::new(a), items))
        }
        _ => {
            b.expect(Type::Other)?;
            (a.at, Kind::In(Box::new(a), Box::new(b)))
        }
    };
    Node::new(at, kind)
}
