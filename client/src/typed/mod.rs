//! Serde between types and values, and errors that name the field.

pub(crate) mod de;
pub(crate) mod dynamic;
pub(crate) mod key;
pub(crate) mod ser;

use std::fmt;

use thiserror::Error;

/// Why a type doesn't fit a record, with the path to the field.
///
/// ```
/// use outcrop_client::{Bins, ClientError, Value, bins::from_bins};
///
/// #[derive(serde::Deserialize, Debug)]
/// struct Order { lines: Vec<u8> }
/// let bins = Bins::new().with("lines", vec![Value::Int(1), Value::Int(256)]);
/// let error = from_bins::<Order>(&bins).expect_err("256 is no u8");
/// assert!(matches!(&error, ClientError::Typed(typed) if typed.path() == "lines[1]"), "{error}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct TypedError {
    path: String,
    message: String,
}

impl TypedError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        TypedError { path: String::new(), message: message.into() }
    }

    /// Where it is: `lines[1].name`; empty for the value itself.
    ///
    /// ```
    /// use outcrop_client::{ClientError, bins::to_bins};
    /// let error = to_bins(&std::collections::BTreeMap::from([("wide", u64::MAX)])).unwrap_err();
    /// assert!(matches!(error, ClientError::Typed(typed) if typed.path() == "wide"));
    /// ```
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    ///
    /// ```
    /// use outcrop_client::{ClientError, bins::to_bins};
    /// let error = to_bins(&1).unwrap_err();
    /// assert!(matches!(error, ClientError::Typed(typed) if typed.message().contains("integer")));
    /// ```
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// The error while serde is at work: the path grows on the way out, innermost first.
#[derive(Debug)]
pub(crate) struct PathError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    message: String,
    steps: Vec<Step>,
}

/// One step of the path.
#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
}

impl PathError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        PathError(Box::new(Inner { message: message.into(), steps: Vec::new() }))
    }

    pub(crate) fn in_field(mut self, name: impl fmt::Display) -> Self {
        self.0.steps.push(Step::Field(name.to_string()));
        self
    }

    pub(crate) fn at_index(mut self, index: usize) -> Self {
        self.0.steps.push(Step::Index(index));
        self
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for PathError {}

impl serde::ser::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        PathError::new(message.to_string())
    }
}

impl serde::de::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        PathError::new(message.to_string())
    }
}

impl From<PathError> for TypedError {
    fn from(error: PathError) -> Self {
        let mut path = String::new();
        for step in error.0.steps.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        TypedError { path, message: error.0.message }
    }
}
