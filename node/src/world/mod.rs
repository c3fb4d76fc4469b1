//! The world outside: the wall clock and randomness, behind traits that a simulation stands in for; and the heartbeat
//! that interrupts guests.
//!
//! Architecture invariant: no other room of the node reads a wall clock or draws unseeded randomness. Monotonic time is
//! `tokio::time`, which a simulation can pause and drive.

mod clock;
mod entropy;
mod pulse;

pub use clock::{Clock, ManualClock, SystemClock};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use pulse::{Pulse, PulseUser};
