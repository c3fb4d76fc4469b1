//! JSON text to values: `serde_json` reads the grammar, this decides what each piece means and refuses what would change.

use std::collections::HashSet;
use std::fmt;

use crate::{MapKey, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::number::parse_number;
use super::print::float_name;
use super::{KEY_HEX, KEY_INT, KEY_TEXT, TAG_BYTES, TAG_FLOAT, needs_escape};

/// Why a JSON text isn't taken. Places are JSON pointers (RFC 6901); the empty one is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The text isn't JSON (lone surrogates and bytes that aren't UTF-8 included).
    #[error("not JSON: {0}")]
    Syntax(String),
    /// Neither a 64-bit integer nor a 64-bit float prints as this number.
    #[error("the number {number} at {at:?} fits neither a 64-bit integer nor a 64-bit float exactly; write it as text")]
    Inexact {
        /// Where.
        at: String,
        /// The number, shortened.
        number: String,
    },
    /// An object has a key twice.
    #[error("the key {name:?} is twice in the object at {at:?}")]
    Duplicate {
        /// The object.
        at: String,
        /// The key.
        name: String,
    },
    /// Nested over the limit.
    #[error("lists and objects nest over {limit} deep at {at:?}")]
    TooDeep {
        /// Where.
        at: String,
        /// The limit.
        limit: usize,
    },
    /// A tagged form that isn't in the one way in which it is printed.
    #[error("{found} at {at:?} isn't a tagged form: {form}")]
    Tag {
        /// Where.
        at: String,
        /// What stands there, shortened.
        found: String,
        /// What it would have to be.
        form: &'static str,
    },
    /// The document can't be a record.
    #[error("{0}")]
    Record(String),
}

const FORM_BYTES: &str = "{\"$bytes\": padded standard base64}; a field of that name is written $text:$bytes";
const FORM_FLOAT: &str =
    "{\"$float\": \"NaN\", \"Infinity\", \"-Infinity\" or \"NaN:bits\"}; a field of that name is written $text:$float";
const FORM_INT: &str = "$int: and a 64-bit integer; a field of that name is written $text:$int:…";
const FORM_HEX: &str = "$hex: and pairs of lower-case hexadecimal digits; a field of that name is written $text:$hex:…";
const FORM_TEXT: &str = "$text: stands only before a name that would read as a tag; write $text:$text:… for it itself";

/// Name of the field in which `serde_json` hands over a number that no 64-bit integer holds, as its text.
const NUMBER_FIELD: &str = "$serde_json::private::Number";

/// Objects of up to this many keys are searched in order, larger ones through a hash table.
const SEARCHED_KEYS_MAX: usize = 16;

/// Parses one JSON text; lists and objects nest at most `depth_max`.
pub fn parse_value(text: &[u8], depth_max: usize) -> Result<Value, JsonError> {
    let mut walk = Walk { steps: Vec::new(), depth_max, refusal: None };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = Node(&mut walk).deserialize(&mut deserializer);
    let read = read.and_then(|value| deserializer.end().map(|()| value));
    match (walk.refusal, read) {
        (Some(refusal), _) => Err(refusal),
        (None, Ok(value)) => Ok(value),
        (None, Err(error)) => Err(JsonError::Syntax(explain(&error.to_string()))),
    }
}

/// The parser's words, with what they mean for an escape such as `\ud800` alone.
fn explain(message: &str) -> String {
    match message.contains("hex escape") {
        true => format!("{message} (half of a surrogate pair is no character)"),
        false => message.to_owned(),
    }
}

/// Where the parser is, and what it refused.
struct Walk {
    steps: Vec<Step>,
    depth_max: usize,
    refusal: Option<JsonError>,
}

/// One step of a JSON pointer.
enum Step {
    Item(usize),
    Field(String),
}

impl Walk {
    fn at(&self) -> String {
        let mut pointer = String::new();
        for step in &self.steps {
            pointer.push('/');
            match step {
                Step::Item(index) => pointer.push_str(&index.to_string()),
                Step::Field(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
            }
        }
        pointer
    }

    /// Remembers why, and gives the error that makes the parser stop.
    fn refuse<E: serde::de::Error>(&mut self, why: impl FnOnce(String) -> JsonError) -> E {
        let refusal = why(self.at());
        let error = E::custom(&refusal);
        self.refusal.get_or_insert(refusal);
        error
    }

    fn refuse_tag<E: serde::de::Error>(&mut self, found: &str, form: &'static str) -> E {
        let found = shorten(found);
        self.refuse(|at| JsonError::Tag { at, found, form })
    }

    /// Reads a child one step further down.
    fn child<T, E>(&mut self, step: Step, read: impl FnOnce(&mut Walk) -> Result<T, E>) -> Result<T, E> {
        self.steps.push(step);
        let value = read(self)?;
        self.steps.pop();
        Ok(value)
    }

    fn number<E: serde::de::Error>(&mut self, text: &str) -> Result<Value, E> {
        parse_number(text).ok_or_else(|| self.refuse(|at| JsonError::Inexact { at, number: shorten(text) }))
    }

    fn check_depth<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.steps.len() >= self.depth_max {
            let limit = self.depth_max;
            return Err(self.refuse(|at| JsonError::TooDeep { at, limit }));
        }
        Ok(())
    }
}

/// Reads one value.
struct Node<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => self.0.number(&number.to_string()),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.check_depth()?;
        let mut list = Vec::new();
        loop {
            let item = self.0.child(Step::Item(list.len()), |walk| items.next_element_seed(Node(walk)))?;
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::List(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let walk = self.0;
        let mut entries = Entries::default();
        let mut next = fields.next_key::<String>()?;
        if next.as_deref() == Some(NUMBER_FIELD) {
            match fields.next_value_seed(NumberField(walk))? {
                Handed::Number(number) => return Ok(number),
                Handed::Field(value) => entries.push(MapKey::Text(NUMBER_FIELD.to_owned()), value),
            }
            next = fields.next_key::<String>()?;
        }
        walk.check_depth()?;
        while let Some(name) = next {
            let key = entries.parse_name::<A::Error>(&name, walk)?;
            let value = walk.child(Step::Field(name), |walk| fields.next_value_seed(Node(walk)))?;
            entries.push(key, value);
            next = fields.next_key::<String>()?;
        }
        entries.finish(walk)
    }
}

/// What stands in the field in which `serde_json` hands over numbers that no 64-bit integer holds.
enum Handed {
    /// A number: the map around it isn't one.
    Number(Value),
    /// Something else: a document that happens to have a field of this name.
    Field(Value),
}

/// Reads that field. The parser hands over a document's text as borrowed or copied; only a number's text comes owned.
struct NumberField<'a>(&'a mut Walk);

impl NumberField<'_> {
    fn field<E: serde::de::Error>(self, read: impl FnOnce(Node<'_>) -> Result<Value, E>) -> Result<Handed, E> {
        self.0.check_depth()?;
        self.0.child(Step::Field(NUMBER_FIELD.to_owned()), |walk| read(Node(walk))).map(Handed::Field)
    }
}

impl<'de> DeserializeSeed<'de> for NumberField<'_> {
    type Value = Handed;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Handed, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberField<'_> {
    type Value = Handed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a JSON value")
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Handed, E> {
        self.0.number(&text).map(Handed::Number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Handed, E> {
        self.field(|node| node.visit_str(text))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Handed, E> {
        self.field(|node| node.visit_i64(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Handed, E> {
        self.field(|node| node.visit_u64(number))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Handed, E> {
        self.field(|node| node.visit_unit())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Handed, E> {
        self.field(|node| node.visit_bool(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Handed, A::Error> {
        self.field(|node| node.visit_seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Handed, A::Error> {
        self.field(|node| node.visit_map(fields))
    }
}

/// The entries of a map so far, with a hash table once there are many.
#[derive(Default)]
struct Entries {
    list: Vec<(MapKey, Value)>,
    seen: HashSet<MapKey>,
    /// Whether `$text:$bytes` or `$text:$float` was among the names: right only as the sole one.
    sole_escape: bool,
}

impl Entries {
    fn has(&self, key: &MapKey) -> bool {
        if self.seen.is_empty() { self.list.iter().any(|(name, _)| name == key) } else { self.seen.contains(key) }
    }

    fn push(&mut self, key: MapKey, value: Value) {
        if self.list.len() == SEARCHED_KEYS_MAX {
            self.seen.extend(self.list.iter().map(|(name, _)| name.clone()));
        }
        if self.list.len() >= SEARCHED_KEYS_MAX {
            self.seen.insert(key.clone());
        }
        self.list.push((key, value));
    }

    /// A field's name as a key that isn't there yet.
    fn parse_name<E: serde::de::Error>(&mut self, name: &str, walk: &mut Walk) -> Result<MapKey, E> {
        let key = if let Some(digits) = name.strip_prefix(KEY_INT) {
            let number = crate::text::canonical_int(digits);
            number.map(MapKey::Int).ok_or_else(|| walk.refuse_tag(name, FORM_INT))?
        } else if let Some(digits) = name.strip_prefix(KEY_HEX) {
            let bytes = crate::text::parse_hex(digits).filter(|bytes| crate::text::print_hex(bytes) == digits);
            bytes.map(MapKey::Bytes).ok_or_else(|| walk.refuse_tag(name, FORM_HEX))?
        } else if let Some(literal) = name.strip_prefix(KEY_TEXT) {
            if !needs_escape(literal, true) {
                return Err(walk.refuse_tag(name, FORM_TEXT));
            }
            self.sole_escape |= !needs_escape(literal, false);
            MapKey::Text(literal.to_owned())
        } else {
            MapKey::Text(name.to_owned())
        };
        if self.has(&key) {
            return Err(walk.refuse(|at| JsonError::Duplicate { at, name: shorten(name) }));
        }
        Ok(key)
    }

    /// Settles what depends on whether a map has one key: the tags of bytes and floats, and their escapes.
    fn finish<E: serde::de::Error>(self, walk: &mut Walk) -> Result<Value, E> {
        match (self.list.as_slice(), self.sole_escape) {
            ([_], true) => {}
            (_, true) => return Err(walk.refuse_tag("$text:", FORM_TEXT)),
            ([(MapKey::Text(name), value)], false) if name == TAG_BYTES => {
                let bytes = if let Value::Text(text) = value { STANDARD.decode(text).ok() } else { None };
                return bytes.map(Value::Bytes).ok_or_else(|| walk.refuse_tag(TAG_BYTES, FORM_BYTES));
            }
            ([(MapKey::Text(name), value)], false) if name == TAG_FLOAT => {
                let float = if let Value::Text(text) = value { parse_float_name(text) } else { None };
                return float.map(Value::Float).ok_or_else(|| walk.refuse_tag(TAG_FLOAT, FORM_FLOAT));
            }
            _ => {}
        }
        Ok(Value::Map(self.list))
    }
}

fn parse_float_name(name: &str) -> Option<f64> {
    let float = match name {
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        other => f64::from_bits(u64::from_str_radix(other.strip_prefix("NaN:")?, 16).ok()?),
    };
    (!float.is_finite() && float_name(float) == name).then_some(float)
}

fn shorten(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
