//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::raw::SECTIONS;

/// A place in the file, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a configuration can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("configuration {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path is a directory.
    #[error("configuration {path} is a directory; name the file, for example {path}/outcrop.toml")]
    Directory {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than any configuration.
    #[error("configuration {path} has over {max} bytes; is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// The file isn't text.
    #[error("configuration {path} isn't UTF-8 text (byte {offset} is wrong); is it the right file?")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: usize,
    },
    /// It isn't TOML, or a value has the wrong type or range.
    #[error("{place}: {message}")]
    Value {
        /// Where.
        place: Place,
        /// What was expected.
        message: String,
    },
    /// A key that doesn't exist.
    #[error("{place}: unknown key `{key}`{advice}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// "; did you mean …?", or the keys that there are.
        advice: String,
    },
    /// Values that don't go together.
    #[error("{key}: {message}")]
    Relation {
        /// Which key, as `limits.lanes_max` or `namespace "shop": size`.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// An environment variable that means nothing or has a wrong value.
    #[error("environment variable {variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    pub(super) fn relation(key: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError::Relation { key: key.into(), message: message.into() }
    }

    /// Turns a parser's error into one with a place and a suggestion.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let place = place_of(text, error.span().map_or(0, |span| span.start));
        let message = error.message();
        if let Some((key, known)) = unknown(message, "unknown field `") {
            let advice = advise(&key, &known);
            return ConfigError::UnknownKey { place, key, advice };
        }
        if let Some((value, known)) = unknown(message, "unknown variant `") {
            let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
            return ConfigError::Value { place, message: format!("{value:?} isn't one of {}", known.join(", ")) };
        }
        let hint = if message.contains("expected a sequence") { "; a namespace begins with [[namespace]]" } else { "" };
        ConfigError::Value { place, message: format!("{message}{hint}") }
    }
}

/// Line and column of a byte.
fn place_of(text: &str, offset: usize) -> Place {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// Takes "unknown field `x`, expected one of `a`, `b`" apart (serde's words, held by a test).
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(prefix)?;
    let (key, known) = rest.rsplit_once("`, expected").or_else(|| rest.rsplit_once("`, there are no"))?;
    let names = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), names))
}

/// The known name most like `word`, if one is like it at all.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// What to say about a key that isn't known where it stands.
pub(super) fn advise(key: &str, known: &[String]) -> String {
    if let Some(name) = closest(key, known.iter().map(String::as_str)) {
        return format!("; did you mean `{name}`?");
    }
    if let Some((section, _)) = SECTIONS.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("; it belongs to [{section}]");
    }
    let everywhere = SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| (*section, *key)));
    let near = closest(key, everywhere.clone().map(|(_, name)| name));
    match near.and_then(|name| everywhere.clone().find(|(_, other)| *other == name)) {
        Some((section, name)) => format!("; did you mean `{name}` of [{section}]?"),
        None => format!("; here one of {} can stand", known.join(", ")),
    }
}
