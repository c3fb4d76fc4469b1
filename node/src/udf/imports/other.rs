//! `other`: reads of other records of the same namespace, bounded in number, bytes and time.

use outcrop_wire::{KeyRef, StoredRecord};
use wasmtime::Result;

use super::convert::{bin_to_guest, user_key};
use crate::store::read::Stored;
use crate::udf::bindings::outcrop::udf::other::Host;
use crate::udf::bindings::outcrop::udf::types::{AccessError, UserKey, Value};
use crate::udf::state::CallState;
use crate::udf::view::BinView;

/// A record that was looked for, or why it can't be given.
type Found = std::result::Result<Option<Stored>, AccessError>;

impl CallState {
    async fn read_other(&mut self, set: &str, key: UserKey) -> Result<Found> {
        self.charge()?;
        self.charge_read()?;
        let Some(namespace) = self.namespace.clone() else { return Ok(Err(AccessError::NotAllowed)) };
        let key = user_key(key);
        let key = KeyRef { set, user_key: key.borrow() };
        if let Err(error) = key.check() {
            return Ok(Err(AccessError::Invalid(error.to_string())));
        }
        let read = tokio::time::timeout_at(self.deadline, namespace.read(key.digest())).await;
        let Ok(read) = read else {
            self.check_time()?;
            return Ok(Err(AccessError::Unavailable("the call's time is over".to_owned())));
        };
        let (lookup, stored) = match read {
            Ok(read) => read,
            Err(error) => return Ok(Err(AccessError::Unavailable(error.to_string()))),
        };
        self.rests_on = self.rests_on.max(lookup.durable_at);
        self.charge_read_bytes(stored.as_ref().map_or(0, |stored| stored.as_ref().len()))?;
        Ok(Ok(stored))
    }
}

impl Host for CallState {
    async fn read(&mut self, set: String, key: UserKey) -> Result<std::result::Result<Option<Vec<u8>>, AccessError>> {
        let found = self.read_other(&set, key).await?;
        Ok(found.map(|stored| stored.map(|stored| stored.as_ref().to_vec())))
    }

    async fn read_bin(
        &mut self,
        set: String,
        key: UserKey,
        bin: String,
    ) -> Result<std::result::Result<Option<Value>, AccessError>> {
        let stored = match self.read_other(&set, key).await? {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        Ok(bin_of(stored.as_ref(), &bin))
    }
}

fn bin_of(stored: &[u8], name: &str) -> std::result::Result<Option<Value>, AccessError> {
    let unavailable = |error: String| AccessError::Unavailable(error);
    let record = StoredRecord::parse(stored).map_err(|error| unavailable(error.to_string()))?;
    let bin = outcrop_wire::peek::bin(record.archive, name).map_err(|error| unavailable(error.to_string()))?;
    bin.map(|value| bin_to_guest(&BinView::Stored(value))).transpose()
}
