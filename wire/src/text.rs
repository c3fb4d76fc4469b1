//! Text forms that JSON, keys on a command line and messages share: canonical integers, hexadecimal, what can be shown.

/// The integer whose one canonical decimal form this is.
pub fn canonical_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { text.parse().ok() } else { None }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn print_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        out
    })
}

/// Bytes of pairs of hexadecimal digits, of either case.
pub fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// What breaks a line or turns it around on a terminal: controls, line separators and direction overrides.
pub fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_form() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(canonical_int(text), Some(number));
        }
        for text in ["", "-", "-0", "007", "+5", "1.0", "9223372036854775808", "4 2"] {
            assert_eq!(canonical_int(text), None, "{text}");
        }
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(parse_hex(&print_hex(&bytes)), Some(bytes));
        assert_eq!((parse_hex("Ff"), parse_hex("f"), parse_hex("0x")), (Some(vec![255]), None, None));
    }

    #[test]
    fn what_turns_a_line_around_is_not_shown() {
        assert!("\n\u{7f}\u{85}\u{2028}\u{202e}\u{2066}".chars().all(is_unprintable));
        assert!(!"aß✓😀 ".chars().any(is_unprintable));
    }
}
