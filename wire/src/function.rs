//! Names of modules, versions and functions, and the path `module.function` or `module@version.function`.

use std::fmt;

use thiserror::Error;

use crate::limits::{FUNCTION_NAME_BYTES_MAX, MODULE_NAME_BYTES_MAX, MODULE_VERSION_BYTES_MAX};

/// Why a name can't be one of a module, a version or a function.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// A module's name.
    #[error(
        "{0:?} is no name of a module: a lower-case letter, then lower-case letters, digits, `_` and `-`, \
         {MODULE_NAME_BYTES_MAX} at most"
    )]
    Module(String),
    /// A version.
    #[error(
        "{0:?} is no version: a letter or digit, then letters, digits, `.`, `_`, `+` and `-`, \
         {MODULE_VERSION_BYTES_MAX} at most"
    )]
    Version(String),
    /// A function's name.
    #[error(
        "{0:?} is no name of a function: a letter or `_`, then letters, digits, `_` and `-`, \
         {FUNCTION_NAME_BYTES_MAX} at most"
    )]
    Function(String),
    /// Not of the form `module.function`.
    #[error("{0:?} is no function: write module.function or module@version.function")]
    Path(String),
}

/// Characters of a name that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS_MAX).collect()
}

fn is_name(name: &str, bytes_max: usize, first: impl Fn(u8) -> bool, rest: impl Fn(u8) -> bool) -> bool {
    match name.as_bytes() {
        [head, tail @ ..] => name.len() <= bytes_max && first(*head) && tail.iter().all(|byte| rest(*byte)),
        [] => false,
    }
}

/// Checks the name of a module: `[a-z][a-z0-9_-]{0,62}`.
pub fn check_module_name(name: &str) -> Result<(), NameError> {
    let lower = |byte: u8| byte.is_ascii_lowercase();
    let rest = |byte: u8| lower(byte) || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    match is_name(name, MODULE_NAME_BYTES_MAX, lower, rest) {
        true => Ok(()),
        false => Err(NameError::Module(shown(name))),
    }
}

/// Checks a version: `[A-Za-z0-9][A-Za-z0-9._+-]{0,30}`.
pub fn check_module_version(version: &str) -> Result<(), NameError> {
    let first = |byte: u8| byte.is_ascii_alphanumeric();
    let rest = |byte: u8| first(byte) || matches!(byte, b'.' | b'_' | b'+' | b'-');
    match is_name(version, MODULE_VERSION_BYTES_MAX, first, rest) {
        true => Ok(()),
        false => Err(NameError::Version(shown(version))),
    }
}

/// Checks the name of a function: `[A-Za-z_][A-Za-z0-9_-]{0,62}`.
pub fn check_function_name(name: &str) -> Result<(), NameError> {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match is_name(name, FUNCTION_NAME_BYTES_MAX, first, rest) {
        true => Ok(()),
        false => Err(NameError::Function(shown(name))),
    }
}

/// One function of one module; without a version, of the module's active one.
///
/// ```
/// use outcrop_wire::FunctionPath;
///
/// let path = FunctionPath::parse("shop@1.2.0.discount")?;
/// assert_eq!((path.module, path.version, path.function), ("shop", Some("1.2.0"), "discount"));
/// assert_eq!(FunctionPath::parse("shop.discount")?.version, None);
/// # Ok::<(), outcrop_wire::NameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionPath<'a> {
    /// The module.
    pub module: &'a str,
    /// Its version; `None`: the active one.
    pub version: Option<&'a str>,
    /// The function.
    pub function: &'a str,
}

impl<'a> FunctionPath<'a> {
    /// Takes `module.function` or `module@version.function` apart, and checks each name.
    pub fn parse(path: &'a str) -> Result<Self, NameError> {
        let (module, function) = path.rsplit_once('.').ok_or_else(|| NameError::Path(shown(path)))?;
        let (module, version) = match module.split_once('@') {
            Some((module, version)) => (module, Some(version)),
            None => (module, None),
        };
        let path = FunctionPath { module, version, function };
        path.check()?;
        Ok(path)
    }

    /// Checks each name.
    pub fn check(&self) -> Result<(), NameError> {
        check_module_name(self.module)?;
        self.version.map_or(Ok(()), check_module_version)?;
        check_function_name(self.function)
    }

    /// Bytes of its text.
    pub fn byte_len(&self) -> usize {
        self.module.len() + self.version.map_or(0, |version| 1 + version.len()) + 1 + self.function.len()
    }
}

impl fmt::Display for FunctionPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}.{}", self.module, self.function),
            None => write!(f, "{}.{}", self.module, self.function),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_the_last_dot_and_the_first_at() {
        for (text, module, version, function) in [
            ("a.b", "a", None, "b"),
            ("time-series_2.range", "time-series_2", None, "range"),
            ("a@1.b", "a", Some("1"), "b"),
            ("a@1.2.3-rc.1+x._f-2", "a", Some("1.2.3-rc.1+x"), "_f-2"),
        ] {
            let path = FunctionPath::parse(text).expect(text);
            assert_eq!(path, FunctionPath { module, version, function });
            assert_eq!((path.to_string().as_str(), path.byte_len()), (text, text.len()));
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused_by_kind() {
        let long = "m".repeat(64);
        for module in ["", "A", "1a", "-a", "a.b", "a@b", "ä", "a b", &long] {
            assert_eq!(check_module_name(module), Err(NameError::Module(module.to_owned())), "{module}");
        }
        for version in ["", ".1", "-1", "1@2", "1 2", "ü", &long[..32]] {
            assert_eq!(check_module_version(version), Err(NameError::Version(version.to_owned())), "{version}");
        }
        for function in ["", "1f", "-f", "f.g", "f@g", "größe", &long] {
            assert_eq!(check_function_name(function), Err(NameError::Function(function.to_owned())), "{function}");
        }
        assert!(check_module_name(&long[..63]).is_ok() && check_function_name(&long[..63]).is_ok());
        assert!(check_module_version(&long[..31]).is_ok());
        assert_eq!(FunctionPath::parse("plain"), Err(NameError::Path("plain".to_owned())));
        assert_eq!(
            FunctionPath::parse("a@1.2.b.c"),
            Ok(FunctionPath { module: "a", version: Some("1.2.b"), function: "c" })
        );
        assert_eq!(FunctionPath::parse("a@.b"), Err(NameError::Version(String::new())));
        let hostile = FunctionPath::parse(&".".repeat(10_000)).expect_err("no names").to_string();
        assert!(hostile.len() < 400, "{hostile}");
    }
}
