//! JSON documents, read and changed where a JSONPath points, through the `document` module that comes with every node.
//!
//! A document is a record and its members are the bins, so that it may be of any serde type that becomes an object:
//! [`crate::Client::put`] and scans read and write the same documents. What is done here is done beside the data: parts
//! are picked, changed, counted by the node, each change is one write, all or nothing.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Lamp { name: String, price: i64, tags: Vec<String> }
//!
//! # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::documents::DocumentError> {
//! let shop = client.documents("test", "shop");
//! let lamp = shop.document("lamp");
//! lamp.set(&Lamp { name: "lamp".into(), price: 80, tags: vec!["new".into()] }).await?;
//! let sums: Vec<i64> = lamp.increment("$.price", &-5).await?;
//! let tags: Vec<String> = lamp.select("$.tags[*]").await?;
//!
//! let mut cheap = shop.query::<Lamp>("@.price < 100 && @.tags[?@ == 'new']");
//! while let Some(found) = cheap.next().await {
//!     let found = found?;
//!     println!("{}: {}", found.key, found.document.price);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Paths are JSONPath (RFC 9535); a filter is the inside of `[?…]`, with `@` for the document.

mod document;
mod error;
mod set;

pub use document::Document;
pub use error::DocumentError;
pub use set::{Distinct, DistinctValue, Documents, Found, Query};
