//! Why a function refuses: a message for people and a short code for programs.

use std::borrow::Cow;
use std::fmt;

/// A function's own failure. The caller gets message and code; nothing that the call staged happens.
///
/// `?` makes one of a text, and of the errors of this crate and of the standard library; of any other error,
/// [`Error::of`] does. A function may as well return `Result<T, Box<dyn std::error::Error>>`.
///
/// ```
/// use outcrop_udf::Error;
///
/// fn parse(text: &str) -> Result<i64, Error> {
///     let number: i64 = text.trim().parse()?;
///     if number < 0 {
///         return Err(Error::new("negative", format!("{number} is below zero")));
///     }
///     Ok(number)
/// }
/// assert_eq!(parse("-1").unwrap_err().code(), "negative");
/// assert_eq!(parse("one").unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: Cow<'static, str>,
    message: String,
}

/// What functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The code of an error that was given none.
    pub const FAILED: &'static str = "failed";
    /// The code of arguments that don't fit the function.
    pub const INVALID_ARGUMENTS: &'static str = "invalid-arguments";
    /// The code of a bin whose value is of another type.
    pub const WRONG_TYPE: &'static str = "wrong-type";
    /// The code of a bin that isn't there.
    pub const NO_BIN: &'static str = "no-bin";
    /// The code of an archive that can't be read.
    pub const MALFORMED: &'static str = "malformed";

    /// An error with a code of its own.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Error { code: code.into(), message: message.into() }
    }

    /// The arguments don't fit.
    pub fn invalid_arguments(message: impl Into<String>) -> Self {
        Error::new(Error::INVALID_ARGUMENTS, message)
    }

    /// Any error, with what caused it.
    ///
    /// ```
    /// # use outcrop_udf::Error;
    /// let read = "1,5".parse::<std::net::IpAddr>().map_err(Error::of);
    /// assert_eq!(read.unwrap_err().to_string(), "invalid IP address syntax");
    /// ```
    pub fn of(error: impl std::error::Error) -> Self {
        Error::new(Error::FAILED, chain(&error))
    }

    /// A short name for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What went wrong, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says what was being done when it went wrong: `what: message`.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Error { code: self.code, message: format!("{what}: {}", self.message) }
    }
}

/// An error and its causes, unless its own text ends with the cause's.
fn chain(error: &dyn std::error::Error) -> String {
    const CAUSES_MAX: usize = 8;
    let mut message = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(found) = cause else { break };
        let text = found.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = found.source();
    }
    message
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Error::new(Error::FAILED, message)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Error::new(Error::FAILED, message)
    }
}

impl From<Box<dyn std::error::Error>> for Error {
    fn from(error: Box<dyn std::error::Error>) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::new(Error::FAILED, chain(&*other)),
        }
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Error {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Error::from(error as Box<dyn std::error::Error>)
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(error: std::convert::Infallible) -> Self {
        match error {}
    }
}

macro_rules! from_errors {
    ($($kind:ty => $code:expr),* $(,)?) => {
        $(impl From<$kind> for Error {
            fn from(error: $kind) -> Self {
                Error::new($code, chain(&error))
            }
        })*
    };
}

from_errors! {
    fmt::Error => Error::FAILED,
    std::array::TryFromSliceError => Error::FAILED,
    std::char::ParseCharError => Error::FAILED,
    std::char::CharTryFromError => Error::FAILED,
    std::io::Error => Error::FAILED,
    std::num::ParseFloatError => Error::FAILED,
    std::num::ParseIntError => Error::FAILED,
    std::num::TryFromIntError => Error::FAILED,
    std::str::ParseBoolError => Error::FAILED,
    std::str::Utf8Error => Error::FAILED,
    std::string::FromUtf8Error => Error::FAILED,
    std::time::SystemTimeError => Error::FAILED,
    outcrop_wire::KeyError => Error::FAILED,
    outcrop_wire::archive::ArchiveError => Error::MALFORMED,
    outcrop_wire::peek::PeekError => Error::MALFORMED,
    outcrop_wire::stored::StoredError => Error::MALFORMED,
    postcard::Error => Error::MALFORMED,
}

/// Returns an error at once: `bail!("no stock of {name}")`, or with a code `bail!(code: "no-stock", "none of {name}")`.
#[macro_export]
macro_rules! bail {
    (code: $code:expr, $($message:tt)+) => {
        return ::std::result::Result::Err(::std::convert::Into::into($crate::Error::new($code, ::std::format!($($message)+))))
    };
    ($($message:tt)+) => {
        return ::std::result::Result::Err(::std::convert::Into::into($crate::Error::from(::std::format!($($message)+))))
    };
}

/// [`bail!`] unless the condition holds: `ensure!(count > 0, "there is nothing to divide by")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            $crate::bail!($($message)+);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boxed_error_keeps_its_code() {
        fn fails() -> Result<(), Box<dyn std::error::Error>> {
            bail!(code: "no-stock", "none of {}", 3)
        }
        let error = Error::from(fails().unwrap_err());
        assert_eq!((error.code(), error.message()), ("no-stock", "none of 3"));
    }

    #[test]
    fn texts_options_and_std_errors_pass_through_the_question_mark() {
        fn run(text: &str) -> Result<u8> {
            let number: u8 = text.parse::<i32>()?.try_into()?;
            ensure!(number != 7, "seven");
            Some(number).filter(|n| *n != 8).ok_or("eight")?;
            Err(format!("number {number}"))?
        }
        let text = |input| run(input).unwrap_err().to_string();
        assert_eq!(text("7"), "seven");
        assert_eq!(text("8"), "eight");
        assert_eq!(text("9"), "number 9");
        assert!(text("300").contains("out of range"));
    }
}
