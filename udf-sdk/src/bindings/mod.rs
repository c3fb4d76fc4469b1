//! The WIT world `outcrop:udf/module` as Rust: generated code, and nothing else.
//!
//! `generated.rs` is what `wit-bindgen` makes of `wit/udf.wit`; the test `bindings` fails if it is anything else, and
//! says how to make it anew. It lies here ready-made so that a module builds in seconds, without the generator. Calls
//! through the component model's ABI are `unsafe`, which this module alone allows (docs/decisions, 0008).

#[rustfmt::skip]
#[allow(unsafe_code, missing_docs, unused, clippy::all, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
mod generated;

pub use generated::*;
