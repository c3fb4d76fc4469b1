//! One Outcrop node: index, store, verbs and server, put together from parts that a simulation can stand in for.
//!
//! Floors, bottom to top: `options` (settled settings), `world` (clock, randomness), `index` and `telemetry`, `store`,
//! `udf`, `command`, `server`, then `platform`, `config` and `node`. A file imports only floors below its own; `cargo xtask tidy` checks it.

pub mod command;
pub mod config;
pub mod identity;
pub mod index;
pub mod node;
pub mod options;
pub mod platform;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod udf;
pub mod world;

pub use node::Node;
