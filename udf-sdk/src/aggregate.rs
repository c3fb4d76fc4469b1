//! Aggregates: one result of many records, made of parts that run side by side and merge.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::view::RecordView;

/// One result of many records: put `#[aggregate]` on the `impl`.
///
/// The node runs several at once, each over a share of the records, and merges them; so a result must not depend on
/// the order of records, or of merges. The value itself is the state; it travels in `postcard`'s format, which
/// [`Aggregate::save`] and [`Aggregate::load`] may replace.
///
/// ```
/// use outcrop_udf::prelude::*;
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Revenue {
///     cents: i64,
/// }
///
/// /// Price times stock over all records.
/// #[aggregate]
/// impl Aggregate for Revenue {
///     type Args = ();
///     type Output = i64;
///
///     fn init(_: ()) -> Result<Self> {
///         Ok(Revenue::default())
///     }
///
///     fn accept(&mut self, record: &RecordView) -> Result<()> {
///         let price = record.get::<i64>("price_cents")?.unwrap_or(0);
///         self.cents += price * record.get::<i64>("stock")?.unwrap_or(0);
///         Ok(())
///     }
///
///     fn merge(&mut self, other: Self) -> Result<()> {
///         self.cents += other.cents;
///         Ok(())
///     }
///
///     fn finish(self) -> Result<i64> {
///         Ok(self.cents)
///     }
/// }
///
/// let product = |price: i64, stock: i64| Record::fake().bin("price_cents", price).bin("stock", stock).build();
/// let sum = outcrop_udf::fake::run_aggregate::<Revenue>((), &[product(100, 2), product(250, 4)]);
/// assert_eq!(sum.unwrap(), 1_200);
/// ```
pub trait Aggregate: Serialize + DeserializeOwned + Sized + 'static {
    /// All that the caller sent: `()` for nothing, a struct for arguments by name, a tuple for arguments by place.
    type Args: DeserializeOwned;
    /// The result.
    type Output: Serialize;

    /// The state before any record.
    fn init(arguments: Self::Args) -> Result<Self, Error>;

    /// Takes one record into the state.
    fn accept(&mut self, record: &RecordView<'_>) -> Result<(), Error>;

    /// Takes the state of other records into this one.
    fn merge(&mut self, other: Self) -> Result<(), Error>;

    /// The result of the state.
    fn finish(self) -> Result<Self::Output, Error>;

    /// The state as bytes, for [`Aggregate::load`] of the same module elsewhere.
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(postcard::to_allocvec(self)?)
    }

    /// The state of bytes that [`Aggregate::save`] made.
    fn load(bytes: &[u8]) -> Result<Self, Error> {
        Ok(postcard::from_bytes(bytes)?)
    }
}
