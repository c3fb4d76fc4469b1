//! Log lines: a filter and a format, to standard error. The one process-wide thing, so only the binary sets it up.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::options::{LogFormat, TelemetryOptions};

/// Why logs can't be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter isn't one.
    #[error("{filter:?} isn't a log filter such as `info` or `warn,outcrop_node::store=debug`: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else in this process has set up logs already.
    #[error("logs are set up already in this process: {0}")]
    AlreadySet(String),
}

/// Checks a filter.
///
/// # Errors
/// [`LogError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter { filter: filter.chars().take(120).collect(), reason };
    // A bare word that is no level counts as a target at full volume; `inof` must not turn everything on.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for part in filter.split(',').map(str::trim) {
        let word = part.chars().all(|c| c.is_ascii_alphanumeric());
        if word && !part.is_empty() && !levels.contains(&part.to_ascii_lowercase().as_str()) {
            return Err(wrong(format!("`{part}` is no level (off, error, warn, info, debug, trace)")));
        }
    }
    EnvFilter::builder().with_regex(false).parse(filter).map_err(|error| wrong(error.to_string()))
}

/// Sends this process's log lines to standard error. Call it once, in `main`, and nowhere else.
///
/// # Errors
/// A wrong filter, or logs that were set up before.
pub fn init(options: &TelemetryOptions) -> Result<(), LogError> {
    let lines = fmt().with_env_filter(parse(&options.log)?).with_writer(std::io::stderr);
    let result = match options.log_format {
        // In a file or a collector, colours are noise.
        LogFormat::Text if !std::io::stderr().is_terminal() => lines.with_ansi(false).try_init(),
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| LogError::AlreadySet(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for right in ["info", "warn,outcrop_node::store=debug", "off", "", "outcrop_node=trace,quinn=error"] {
            assert!(check_filter(right).is_ok(), "{right}");
        }
        for wrong in ["inof", "info,verbose", "a=b=c", "outcrop_node=loud"] {
            assert!(check_filter(wrong).is_err(), "{wrong}");
        }
    }
}
