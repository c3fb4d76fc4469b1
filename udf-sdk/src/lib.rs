//! Functions that run inside an Outcrop node, written as plain Rust and tested without a node.
//!
//! ```
//! use outcrop_udf::prelude::*;
//!
//! /// Takes `percent` off the price and gives the new price.
//! #[record_fn]
//! fn discount(record: &mut Record, percent: f64) -> Result<f64> {
//!     ensure!((0.0..=100.0).contains(&percent), "a discount is 0 to 100 percent, not {percent}");
//!     let price: f64 = record.get("price")?.ok_or("the product has no price")?;
//!     let reduced = price * (1.0 - percent / 100.0);
//!     record.set("price", reduced)?;
//!     info!("{} now costs {reduced}", record.key());
//!     Ok(reduced)
//! }
//!
//! outcrop_udf::module! {
//!     doc: "What the shop does to its products.",
//!     functions: [discount],
//! }
//!
//! # fn main() {
//! // In a test the function is what it looks like: a function.
//! let mut product = Record::fake().bin("price", 80.0).build();
//! assert_eq!(discount(&mut product, 25.0).unwrap(), 60.0);
//! assert_eq!(product.get::<f64>("price").unwrap(), Some(60.0));
//! # }
//! ```
//!
//! | kind | attribute | what it is |
//! |---|---|---|
//! | record | [`record_fn`](macro@record_fn) on a function | reads and changes one record, all or nothing; also runs as a background job |
//! | aggregate | [`aggregate`](macro@aggregate) on an [`impl Aggregate`](Aggregate) | one result of many records, made in parallel |
//! | row | [`row_fn`](macro@row_fn) on a function or an [`impl Rows`](Rows) | filters and maps the records of a scan |
//!
//! Built for `wasm32-unknown-unknown`, a module talks to the node that it runs in; built for anything else, to a fake
//! record ([`Record::fake`]) and a fake context ([`fake::Context`]), so that `cargo test` runs the very same functions.
//!
//! There is no clock, no randomness and no environment in a module: [`now_ms`] and [`seed`] are fixed for a call.

#![cfg_attr(test, allow(clippy::unwrap_used))]

// The macros name this crate from the outside; its own tests use them as well.
extern crate self as outcrop_udf;

mod aggregate;
#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod allocator;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
mod codec;
mod context;
mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
#[doc(hidden)]
pub mod guest;
mod module;
pub mod other;
mod record;
mod rng;
mod row;
pub mod shape;
mod view;

pub use aggregate::Aggregate;
pub use codec::{Bytes, Raw, archived};
pub use context::{Level, count, log, namespace, now_ms, seed};
pub use error::{Error, Result};
pub use module::{Entry, Function, Module, Run};
pub use outcrop_udf_macros::{Shape, aggregate, record_fn, row_fn};
pub use outcrop_wire::peek::PeekValue;
pub use outcrop_wire::{Bins, MapKey, Ttl, UserKey, UserKeyRef, Value};
pub use record::Record;
pub use rng::Rng;
pub use row::{Row, Rows};
pub use view::{Batch, RecordView};

/// What a module's source needs, in one line.
pub mod prelude {
    pub use crate::{
        Aggregate, Error, Record, RecordView, Result, Row, Rows, Shape, Ttl, Value, aggregate, bail, count, debug,
        ensure, error, info, now_ms, other, record_fn, row_fn, warn,
    };
}
