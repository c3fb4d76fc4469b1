//! The way to the node: a few QUIC connections, on each a few lanes, and streams of their own for what is large or long.
//!
//! A request's way: [`lane::Lane::submit`] takes a slot and writes the frame into the lane's buffer under one lock; the
//! lane's writer task hands all that has gathered to quinn as one chunk; the reader task takes every reply that a chunk
//! holds and fills their slots under one lock. No allocation is made for one request.

pub(crate) mod backoff;
pub(crate) mod config;
pub(crate) mod lane;
pub(crate) mod link;
pub(crate) mod pool;
pub(crate) mod single;
pub(crate) mod spread;
pub(crate) mod sweep;

use std::time::Duration;

use thiserror::Error;

/// How a request on the way was lost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Lost {
    /// No answer by its deadline.
    #[error("no answer by the deadline")]
    Expired,
    /// The connection broke before the frame was given to it: the node can't have seen it.
    #[error("the connection broke before the request was sent: {0}")]
    Unsent(String),
    /// The connection broke with the frame on its way, or behind it.
    #[error("the connection broke while the request was under way: {0}")]
    Sent(String),
    /// The node's answer can't be read.
    #[error("{0}")]
    Protocol(String),
}

/// A connection attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectFailure {
    pub(crate) address: String,
    pub(crate) message: String,
    /// A code that the node gave as its reason, if it did.
    pub(crate) code: Option<outcrop_wire::Code>,
}

/// How often requests under way are looked through for passed deadlines; a deadline is enforced to within this.
pub(crate) const SWEEP_PERIOD: Duration = Duration::from_millis(10);
