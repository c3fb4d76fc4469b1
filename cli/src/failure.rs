//! What a command ends with: exit codes that scripts can use, and errors as one line what and one line what to do.

use outcrop_client::{ClientError, Code, FunctionError, MapKey, Retry, Value};

use crate::json::to_text;
use crate::output::{OutputFormat, object};

/// Exit codes of the `outcrop` command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// There is no such record.
    NotFound = 1,
    /// The command line, a document, a file's form or a configuration is wrong; nothing was done.
    Usage = 2,
    /// Some rows are in or out, some aren't; the report says which.
    Partial = 3,
    /// A condition didn't hold: the record exists already, or has another generation.
    Refused = 4,
    /// The node can't be reached, is overloaded or shuts down; nothing was done, try again.
    Unavailable = 5,
    /// A write may or may not have happened; read the record.
    Indeterminate = 6,
    /// The node refused for another reason; `outcrop codes` lists them.
    Other = 7,
    /// A file, device or port of this machine can't be used.
    Local = 8,
    /// It was interrupted (ctrl-c), as shells number it; writes under way may or may not have happened.
    Interrupted = 130,
}

impl Exit {
    /// The exit code for a node's code.
    pub fn of_code(code: Code) -> Exit {
        match code {
            Code::Ok => Exit::Ok,
            Code::NotFound => Exit::NotFound,
            Code::AlreadyExists | Code::GenerationMismatch => Exit::Refused,
            Code::Overloaded | Code::HotKey | Code::DeadlineExceeded | Code::Draining | Code::TooManyStreams => {
                Exit::Unavailable
            }
            Code::Indeterminate => Exit::Indeterminate,
            _ => Exit::Other,
        }
    }
}

/// Why a command failed, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// The node's code, if it is one.
    pub code: Option<Code>,
    /// A stable name: the code's, or `usage`, `local`, `connect` and so on.
    pub name: &'static str,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub advice: String,
    /// Whether the same command may be run again.
    pub retry: Retry,
    /// What a function tells of its own failure.
    pub function: Option<Box<FunctionError>>,
    /// Standard output was closed by whoever reads it: the command ends without a word.
    pub silent: bool,
}

impl Failure {
    fn new(exit: Exit, name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        let (message, advice) = (message.into(), advice.into());
        Failure { exit, code: None, name, message, advice, retry: Retry::Never, function: None, silent: false }
    }

    /// What was written on the command line can't be.
    pub fn usage(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, "usage", message, advice)
    }

    /// Something of this machine can't be used.
    pub fn local(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Failure::new(Exit::Local, "local", message, advice)
    }

    /// Some are in, some aren't.
    pub fn partial(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Failure::new(Exit::Partial, "partial", message, advice)
    }

    /// A node's code with a message of our own.
    pub fn of_code(code: Code, message: impl Into<String>) -> Self {
        let failure = Failure::new(Exit::of_code(code), code.name(), message, code.advice());
        Failure { code: Some(code), retry: code.retry(), ..failure }
    }

    /// Writing to standard output or to a file failed.
    pub fn of_output(place: &str, error: &std::io::Error) -> Self {
        let silent = error.kind() == std::io::ErrorKind::BrokenPipe;
        let failure =
            Failure::local(format!("writing {place}: {error}"), "Check the file, its directory and its disk.");
        Failure { silent, ..failure }
    }

    /// Writes it to standard error: two lines for people, one JSON object for programs.
    pub fn print(&self, output: OutputFormat) {
        if self.silent {
            return;
        }
        match output {
            OutputFormat::Json => eprintln!("{}", self.to_json()),
            OutputFormat::Table => {
                eprintln!("error: {}", self.message);
                self.details().iter().chain((!self.advice.is_empty()).then_some(&self.advice)).for_each(|line| {
                    eprintln!("  {line}");
                });
            }
        }
    }

    /// What a function tells beside its message, for people: which it was, what it had logged, where it trapped.
    pub fn details(&self) -> Vec<String> {
        let Some(function) = &self.function else { return Vec::new() };
        let mut lines = Vec::new();
        let at = function.version.as_ref().map_or(String::new(), |version| format!("@{version}"));
        let place = match (&function.module, &function.function) {
            (Some(module), Some(name)) if !name.contains('.') => Some(format!("{module}{at}.{name}")),
            (_, Some(path)) => Some(path.clone()),
            (Some(module), None) => Some(format!("{module}{at}")),
            (None, None) => None,
        };
        if let Some(place) = place {
            let code = function.failure_code.as_ref().map_or(String::new(), |code| format!(", code {code}"));
            lines.push(format!("in {place}{code}"));
        }
        lines.extend(function.limit.as_ref().map(|limit| format!("limit {limit}")));
        lines.extend(function.logs.iter().map(|line| format!("log  {}: {}", line.level, line.message)));
        if !function.backtrace.is_empty() {
            lines.push("backtrace:".to_owned());
            let own = function.backtrace.iter().take_while(|line| is_panic_machinery(line)).count();
            // If there is nothing but machinery, better that than nothing.
            let skipped = if own < function.backtrace.len() { own } else { 0 };
            let frames = function.backtrace.iter().enumerate().skip(skipped);
            lines.extend(frames.map(|(place, line)| format!("{place:>4}: {line}")));
        }
        lines
    }

    /// `{"error":{"code":…,"name":…,"message":…,"retry":…,"advice":…}}`.
    pub fn to_json(&self) -> String {
        let retry = match self.retry {
            Retry::Never => "never",
            Retry::Backoff => "backoff",
            Retry::IfIdempotent => "if_idempotent",
        };
        let field = |name: &str, value: Value| (MapKey::from(name), value);
        let mut error = vec![
            field("code", self.code.map_or(Value::Null, |code| Value::Int((code as u16).into()))),
            field("name", self.name.into()),
            field("message", self.message.as_str().into()),
            field("retry", retry.into()),
            field("advice", self.advice.as_str().into()),
        ];
        error.extend(self.function.as_ref().map(|function| field("function", function_json(function))));
        to_text(&Value::Map(vec![field("error", Value::Map(error))]))
    }
}

/// Frames of Rust's library that only say that there was a panic.
fn is_panic_machinery(frame: &str) -> bool {
    const MACHINERY: [&str; 8] = [
        "__rustc::",
        "std::panicking",
        "std::process::abort",
        "std::sys::",
        "core::panicking",
        "core::option::expect_failed",
        "core::option::unwrap_failed",
        "core::result::unwrap_failed",
    ];
    MACHINERY.iter().any(|prefix| frame.starts_with(prefix))
}

/// All that a function tells, as a JSON object; fields that it doesn't tell are null or empty.
fn function_json(function: &FunctionError) -> Value {
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let limit = function.limit.as_ref().map_or(Value::Null, |limit| {
        object([("name", limit.name.as_str().into()), ("allowed", number(limit.allowed)), ("used", number(limit.used))])
    });
    let logs = function
        .logs
        .iter()
        .map(|line| object([("level", line.level.as_str().into()), ("message", line.message.as_str().into())]));
    object([
        ("module", text(&function.module)),
        ("version", text(&function.version)),
        ("function", text(&function.function)),
        ("failure_code", text(&function.failure_code)),
        ("limit", limit),
        ("backtrace", Value::List(function.backtrace.iter().map(|line| line.as_str().into()).collect())),
        ("logs", Value::List(logs.collect())),
    ])
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (exit, name) = match (&error, error.code()) {
            // Refused before it was sent: what was written here is wrong.
            (ClientError::Key(_) | ClientError::Archive(_) | ClientError::Request(_), Some(code)) => {
                (Exit::Usage, code.name())
            }
            (_, Some(code)) => (Exit::of_code(code), code.name()),
            (ClientError::Connect { .. }, None) => (Exit::Unavailable, "connect"),
            (ClientError::Closed { .. }, None) => (Exit::Unavailable, "closed"),
            (ClientError::Url(_), None) => (Exit::Usage, "url"),
            (ClientError::Trust(_), None) => (Exit::Local, "trust"),
            (_, None) => (Exit::Other, "protocol"),
        };
        Failure {
            exit,
            code: error.code(),
            name,
            message: error.to_string(),
            advice: error.advice().to_owned(),
            retry: error.retry(),
            function: error.function().cloned().map(Box::new),
            silent: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_exit_code_of_its_kind() {
        for code in Code::ALL {
            let exit = Exit::of_code(*code);
            assert_eq!(exit == Exit::Ok, *code == Code::Ok);
            // 1, 4, 5 and 6 promise that nothing was done, or that nobody knows; no other code may claim that.
            let promises = matches!(exit, Exit::NotFound | Exit::Refused | Exit::Unavailable | Exit::Indeterminate);
            assert_eq!(promises, (300..=302).contains(&(*code as u16)) || matches!(*code as u16, 400..=404 | 406));
        }
    }

    #[test]
    fn a_backtrace_begins_with_the_author_s_code() {
        assert!(is_panic_machinery("core::panicking::panic_fmt at shop.wasm:0x22027"));
        assert!(is_panic_machinery("__rustc::rust_begin_unwind at /rustc/5980/library/std/src/panicking.rs:689"));
        assert!(!is_panic_machinery("shop::broken at shop.wasm:0x4336"));
    }

    #[test]
    fn errors_as_json() {
        let failure = Failure::of_code(Code::AlreadyExists, "test/a/\"1\"");
        let json = "{\"error\":{\"code\":301,\"name\":\"already_exists\",\"message\":\"test/a/\\\"1\\\"\",\"retry\":\"never\",\
                    \"advice\":\"Read it, or write with another mode.\"}}";
        assert_eq!(failure.to_json(), json);
        let closed = ClientError::Closed { message: "gone".to_owned() };
        assert_eq!(Failure::from(closed).exit, Exit::Unavailable);
    }
}
