//! Values to compact JSON text.

use std::fmt::Write as _;

use crate::{MapKey, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{KEY_HEX, KEY_INT, KEY_TEXT, TAG_BYTES, TAG_FLOAT, needs_escape, print_float};

/// The value as compact JSON on one line.
pub fn to_text(value: &Value) -> String {
    let mut out = String::new();
    print_value(value, &mut out);
    out
}

/// Appends the value as compact JSON.
pub fn print_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::Float(float) if float.is_finite() => out.push_str(&print_float(*float)),
        Value::Float(float) => drop(write!(out, "{{\"{TAG_FLOAT}\":\"{}\"}}", float_name(*float))),
        Value::Text(text) => print_text(text, out),
        Value::Bytes(bytes) => drop(write!(out, "{{\"{TAG_BYTES}\":\"{}\"}}", STANDARD.encode(bytes))),
        Value::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                print_value(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (place, (key, item)) in entries.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                print_text(&key_name(key, entries.len() == 1), out);
                out.push(':');
                print_value(item, out);
            }
            out.push('}');
        }
    }
}

/// Appends a JSON string; what breaks a line or fools a terminal is escaped.
pub fn print_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All of these are in the basic plane, so that one escape of four digits holds each.
            c if crate::text::is_unprintable(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A map's key as the name of a JSON field.
fn key_name(key: &MapKey, sole: bool) -> std::borrow::Cow<'_, str> {
    match key {
        MapKey::Int(number) => format!("{KEY_INT}{number}").into(),
        MapKey::Bytes(bytes) => format!("{KEY_HEX}{}", crate::text::print_hex(bytes)).into(),
        MapKey::Text(text) if needs_escape(text, sole) => format!("{KEY_TEXT}{text}").into(),
        MapKey::Text(text) => text.as_str().into(),
    }
}

/// The name of a float that JSON has no number for.
pub(super) fn float_name(float: f64) -> String {
    if float == f64::INFINITY {
        "Infinity".to_owned()
    } else if float == f64::NEG_INFINITY {
        "-Infinity".to_owned()
    } else if float.to_bits() == f64::NAN.to_bits() {
        "NaN".to_owned()
    } else {
        format!("NaN:{:016x}", float.to_bits())
    }
}
