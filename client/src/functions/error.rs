//! What a failed function tells: its own words, where it failed, which limit it hit, what it had logged.

use std::fmt;

use outcrop_wire::archive::decode_value_or_null;
use outcrop_wire::reply::Details;
use outcrop_wire::{Code, MapKey, TypedError, Value, typed};
use serde::Deserialize;

use super::called::LogLine;

/// A call, query, upload or job that the node refused or that the function itself ended, with all that is known of why.
///
/// ```
/// use outcrop_client::{ClientError, Code, FunctionError};
///
/// fn explain(error: &ClientError) -> String {
///     match error.function() {
///         Some(FunctionError { code: Code::FunctionFailed, failure_code: Some(code), message, .. }) => {
///             format!("the function says {code}: {message}")
///         }
///         Some(failed) => format!("{failed}\n{}", failed.backtrace.join("\n")),
///         None => error.to_string(),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionError {
    /// Why, as a stable number.
    pub code: Code,
    /// Why, in words; of [`Code::FunctionFailed`] the function's own.
    pub message: String,
    /// The module, as far as the node told.
    pub module: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The function.
    pub function: Option<String>,
    /// The function's own short name for the failure.
    pub failure_code: Option<String>,
    /// Where it trapped, innermost first.
    pub backtrace: Vec<String>,
    /// The limit that it hit.
    pub limit: Option<LimitHit>,
    /// What it had logged until then.
    pub logs: Vec<LogLine>,
}

/// A limit that a function hit.
///
/// ```
/// let hit = outcrop_client::LimitHit { name: "fuel".into(), allowed: 1_000, used: 1_001 };
/// assert_eq!(hit.to_string(), "fuel: 1001 of 1000");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LimitHit {
    /// Its name, as [`super::ModuleLimits`] has it.
    pub name: String,
    /// What is allowed.
    pub allowed: u64,
    /// What was used or asked for.
    #[serde(default)]
    pub used: u64,
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}", self.name, self.used, self.allowed)
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for FunctionError {}

/// The details of an error as the node sends them; all of it may be missing.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Told {
    module: Option<String>,
    version: Option<String>,
    function: Option<String>,
    failure_code: Option<String>,
    backtrace: Vec<String>,
    limit: Option<LimitHit>,
    logs: Vec<LogLine>,
}

impl FunctionError {
    /// Takes an error's details apart. Details that can't be read don't hide the error that they belong to.
    pub(crate) fn parse(code: Code, details: Details<'_>) -> Self {
        let message = String::from_utf8_lossy(details.message).into_owned();
        let message = if message.is_empty() { code.meaning().to_owned() } else { message };
        let told = decode_value_or_null(details.details).ok().and_then(|value| read(&value).ok()).unwrap_or_default();
        let Told { module, version, function, failure_code, backtrace, limit, logs } = told;
        FunctionError { code, message, module, version, function, failure_code, backtrace, limit, logs }
    }
}

fn read(details: &Value) -> Result<Told, TypedError> {
    match details {
        Value::Map(entries) if entries.iter().all(|(key, _)| matches!(key, MapKey::Text(_))) => {
            typed::from_value(details)
        }
        _ => Ok(Told::default()),
    }
}

#[cfg(test)]
mod tests {
    use outcrop_wire::archive::archive_value;

    use super::*;

    fn parse(details: &[u8]) -> FunctionError {
        FunctionError::parse(Code::FunctionTrapped, Details { message: b"divided by zero", details })
    }

    #[test]
    fn all_that_the_node_tells_is_there() {
        let text = |text: &str| Value::from(text);
        let map = |entries: Vec<(&str, Value)>| {
            Value::Map(entries.into_iter().map(|(key, value)| (MapKey::from(key), value)).collect())
        };
        let details = map(vec![
            ("module", text("shop")),
            ("version", text("1.2.0")),
            ("function", text("discount")),
            ("failure_code", text("too-much")),
            ("backtrace", Value::List(vec![text("discount at src/lib.rs:7")])),
            ("limit", map(vec![("name", text("fuel")), ("allowed", 10.into()), ("used", 11.into())])),
            ("logs", Value::List(vec![map(vec![("level", text("warn")), ("message", text("15 %"))])])),
            ("something", text("that a later version tells")),
        ]);
        let error = parse(&archive_value(&details).expect("within the limits"));
        assert_eq!((error.code, error.message.as_str()), (Code::FunctionTrapped, "divided by zero"));
        assert_eq!(error.module.as_deref(), Some("shop"));
        assert_eq!((error.version.as_deref(), error.function.as_deref()), (Some("1.2.0"), Some("discount")));
        assert_eq!(error.failure_code.as_deref(), Some("too-much"));
        assert_eq!(error.backtrace, ["discount at src/lib.rs:7"]);
        assert_eq!(error.limit, Some(LimitHit { name: "fuel".to_owned(), allowed: 10, used: 11 }));
        assert_eq!(error.logs[0].message, "15 %");
        assert_eq!(error.to_string(), "function_trapped: divided by zero");
    }

    #[test]
    fn details_that_are_damaged_or_something_else_leave_the_message() {
        let list = archive_value(&Value::List(vec![])).expect("within the limits");
        let wrong = archive_value(&Value::Map(vec![(MapKey::from("backtrace"), 1.into())])).expect("within the limits");
        for details in [&[][..], &[255; 40], &list, &wrong] {
            let error = parse(details);
            assert_eq!((error.message.as_str(), error.backtrace.len()), ("divided by zero", 0));
        }
    }
}
