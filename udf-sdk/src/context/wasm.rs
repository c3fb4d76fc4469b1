//! The call under way, asked of the node.

use outcrop_wire::UserKey;

use super::Level;
use crate::bindings::outcrop::udf::types::{AccessError, LogLevel, UserKey as WitKey};
use crate::bindings::outcrop::udf::{context, other};
use crate::error::Error;

pub(crate) fn now_ms() -> u64 {
    context::now_ms()
}

pub(crate) fn seed() -> u64 {
    context::seed()
}

pub(crate) fn namespace() -> String {
    context::namespace()
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    context::log(level, message);
}

pub(crate) fn count(name: &str, delta: u64) {
    context::count(name, delta);
}

pub(crate) fn other_record(set: &str, key: &UserKey) -> Result<Option<Vec<u8>>, Error> {
    other::read(set, &to_wit(key)).map_err(|error| of_access(error, "another record"))
}

fn to_wit(key: &UserKey) -> WitKey {
    match key {
        UserKey::Int(number) => WitKey::Integer(*number),
        UserKey::Text(text) => WitKey::Text(text.clone()),
        UserKey::Bytes(bytes) => WitKey::Bytes(bytes.clone()),
    }
}

/// An accessor's refusal as an error that says what it was about.
pub(crate) fn of_access(error: AccessError, what: &str) -> Error {
    match error {
        AccessError::NotAllowed => Error::new("not-allowed", format!("{what}: not allowed in this kind of function")),
        AccessError::Invalid(why) => Error::new("invalid", format!("{what}: {why}")),
        AccessError::WrongType(held) => Error::new(Error::WRONG_TYPE, format!("{what} holds {held}")),
        AccessError::Overflow => Error::new("overflow", format!("{what}: the sum is over 64 bits")),
        AccessError::Unavailable(why) => Error::new("unavailable", format!("{what}: {why}")),
    }
}
