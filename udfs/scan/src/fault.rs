//! Faults of expressions: what is wrong, where, and whether it was found in the text or on a record.

use std::borrow::Cow;

use outcrop_udf::Error;

/// Code of an expression that can't be parsed or can't make sense.
pub const INVALID_EXPRESSION: &str = "invalid-expression";
/// Code of an integer result that 64 bits don't hold.
pub const OVERFLOW: &str = "overflow";
/// Code of an integer division by zero.
pub const DIVISION_BY_ZERO: &str = "division-by-zero";

/// What is wrong with an expression, at a byte of its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// One of this room's codes, or that of an error of the record itself.
    pub code: Cow<'static, str>,
    /// Offset of the part that it is about.
    pub at: usize,
    /// What is wrong.
    pub message: Cow<'static, str>,
    /// Whether other readings of the text remain to be tried.
    pub(super) may_backtrack: bool,
}

impl Fault {
    /// A fault of the text that no other reading mends.
    pub fn new(at: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Fault { code: Cow::Borrowed(INVALID_EXPRESSION), at, message: message.into(), may_backtrack: false }
    }

    /// A fault that a record brought about.
    pub fn of_record(code: &'static str, at: usize, message: &'static str) -> Self {
        Fault { code: Cow::Borrowed(code), ..Fault::new(at, message) }
    }

    /// An error of the record's bytes.
    pub fn of_error(at: usize, error: &Error) -> Self {
        Fault { code: Cow::Owned(error.code().to_owned()), ..Fault::new(at, error.message().to_owned()) }
    }

    /// The error that a caller sees: message, line of the expression and a mark under the place.
    pub fn into_error(self, text: &str) -> Error {
        let (before, after) = text.split_at(text.floor_char_boundary(self.at));
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = after.find('\n').unwrap_or(after.len());
        let column = before[start..].chars().count();
        let excerpt = excerpt(&text[start..before.len() + line_end], column);
        Error::new(self.code, format!("{} (at character {})\n{excerpt}", self.message, before.chars().count() + 1))
    }
}

/// The line with a mark under one of its characters; of a long line the part around it.
fn excerpt(line: &str, column: usize) -> String {
    const BEFORE: usize = 40;
    const SHOWN: usize = 80;
    let skipped = column.saturating_sub(BEFORE);
    let shown: String = line.chars().skip(skipped).take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("  {shown}\n  {}^", " ".repeat(column - skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_place_whatever_the_text() {
        let error = Fault::new(4, "no").into_error("ä + €");
        assert_eq!(error.message(), "no (at character 4)\n  ä + €\n     ^");
        assert_eq!(Fault::new(9, "end").into_error("a\n  b").message(), "end (at character 6)\n    b\n     ^");
        let long = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let text = Fault::new(500, "no").into_error(&long).message().to_owned();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[1].find('!'), lines[1].len()), (lines[2].find('^'), 82));
    }
}
