//! The world outside: the wall clock and randomness, behind traits that a simulation stands in for.
//!
//! Architecture invariant: no other room of the node reads a wall clock or draws unseeded randomness. Monotonic time is
//! `tokio::time`, which a simulation can pause and drive.

mod clock;
mod entropy;

pub use clock::{Clock, ManualClock, SystemClock};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
