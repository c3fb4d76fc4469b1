//! Names of series: `cpu`, `cpu{host=a,zone=eu}`; one spelling for each, which is the key of the series' record.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use outcrop_wire::Key;
use outcrop_wire::limits::KEY_BYTES_MAX;
use outcrop_wire::text::is_unprintable;
use thiserror::Error;

/// Bytes of a series' name with its tags: a block's number has to fit behind it.
const SERIES_BYTES_MAX: usize = KEY_BYTES_MAX - 24;
/// Tags of a series, at most.
const TAGS_MAX: usize = 64;

/// Why a text names no series.
///
/// ```
/// use outcrop_client::timeseries::{SeriesName, SeriesNameError};
/// assert_eq!("cpu{host}".parse::<SeriesName>(), Err(SeriesNameError::Tag("host".into())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeriesNameError {
    /// The name is empty or has a character that it may not have.
    #[error(
        "{0:?} is no name of a series: it has at least one character and none of {{ }} , = @ or control characters"
    )]
    Name(String),
    /// A tag isn't `NAME=VALUE`.
    #[error("{0:?} is no tag: a tag is NAME=VALUE, without {{ }} or , in it, and without @ in its name")]
    Tag(String),
    /// A tag is there twice.
    #[error("the tag {0:?} is there twice")]
    Twice(String),
    /// Text behind the closing brace, or no closing brace.
    #[error("{0:?} is no series: tags stand in braces at the end, as in cpu{{host=a,zone=eu}}")]
    Braces(String),
    /// Too long, or too many tags.
    #[error(
        "a series has a name with tags of at most {SERIES_BYTES_MAX} bytes and {TAGS_MAX} tags, not {bytes} and {tags}"
    )]
    TooLong {
        /// Bytes of its name with tags.
        bytes: usize,
        /// Its tags.
        tags: usize,
    },
}

/// The name of a series with its tags. Tags are in the order of their names, so that a series has one spelling.
///
/// ```
/// use outcrop_client::timeseries::SeriesName;
///
/// let name = SeriesName::new("cpu").tag("zone", "eu").tag("host", "a");
/// assert_eq!(name.to_string(), "cpu{host=a,zone=eu}");
/// assert_eq!("cpu{zone=eu,host=a}".parse(), Ok(name));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesName {
    name: String,
    tags: BTreeMap<String, String>,
}

impl SeriesName {
    /// A series without tags. What can't be a name is told when it is used.
    ///
    /// ```
    /// assert_eq!(outcrop_client::timeseries::SeriesName::new("cpu").to_string(), "cpu");
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        SeriesName { name: name.into(), tags: BTreeMap::new() }
    }

    /// With a tag, in place of another of the same name.
    ///
    /// ```
    /// let name = outcrop_client::timeseries::SeriesName::new("cpu").tag("host", "a");
    /// assert_eq!(name.tags()["host"], "a");
    /// ```
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Its name, without tags.
    ///
    /// ```
    /// assert_eq!(outcrop_client::timeseries::SeriesName::new("cpu").tag("host", "a").name(), "cpu");
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tags.
    ///
    /// ```
    /// assert!(outcrop_client::timeseries::SeriesName::new("cpu").tags().is_empty());
    /// ```
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// Checks that it can be the key of a series.
    ///
    /// ```
    /// use outcrop_client::timeseries::SeriesName;
    /// assert!(SeriesName::new("cpu@5").check().is_err(), "that is a block's key");
    /// ```
    pub fn check(&self) -> Result<(), SeriesNameError> {
        let wrong = |letter: char| matches!(letter, '{' | '}' | ',' | '=' | '@') || is_unprintable(letter);
        if self.name.is_empty() || self.name.chars().any(wrong) {
            return Err(SeriesNameError::Name(self.name.clone()));
        }
        for (name, value) in &self.tags {
            let wrong_value = |letter: char| matches!(letter, '{' | '}' | ',') || is_unprintable(letter);
            if name.is_empty() || value.is_empty() || name.chars().any(wrong) || value.chars().any(wrong_value) {
                return Err(SeriesNameError::Tag(format!("{name}={value}")));
            }
        }
        let (bytes, tags) = (self.to_string().len(), self.tags.len());
        if bytes > SERIES_BYTES_MAX || tags > TAGS_MAX {
            return Err(SeriesNameError::TooLong { bytes, tags });
        }
        Ok(())
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (place, (name, value)) in self.tags.iter().enumerate() {
            write!(f, "{}{name}={value}", if place == 0 { '{' } else { ',' })?;
        }
        if self.tags.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

impl FromStr for SeriesName {
    type Err = SeriesNameError;

    fn from_str(text: &str) -> Result<Self, SeriesNameError> {
        let Some((name, rest)) = text.split_once('{') else {
            let series = SeriesName::new(text);
            return series.check().map(|()| series);
        };
        let tags = rest.strip_suffix('}').ok_or_else(|| SeriesNameError::Braces(text.to_owned()))?;
        if tags.contains('}') {
            return Err(SeriesNameError::Braces(text.to_owned()));
        }
        let mut series = SeriesName::new(name);
        for tag in tags.split(',') {
            let (name, value) = tag.split_once('=').ok_or_else(|| SeriesNameError::Tag(tag.to_owned()))?;
            if series.tags.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(SeriesNameError::Twice(name.to_owned()));
            }
        }
        series.check().map(|()| series)
    }
}

/// The key of a block.
pub(super) fn block_key(namespace: &str, set: &str, series: &str, number: i64) -> Key {
    Key::new(namespace, set, format!("{series}@{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_one_spelling() {
        for text in
            ["cpu", "disk used/%", "cpu{host=a}", "cpu{host=a,mail=x@y.z,url=http://h/?a=b&c=d}", "42", "ü{ö=ä}"]
        {
            let name: SeriesName = text.parse().expect(text);
            assert_eq!(name.to_string(), text);
        }
        let name: SeriesName = "cpu{zone=eu,host=a}".parse().expect("a name");
        assert_eq!((name.to_string().as_str(), name.name()), ("cpu{host=a,zone=eu}", "cpu"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        use SeriesNameError as E;
        let error = |text: &str| text.parse::<SeriesName>().expect_err(text);
        for text in ["", "{a=b}", "cpu@1", "a,b", "a=b", "a\nb"] {
            assert!(matches!(error(text), E::Name(_)), "{text:?}");
        }
        for text in ["a{}", "a{b}", "a{b=}", "a{=c}", "a{b=c,}", "a{b@=c}", "a{b={}"] {
            assert!(matches!(error(text), E::Tag(_) | E::Braces(_)), "{text:?}: {:?}", error(text));
        }
        assert_eq!(error("a{b=c,b=d}"), E::Twice("b".to_owned()));
        for text in ["a{b=c", "a{b=c}d", "a{b=c}}"] {
            assert!(matches!(error(text), E::Braces(_)), "{text:?}");
        }
        assert!(matches!(error(&"a".repeat(1_001)), E::TooLong { bytes: 1_001, .. }));
        assert!(SeriesName::new("a".repeat(1_000)).check().is_ok());
    }
}
