//! The call under way: its time, its seed, its log lines and counters.

#[cfg(not(target_arch = "wasm32"))]
#[path = "native.rs"]
pub(crate) mod host;
#[cfg(target_arch = "wasm32")]
#[path = "wasm.rs"]
pub(crate) mod host;

/// Where a log line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warn,
    /// Something is wrong.
    Error,
}

/// Milliseconds since 1970, read once when the call began.
pub fn now_ms() -> u64 {
    host::now_ms()
}

/// A number for seeding pseudo-randomness ([`crate::Rng`]), different for each call.
pub fn seed() -> u64 {
    host::seed()
}

/// The namespace's name.
pub fn namespace() -> String {
    host::namespace()
}

/// Writes a line to the node's log and the call's trace, and to the caller if he asked for it. Lines and bytes of a
/// call are bounded; what is beyond is counted and dropped. The macros [`crate::info!`] and its like are shorter.
pub fn log(level: Level, message: &str) {
    host::log(level, message);
}

/// Adds to a counter of the module, which its statistics show. A module has at most 64 names.
pub fn count(name: &str, delta: u64) {
    host::count(name, delta);
}

/// Logs for the author: `debug!("{} of {}", done, all)`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log($crate::Level::Debug, &::std::format!($($message)+)) };
}

/// Logs what is worth knowing: `info!("{} now costs {}", record.key(), price)`.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log($crate::Level::Info, &::std::format!($($message)+)) };
}

/// Logs what somebody should look at.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log($crate::Level::Warn, &::std::format!($($message)+)) };
}

/// Logs that something is wrong.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log($crate::Level::Error, &::std::format!($($message)+)) };
}
