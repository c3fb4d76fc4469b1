//! Decimal numbers to integers and floats without rounding, and floats back to decimals.

use crate::Value;

/// The value that holds a JSON number exactly, if there is one: an i64, else the float that prints as the same decimal.
pub(super) fn parse_number(text: &str) -> Option<Value> {
    if let Some(number) = crate::text::canonical_int(text) {
        return Some(Value::Int(number));
    }
    let float: f64 = text.parse().ok()?;
    let exact = float.is_finite() && Decimal::of(text)? == Decimal::of(&print_float(float))?;
    exact.then_some(Value::Float(float))
}

/// The shortest decimal that reads back as this float, always with a fraction or an exponent. Finite floats only.
pub fn print_float(float: f64) -> String {
    format!("{float:?}")
}

/// A decimal number apart from how it is written: digits without zeros at either end, times ten to the exponent.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Takes a number of JSON's grammar apart; `None` if its exponent is beyond any that a float could have.
    fn of(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0').collect();
        let significant = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        let zeros_dropped = digits.len() - significant;
        digits.truncate(significant);
        if digits.is_empty() {
            return Some(Decimal { negative, digits, exponent: 0 });
        }
        let exponent = exponent.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?;
        Some(Decimal { negative, digits, exponent: exponent.checked_add(zeros_dropped as i64)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exact_numbers_are_taken() {
        for (text, value) in [
            ("0", Value::Int(0)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("9223372036854775807", Value::Int(i64::MAX)),
            ("1.0", Value::Float(1.0)),
            ("0.1", Value::Float(0.1)),
            ("0.10", Value::Float(0.1)),
            ("1e2", Value::Float(100.0)),
            ("1E+2", Value::Float(100.0)),
            ("-0.0", Value::Float(-0.0)),
            ("-0", Value::Float(-0.0)),
            ("0e999999999999999999999", Value::Float(0.0)),
            ("1e22", Value::Float(1e22)),
            ("10000000000000000000000", Value::Float(1e22)),
            ("5e-324", Value::Float(5e-324)),
            ("1.7976931348623157e308", Value::Float(f64::MAX)),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
    }

    #[test]
    fn inexact_numbers_are_refused() {
        for text in [
            "12345678901234567890123",
            "9223372036854775808",
            "18446744073709551615",
            "0.1000000000000000055511151231257827",
            "0.10000000000000001",
            "1e400",
            "-1e400",
            "1e-400",
            "4.9e-324",
            "1e99999999999999999999999999",
            "1e-99999999999999999999999999",
            "9007199254740993.0",
        ] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_float_is_that_float(float in any::<f64>().prop_filter("finite", |float| float.is_finite())) {
            prop_assert_eq!(parse_number(&print_float(float)), Some(Value::Float(float)));
        }

        #[test]
        fn fifteen_digits_are_always_exact(digits in 1_i64..1_000_000_000_000_000, exponent in -290_i32..290) {
            let text = format!("{digits}e{exponent}");
            prop_assert!(matches!(parse_number(&text), Some(Value::Float(_))));
        }
    }
}
