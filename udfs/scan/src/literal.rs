//! Numbers and texts as they are written in an expression.

use outcrop_udf::Value;

use crate::fault::Fault;
use crate::grammar::{Input, at, rest, take};

/// A number: an integer of 64 bits, or a float if it has a point or an exponent.
pub fn number(input: &mut Input<'_>) -> Result<Value, Fault> {
    let (start, text) = (at(input), rest(input));
    let digits = |from: usize| from + text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(usize::from(text.starts_with('-')));
    let mut is_float = false;
    if text[end..].starts_with('.') && digits(end + 1) > end + 1 {
        (end, is_float) = (digits(end + 1), true);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        if digits(end + 1 + sign) > end + 1 + sign {
            (end, is_float) = (digits(end + 1 + sign), true);
        }
    }
    if text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return Err(Fault::new(start + end, "a number ends in a letter: a name begins with one"));
    }
    let written = &text[..end];
    let value = match is_float {
        false => written.parse().map(Value::Int).map_err(|_| "an integer has at most 64 bits: write a float (1e20)"),
        true => match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err("a float is at most 1.8e308"),
        },
    };
    take(input, end);
    value.map_err(|message| Fault::new(start, message))
}

/// A text in quotes of any kind, with the escapes of JSON and `\'`.
pub fn text(input: &mut Input<'_>) -> Result<String, Fault> {
    let (start, text) = (at(input), rest(input));
    let mut letters = text.char_indices();
    let Some((_, quote)) = letters.next() else { return Err(Fault::new(start, "a text belongs here")) };
    let mut out = String::new();
    while let Some((place, letter)) = letters.next() {
        match letter {
            _ if letter == quote => {
                take(input, place + letter.len_utf8());
                return Ok(out);
            }
            '\\' => {
                let escape = letters.next().map(|(_, escape)| escape);
                out.push(match escape {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some(same @ ('\\' | '/' | '\'' | '"' | '`')) => same,
                    Some('u') => unicode(&mut letters).ok_or_else(|| {
                        Fault::new(start + place, "`\\u` is followed by the four hexadecimal digits of a character")
                    })?,
                    _ => return Err(Fault::new(start + place, "there is no such escape")),
                });
            }
            other => out.push(other),
        }
    }
    Err(Fault::new(start, "the text doesn't end: its quote is missing"))
}

/// A character behind `\u`: four digits, or two times four for one beyond the first 65,536.
fn unicode(letters: &mut std::str::CharIndices<'_>) -> Option<char> {
    let four = |letters: &mut std::str::CharIndices<'_>| {
        (0..4).try_fold(0_u32, |number, _| Some(number << 4 | letters.next()?.1.to_digit(16)?))
    };
    let first = four(letters)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    (letters.next()?.1 == '\\' && letters.next()?.1 == 'u').then_some(())?;
    let second = four(letters).filter(|second| (0xdc00..0xe000).contains(second))?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
}
