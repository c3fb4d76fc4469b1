//! Tests of JSON in and out: what is refused and why, and that nothing changes on the way.

use crate::limits::VALUE_DEPTH_MAX;
use crate::{Bins, MapKey, Value};
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Value, JsonError> {
    parse_value(text.as_bytes(), VALUE_DEPTH_MAX)
}

/// Reads, prints, and gives the text.
fn again(text: &str) -> String {
    to_text(&parse(text).expect("a document that is taken"))
}

#[test]
fn documents_come_out_as_they_went_in() {
    for text in [
        r#"{"b":1,"a":[1.0,0.1,-0.0,1e22,null,true,false],"":{},"z":"ü\"\\\n😀"}"#,
        r#"{"$bytes":"AP8="}"#,
        r#"{"$float":"NaN"}"#,
        r#"{"$float":"NaN:fff8000000000001"}"#,
        r#"{"$float":"-Infinity"}"#,
        r#"{"$int:42":1,"$hex:00ff":2,"$text:$int:42":3,"plain":4}"#,
        r#"{"$text:$bytes":1}"#,
        r#"{"$bytes":1,"other":2}"#,
        r#"{"$text:$text:$bytes":1}"#,
        r#"{"$other":1}"#,
        r#"{"$serde_json::private::Number":"12"}"#,
        r#"{"$serde_json::private::Number":"12","a":1}"#,
        r#"{"a":1,"$serde_json::private::Number":"12"}"#,
        r#"[[],{},""]"#,
    ] {
        assert_eq!(again(text), text);
    }
    assert_eq!(again(r#"{"$serde_json::private::Number":{"a":1}}"#), r#"{"$serde_json::private::Number":{"a":1}}"#);
    assert_eq!(again(" { \"a\" : 1.50 } "), r#"{"a":1.5}"#);
}

#[test]
fn a_field_named_like_the_parsers_own_is_not_dropped() {
    // A number, an object or a text there must not be taken for the number that the parser hands over.
    assert_eq!(again(r#"{"$serde_json::private::Number":12}"#), r#"{"$serde_json::private::Number":12}"#);
    let doubled = parse(r#"{"$serde_json::private::Number":1,"$serde_json::private::Number":2}"#);
    assert!(matches!(doubled, Err(JsonError::Duplicate { .. })));
    let deep = JsonError::Inexact { at: "/$serde_json::private::Number/x".to_owned(), number: "1e+999".to_owned() };
    assert_eq!(parse(r#"{"$serde_json::private::Number":{"x":1e+999}}"#), Err(deep));
}

#[test]
fn refusals_name_the_place() {
    let inexact = |at: &str, number: &str| JsonError::Inexact { at: at.to_owned(), number: number.to_owned() };
    assert_eq!(parse(r#"{"a":[0,{"b/c":1e+400}]}"#), Err(inexact("/a/1/b~1c", "1e+400")));
    assert_eq!(parse("12345678901234567890123"), Err(inexact("", "12345678901234567890123")));
    let duplicate = JsonError::Duplicate { at: "/x".to_owned(), name: "a".to_owned() };
    assert_eq!(parse(r#"{"x":{"a":1,"b":2,"\u0061":3}}"#), Err(duplicate));
    let many: Vec<String> = (0..100).chain([57]).map(|n| format!("\"k{n}\":{n}")).collect();
    let many = parse(&format!("{{{}}}", many.join(",")));
    assert_eq!(many, Err(JsonError::Duplicate { at: String::new(), name: "k57".to_owned() }));
    for tag in [
        r#"{"$bytes":5}"#,
        r#"{"$bytes":"AP8"}"#,
        r#"{"$bytes":"AP9="}"#,
        r#"{"$float":"1.5"}"#,
        r#"{"$float":"nan"}"#,
        r#"{"$float":"NaN:7ff8000000000000"}"#,
        r#"{"$float":"NaN:3ff0000000000000"}"#,
        r#"{"$int:007":1}"#,
        r#"{"$hex:0F":1}"#,
        r#"{"$text:plain":1}"#,
        r#"{"$text:$bytes":1,"other":2}"#,
    ] {
        assert!(matches!(parse(tag), Err(JsonError::Tag { .. })), "{tag}");
    }
    for syntax in [r#""\ud800""#, r#""\udc00\ud800""#, "[1,]", "{} {}", "", "nul", "01", "\"a\nb\"", "NaN", "\u{feff}1"]
    {
        assert!(matches!(parse(syntax), Err(JsonError::Syntax(_))), "{syntax}");
    }
    assert!(matches!(parse_value(b"\"\xff\"", 9), Err(JsonError::Syntax(_))));
}

#[test]
fn nesting_is_bounded_and_never_overflows_the_stack() {
    let nested = |depth: usize, open: &str, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    assert!(parse(&nested(64, "[", "]")).is_ok());
    assert!(matches!(parse(&nested(65, "[", "]")), Err(JsonError::TooDeep { limit: 64, .. })));
    for depth in [10_000, 1_000_000] {
        assert!(matches!(parse(&nested(depth, "[", "]")), Err(JsonError::TooDeep { .. })));
        assert!(matches!(parse(&nested(depth, "{\"a\":", "}")), Err(JsonError::TooDeep { .. })));
        assert!(matches!(parse(&"[".repeat(depth)), Err(JsonError::TooDeep { .. })));
    }
    assert!(parse_document(nested(65, "{\"a\":", "}").as_bytes()).is_ok());
    assert!(matches!(parse_document(nested(65, "[", "]").as_bytes()), Err(JsonError::Record(_))));
    assert!(matches!(parse_document(nested(66, "{\"a\":", "}").as_bytes()), Err(JsonError::TooDeep { .. })));
}

#[test]
fn documents_are_records_and_back() {
    let bins = parse_document(br#"{"name":"x","n":1}"#).expect("an object");
    assert_eq!(bins, Bins::new().with("name", "x").with("n", 1));
    assert_eq!(parse_document(b"[1]"), Ok(Bins::unnamed(vec![Value::Int(1)])));
    assert_eq!(parse_document(br#"{"$bytes":"AP8="}"#), Ok(Bins::unnamed(vec![0_u8, 255])));
    assert!(matches!(parse_document(br#"{"$int:1":1}"#), Err(JsonError::Record(_))));
    let long = format!("{{\"{}\":1}}", "n".repeat(256));
    assert!(matches!(parse_document(long.as_bytes()), Err(JsonError::Record(_))));
}

fn value() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "\\PC{0,6}",
        prop::sample::select(vec!["$bytes", "$float", "$int:1", "$int:x", "$hex:00", "$text:a", "$text:$bytes", "a"])
            .prop_map(str::to_owned),
    ];
    let key = prop_oneof![
        4 => name.prop_map(MapKey::Text),
        1 => any::<i64>().prop_map(MapKey::Int),
        1 => prop::collection::vec(any::<u8>(), 0..5).prop_map(MapKey::Bytes),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        prop::sample::select(vec![f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]).prop_map(Value::Float),
        prop::collection::vec(any::<char>(), 0..8).prop_map(|chars| Value::Text(chars.into_iter().collect())),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|mut entries| {
                let mut seen = std::collections::HashSet::new();
                entries.retain(|(key, _)| seen.insert(key.clone()));
                Value::Map(entries)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_printed_value_parses_back(value in value()) {
        let text = to_text(&value);
        prop_assert!(!text.chars().any(crate::text::is_unprintable));
        prop_assert_eq!(parse_value(text.as_bytes(), 64), Ok(value));
    }

    #[test]
    fn a_record_comes_back_from_its_document(value in value()) {
        if let Ok(bins) = bins_from_value(value) {
            let text = to_text(&bins_to_value(bins.clone()));
            prop_assert_eq!(parse_document(text.as_bytes()), Ok(bins), "{}", text);
        }
    }

    /// Whatever another JSON library writes and this one takes comes out equal for that library, key order included.
    #[test]
    fn documents_survive(value in value()) {
        let theirs: serde_json::Value = serde_json::from_str(&to_text(&value)).expect("our own print is JSON");
        let text = serde_json::to_string_pretty(&theirs).expect("a value prints");
        let ours = parse(&text).expect("the same document");
        let back: serde_json::Value = serde_json::from_str(&to_text(&ours)).expect("our own print is JSON");
        prop_assert_eq!(back.to_string(), theirs.to_string());
        prop_assert_eq!(ours, value);
    }

    #[test]
    fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse_document(&bytes);
    }

    #[test]
    fn anything_json_like_parses_or_is_refused(text in "[\\[\\]{}\",:0-9.eE+\\-a$ \\\\u]{0,40}") {
        if let Ok(value) = parse(&text) {
            prop_assert_eq!(parse(&to_text(&value)), Ok(value));
        }
    }
}
