//! Keys as text: `NS/SET/KEY` on the command line, and a printed form that always parses back to the same key.
//!
//! The first two slashes separate; the rest is the key as it stands. A rest that is an integer in canonical form
//! (optional minus, no leading zeros, fits 64 bits) is an integer key; anything else is a text key. Prefixes say it
//! outright: `int:42`, `text:42`, `hex:00ff` and `base64:AP8=` (bytes), `json:"a\nb"` (text with control characters).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outcrop_wire::key::{check_namespace_name, check_set_name};
pub use outcrop_wire::text::{canonical_int, is_unprintable, parse_hex, print_hex};
use outcrop_wire::{Key, KeyError, MapKey, UserKey, UserKeyRef};
use thiserror::Error;

/// Prefixes that give a key's type; a text key that begins with one is written with `text:` in front.
const PREFIXES: [&str; 5] = ["int:", "text:", "hex:", "base64:", "json:"];

/// Why a text is no key, and what a key looks like.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeySyntaxError {
    /// Fewer than two slashes.
    #[error("{0:?} is no key: a key is NAMESPACE/SET/KEY, such as test/users/42")]
    Parts(String),
    /// `int:` with something else than a 64-bit integer.
    #[error("{0:?} is no 64-bit integer; for the text write text:{0}")]
    Int(String),
    /// `hex:` with something else than pairs of hexadecimal digits.
    #[error("hex:{0} isn't pairs of hexadecimal digits, such as hex:00ff")]
    Hex(String),
    /// `base64:` with something else than padded standard base64.
    #[error("base64:{0} isn't padded standard base64, such as base64:AP8=")]
    Base64(String),
    /// `json:` with something else than a JSON string.
    #[error("json:{0} isn't a JSON string, such as json:\"a\\nb\"")]
    Json(String),
    /// A name or a length is out of bounds.
    #[error(transparent)]
    Limits(#[from] KeyError),
}

/// Parses `NS/SET/KEY` and checks every limit of it.
pub fn parse_key(text: &str) -> Result<Key, KeySyntaxError> {
    let mut parts = text.splitn(3, '/');
    let (Some(namespace), Some(set), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeySyntaxError::Parts(shorten(text)));
    };
    check_namespace_name(namespace)?;
    check_set_name(set)?;
    Ok(Key::new(namespace, set, parse_user_key(rest)?))
}

/// Parses the part behind the second slash and checks its length.
pub fn parse_user_key(text: &str) -> Result<UserKey, KeySyntaxError> {
    let key = if let Some(digits) = text.strip_prefix("int:") {
        UserKey::Int(digits.parse().map_err(|_| KeySyntaxError::Int(shorten(digits)))?)
    } else if let Some(literal) = text.strip_prefix("text:") {
        UserKey::Text(literal.to_owned())
    } else if let Some(digits) = text.strip_prefix("hex:") {
        UserKey::Bytes(parse_hex(digits).ok_or_else(|| KeySyntaxError::Hex(shorten(digits)))?)
    } else if let Some(encoded) = text.strip_prefix("base64:") {
        UserKey::Bytes(STANDARD.decode(encoded).map_err(|_| KeySyntaxError::Base64(shorten(encoded)))?)
    } else if let Some(quoted) = text.strip_prefix("json:") {
        UserKey::Text(serde_json::from_str(quoted).map_err(|_| KeySyntaxError::Json(shorten(quoted)))?)
    } else {
        canonical_int(text).map_or_else(|| UserKey::Text(text.to_owned()), UserKey::Int)
    };
    key.borrow().check()?;
    Ok(key)
}

/// The shortest form that [`parse_user_key`] reads back as the same key, free of control characters.
pub fn print_user_key(key: UserKeyRef<'_>) -> String {
    match key {
        UserKeyRef::Int(number) => number.to_string(),
        UserKeyRef::Bytes(bytes) => format!("hex:{}", print_hex(bytes)),
        UserKeyRef::Text(text) if text.chars().any(is_unprintable) => {
            let mut out = String::from("json:");
            crate::json::print_text(text, &mut out);
            out
        }
        UserKeyRef::Text(text) if canonical_int(text).is_some() || PREFIXES.iter().any(|p| text.starts_with(p)) => {
            format!("text:{text}")
        }
        UserKeyRef::Text(text) => text.to_owned(),
    }
}

/// The form that [`parse_key`] reads back as the same key.
pub fn print_key(namespace: &str, set: &str, user_key: UserKeyRef<'_>) -> String {
    format!("{namespace}/{set}/{}", print_user_key(user_key))
}

/// Parses `NS` or `NS/SET`; a set may be left out for what goes through a whole namespace.
pub fn parse_place(text: &str) -> Result<(String, Option<String>), KeySyntaxError> {
    let (namespace, set) = match text.split_once('/') {
        Some((namespace, set)) => (namespace, Some(set)),
        None => (text, None),
    };
    check_namespace_name(namespace)?;
    if let Some(set) = set {
        check_set_name(set)?;
    }
    Ok((namespace.to_owned(), set.map(str::to_owned)))
}

/// A key inside a map, in the syntax of record keys (but it may be empty).
pub fn parse_map_key(text: &str) -> Result<MapKey, KeySyntaxError> {
    if text.is_empty() || text == "text:" {
        return Ok(MapKey::Text(String::new()));
    }
    Ok(match parse_user_key(text)? {
        UserKey::Int(number) => MapKey::Int(number),
        UserKey::Text(text) => MapKey::Text(text),
        UserKey::Bytes(bytes) => MapKey::Bytes(bytes),
    })
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> UserKey {
        UserKey::Text(text.to_owned())
    }

    #[test]
    fn digits_are_an_integer_unless_said_otherwise() {
        assert_eq!(parse_key("a/b/42"), Ok(Key::new("a", "b", 42)));
        assert_eq!(parse_key("a/b/-42"), Ok(Key::new("a", "b", -42)));
        assert_eq!(parse_key("a/b/text:42"), Ok(Key::new("a", "b", "42")));
        assert_eq!(parse_key("a/b/int:42"), Ok(Key::new("a", "b", 42)));
        for other in ["007", "+5", "-0", "9223372036854775808", "4 2", "1.0", "-"] {
            assert_eq!(parse_user_key(other), Ok(text(other)));
        }
        assert_eq!(parse_user_key("-9223372036854775808"), Ok(UserKey::Int(i64::MIN)));
    }

    #[test]
    fn the_rest_is_the_key_as_it_stands() {
        assert_eq!(parse_key("a/b/c/d e/ü"), Ok(Key::new("a", "b", "c/d e/ü")));
        assert_eq!(parse_user_key("text:int:42"), Ok(text("int:42")));
        assert_eq!(parse_user_key("hex:00FF"), Ok(UserKey::Bytes(vec![0, 255])));
        assert_eq!(parse_user_key("base64:AP8="), Ok(UserKey::Bytes(vec![0, 255])));
        assert_eq!(parse_user_key(r#"json:"a\nb""#), Ok(text("a\nb")));
    }

    #[test]
    fn what_is_no_key_says_why() {
        assert_eq!(parse_key("a/b"), Err(KeySyntaxError::Parts("a/b".to_owned())));
        assert_eq!(parse_key("a/b/"), Err(KeyError::Empty.into()));
        assert_eq!(parse_key("a/b/text:"), Err(KeyError::Empty.into()));
        assert_eq!(parse_key("a//c"), Err(KeyError::Set(String::new()).into()));
        assert_eq!(parse_key("ä/b/c"), Err(KeyError::Namespace("ä".to_owned()).into()));
        assert_eq!(parse_user_key("int:x"), Err(KeySyntaxError::Int("x".to_owned())));
        assert_eq!(parse_user_key("hex:0"), Err(KeySyntaxError::Hex("0".to_owned())));
        assert_eq!(parse_user_key("hex:é"), Err(KeySyntaxError::Hex("é".to_owned())));
        assert_eq!(parse_user_key("base64:AP8"), Err(KeySyntaxError::Base64("AP8".to_owned())));
        assert_eq!(parse_user_key("json:1"), Err(KeySyntaxError::Json("1".to_owned())));
        let long = "k".repeat(1 << 20);
        assert_eq!(parse_user_key(&long), Err(KeyError::TooLong(1 << 20).into()));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(print_user_key(UserKeyRef::Text("a\u{1b}[2J")), r#"json:"a\u001b[2J""#);
        assert_eq!(print_user_key(UserKeyRef::Text("a\u{202e}b")), r#"json:"a\u202eb""#);
        assert_eq!(print_user_key(UserKeyRef::Text("a\u{85}b")), r#"json:"a\u0085b""#);
    }

    fn user_key() -> impl Strategy<Value = UserKey> {
        let tricky = prop::sample::select(vec![
            "int:", "text:", "hex:", "base64:", "json:", "-", "0", "7", "/", " ", "\n", "\u{2028}", "\"", "\\", "é",
        ]);
        prop_oneof![
            any::<i64>().prop_map(UserKey::Int),
            any::<i64>().prop_map(|number| UserKey::Text(number.to_string())),
            "\\PC{1,40}".prop_map(UserKey::Text),
            prop::collection::vec(any::<char>(), 1..40).prop_map(|chars| UserKey::Text(chars.into_iter().collect())),
            prop::collection::vec(tricky, 1..6).prop_map(|parts| UserKey::Text(parts.concat())),
            prop::collection::vec(any::<u8>(), 1..40).prop_map(UserKey::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn a_printed_key_parses_back(key in user_key()) {
            let printed = print_user_key(key.borrow());
            prop_assert!(!printed.chars().any(is_unprintable));
            prop_assert_eq!(parse_user_key(&printed), Ok(key.clone()));
            let whole = print_key("test", "a set", key.borrow());
            prop_assert_eq!(parse_key(&whole), Ok(Key::new("test", "a set", key)));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC*") {
            let _ = parse_key(&text);
            if let Ok(key) = parse_user_key(&text) {
                prop_assert_eq!(parse_user_key(&print_user_key(key.borrow())), Ok(key));
            }
        }
    }
}
