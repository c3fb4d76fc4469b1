//! Standing in for a node in tests: records, the context of a call, and runs of aggregates and row functions.
//!
//! What a test sees here is what the node does, with two exceptions: nothing is limited (host calls, log lines, bytes,
//! time), and other records have to be put into the [`Context`].

pub(crate) mod context;
mod record;

use outcrop_wire::Value;
use serde::de::DeserializeOwned;

pub use context::{Context, Entered};
pub use record::{FakeRecord, Outcome};

use crate::aggregate::Aggregate;
use crate::codec;
use crate::error::Error;
use crate::module::{Module, Run};
use crate::record::Record;
use crate::row::Rows;

/// Runs an aggregate over records as a node does: in two instances, whose states are saved, loaded and merged.
pub fn run_aggregate<A: Aggregate>(arguments: A::Args, records: &[Record]) -> Result<A::Output, Error>
where
    A::Args: Clone,
{
    let mut merged = A::init(arguments.clone())?;
    for share in records.chunks(records.len().div_ceil(2).max(1)) {
        let mut instance = A::init(arguments.clone())?;
        for record in share {
            if let Some(view) = record.view()? {
                instance.accept(&view)?;
            }
        }
        merged.merge(A::load(&instance.save()?)?)?;
    }
    merged.finish()
}

/// Runs a row function over records: the rows of those that it didn't leave out.
pub fn run_rows<R: Rows>(arguments: R::Args, records: &[Record]) -> Result<Vec<R::Row>, Error> {
    let mut running = R::init(arguments)?;
    let mut rows = Vec::new();
    for record in records {
        if let Some(view) = record.view()? {
            rows.extend(running.row(&view)?);
        }
    }
    Ok(rows)
}

/// Calls a record function of a module by its name, with arguments as a caller sends them.
///
/// ```
/// use outcrop_udf::prelude::*;
/// use outcrop_udf::{MapKey, fake};
///
/// #[record_fn]
/// fn add(record: &mut Record, #[default(1_i64)] by: i64) -> Result<i64> {
///     record.add("n", by)
/// }
/// outcrop_udf::module! { doc: "Counters.", functions: [add] }
///
/// # fn main() {
/// let mut record = Record::fake().build();
/// let by_name = Value::Map(vec![(MapKey::from("by"), Value::Int(5))]);
/// assert_eq!(fake::call::<i64>(&MODULE, "add", &mut record, by_name).unwrap(), 5);
/// assert_eq!(fake::call::<i64>(&MODULE, "add", &mut record, Value::Null).unwrap(), 6);
/// let error = fake::call::<i64>(&MODULE, "add", &mut record, Value::from("five")).unwrap_err();
/// assert_eq!(error.code(), "invalid-arguments");
/// # }
/// ```
pub fn call<T: DeserializeOwned>(
    module: &Module,
    function: &str,
    record: &mut Record,
    arguments: Value,
) -> Result<T, Error> {
    let missing = || Error::new("no-function", format!("the module has no function {function:?}"));
    let Run::Record(run) = module.find(function).ok_or_else(missing)?.run else {
        return Err(Error::new("no-function", format!("{function:?} is no record function")));
    };
    codec::of_archive(&run(record, &codec::archive_value(&arguments)?)?)
}
