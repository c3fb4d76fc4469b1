//! The call under way, outside of a node: what the fake context of this thread says.

use outcrop_wire::UserKey;

use super::Level;
use crate::error::Error;
use crate::fake::context::with_current;

pub(crate) fn now_ms() -> u64 {
    with_current(|context| context.now_ms)
}

pub(crate) fn seed() -> u64 {
    with_current(|context| context.seed)
}

pub(crate) fn namespace() -> String {
    with_current(|context| context.namespace.clone())
}

pub(crate) fn log(level: Level, message: &str) {
    with_current(|context| context.log(level, message));
}

pub(crate) fn count(name: &str, delta: u64) {
    with_current(|context| context.count(name, delta));
}

pub(crate) fn other_record(set: &str, key: &UserKey) -> Result<Option<Vec<u8>>, Error> {
    Ok(with_current(|context| context.other_record(set, key)))
}
