//! The server: QUIC listener and streams, TLS, connection limits, and the HTTP admin listener.
//!
//! One worker is one thread with one runtime, one ring and one socket; a connection stays with the worker that its
//! packets reach. A request goes from a stream to its reply without changing thread.

pub mod admin;
pub mod busy_poll;
pub mod connection;
pub mod frames;
pub mod io;
pub mod lane;
pub mod large;
pub mod listen;
pub mod memory;
pub mod query;
mod quic;
pub mod scan;
pub mod session;
pub mod single;
pub mod tls;
pub mod transport;
pub mod waiting;
pub mod worker;
