//! Cells of CSV: a cell is a number, a document or a boolean only if printing that value gives the very same cell.
//!
//! So import and export of a file change no cell. The other way round, a text that would read as something else is
//! written as a JSON string (`"42"` with its quotes), which reads back as that text; the empty cell is null.

use outcrop_wire::Value;
use outcrop_wire::limits::VALUE_DEPTH_MAX;

use crate::json::{parse_value, to_text};

/// What a cell says.
pub fn value_from_cell(cell: &str) -> Value {
    if cell.is_empty() {
        return Value::Null;
    }
    let begins_json =
        matches!(cell.as_bytes()[0], b'-' | b'0'..=b'9' | b'{' | b'[' | b'"') || matches!(cell, "true" | "false");
    if begins_json {
        match parse_value(cell.as_bytes(), VALUE_DEPTH_MAX) {
            // A quoted text is meant as a text only where it has to be quoted: anything else is the cell as it stands.
            Ok(Value::Text(text)) if to_text(&Value::Text(text.clone())) == cell && needs_quotes(&text) => {
                return Value::Text(text);
            }
            Ok(Value::Text(_)) | Err(_) => {}
            Ok(value) if to_text(&value) == cell => return value,
            Ok(_) => {}
        }
    }
    Value::Text(cell.to_owned())
}

/// The cell that reads back as this value.
pub fn cell_from_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) if !needs_quotes(text) => text.clone(),
        other => to_text(other),
    }
}

/// Whether a text, as it stands in a cell, would read as something else. A quoted text is longer than what it quotes
/// by more than a factor at each level, so that this calls itself only as often as quotes nest.
fn needs_quotes(text: &str) -> bool {
    !matches!(value_from_cell(text), Value::Text(same) if same == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_prints_the_same_is_a_number() {
        assert_eq!(value_from_cell("10844"), Value::Int(10844));
        assert_eq!(value_from_cell("94.0"), Value::Float(94.0));
        assert_eq!(value_from_cell("0.0819647355164"), Value::Float(0.081_964_735_516_4));
        assert_eq!(value_from_cell("true"), Value::Bool(true));
        assert_eq!(value_from_cell(r#"{"a":[1]}"#).type_name(), "map");
        assert_eq!(value_from_cell(""), Value::Null);
        let texts = ["007", "+1", "1.50", "1e5", ".5", "12345678901234567890123", "NaN", "null", "-", "{ }", "[1, 2]"];
        for text in texts.into_iter().chain(["2011-07-01 00:00:01", " 1", "1 ", "\"quoted\"", "\"", "0x10", "1_000"]) {
            assert_eq!(value_from_cell(text), Value::Text(text.to_owned()));
            assert_eq!(cell_from_value(&Value::Text(text.to_owned())), text);
        }
    }

    #[test]
    fn texts_that_look_like_numbers_stay_texts() {
        assert_eq!(cell_from_value(&Value::from("55425")), "\"55425\"");
        assert_eq!(value_from_cell("\"55425\""), Value::from("55425"));
        assert_eq!(cell_from_value(&Value::from("\"55425\"")), r#""\"55425\"""#);
        assert_eq!(cell_from_value(&Value::from("")), "\"\"");
        assert_eq!(value_from_cell("\"\""), Value::from(""));
    }

    #[test]
    fn quotes_in_quotes_are_cheap() {
        let mut text = "1".to_owned();
        for _ in 0..16 {
            text = to_text(&Value::from(text));
        }
        assert_eq!(value_from_cell(&cell_from_value(&Value::from(text.clone()))), Value::from(text));
    }

    proptest! {
        #[test]
        fn a_cell_comes_out_as_it_went_in(cell in prop_oneof!["\\PC{0,12}", "[\\[\\]{}\",:0-9.eE+\\-a\\\\ ]{0,12}"]) {
            prop_assert_eq!(cell_from_value(&value_from_cell(&cell)), cell);
        }

        #[test]
        fn a_text_comes_out_as_it_went_in(text in prop_oneof!["\\PC{0,12}", "[\\[\\]{}\",:0-9.eE+\\-a\\\\\n ]{0,12}"]) {
            prop_assert_eq!(value_from_cell(&cell_from_value(&Value::from(text.clone()))), Value::Text(text));
        }

        #[test]
        fn a_number_comes_out_as_it_went_in(bits in any::<u64>(), number in any::<i64>()) {
            for value in [Value::Int(number), Value::Float(f64::from_bits(bits))] {
                prop_assert_eq!(value_from_cell(&cell_from_value(&value)), value);
            }
        }
    }
}
