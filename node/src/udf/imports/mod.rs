//! What a guest may ask of the node: the four interfaces of the world, one room each.
//!
//! Each call is counted before it does anything. What a guest may do wrong and live comes back to it as
//! `access-error`; a bound that is reached ends the call.

mod batch;
mod context;
mod convert;
mod other;
mod record;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use super::bindings::Module;
use super::bindings::outcrop::udf::types;
use super::state::CallState;

/// Interfaces that the node offers, without package and version.
pub const OFFERED: [&str; 5] = ["types", "context", "record", "batch", "other"];

/// A linker with everything that the world offers.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    Module::add_to_linker::<CallState, HasSelf<CallState>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl types::Host for CallState {}
