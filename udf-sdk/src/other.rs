//! Other records of this node, of the same namespace, as last committed. Their number and bytes are bounded a call.

use outcrop_wire::UserKey;
use serde::de::DeserializeOwned;

use crate::context;
use crate::error::Error;
use crate::view::RecordView;

/// Another record, as it was read.
#[derive(Debug, Clone)]
pub struct OtherRecord {
    stored: Vec<u8>,
}

impl OtherRecord {
    /// Looks at it in place.
    pub fn view(&self) -> Result<RecordView<'_>, Error> {
        RecordView::parse(&self.stored)
    }

    /// A bin; none if it isn't there.
    pub fn get<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<Option<T>, Error> {
        self.view()?.get(name)
    }
}

/// Reads another record whole; none if it doesn't exist.
///
/// ```
/// use outcrop_udf::{fake, other, Record};
///
/// let tax = Record::fake().set("settings").key("tax").bin("percent", 19).build();
/// let _context = fake::Context::new().other(&tax).enter();
/// let found = other::read("settings", "tax").unwrap().unwrap();
/// assert_eq!(found.get::<i64>("percent").unwrap(), Some(19));
/// assert!(other::read("settings", "toll").unwrap().is_none());
/// ```
pub fn read(set: &str, key: impl Into<UserKey>) -> Result<Option<OtherRecord>, Error> {
    Ok(context::host::other_record(set, &key.into())?.map(|stored| OtherRecord { stored }))
}

/// Reads one bin of another record; none if either isn't there.
pub fn read_bin<T: DeserializeOwned + 'static>(
    set: &str,
    key: impl Into<UserKey>,
    bin: &str,
) -> Result<Option<T>, Error> {
    match read(set, key)? {
        Some(record) => record.get(bin),
        None => Ok(None),
    }
}
