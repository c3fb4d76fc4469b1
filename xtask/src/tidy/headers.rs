//! Every room says on its first line what it is for.

use super::Finding;
use super::source::Source;

/// The shortest line that can say anything, in characters without the slashes.
const CHARACTERS_MIN: usize = 15;

/// A file that doesn't open with a `//!` line.
pub fn check(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or("");
    match first.strip_prefix("//!") {
        Some(page) if page.trim().chars().count() >= CHARACTERS_MIN => None,
        Some(_) => Some(Finding::new(&source.path, 1, "the `//!` line is too short to say what this room is for")),
        None => Some(Finding::new(&source.path, 1, "open the file with a `//!` line that says what this room is for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_must_be_there_first_and_say_something() {
        let check = |text| check(&Source::parse("a.rs", text)).is_none();
        assert!(check("//! Keys and digests of records.\n"));
        assert!(!check("\n//! Keys and digests of records.\n"));
        assert!(!check("use std::io;\n"));
        assert!(!check("//! Keys.\n"));
        assert!(!check(""));
    }
}
