//! `record`: the record at hand, read as stored and staged, and written as a draft.

use outcrop_wire::archive::{access_bins, decode_bins};
use outcrop_wire::limits::{BIN_NAME_BYTES_MAX, BINS_MAX, TTL_SECS_MAX};
use outcrop_wire::{Code, Value as Owned};
use wasmtime::{Error, Result};

use super::convert::{bin_to_guest, damaged, from_guest, guest_key};
use crate::udf::bindings::outcrop::udf::record::Host;
use crate::udf::bindings::outcrop::udf::types::{AccessError, Ttl, UserKey, Value};
use crate::udf::outcome::Failed;
use crate::udf::state::{CallState, Work};
use crate::udf::view::BinView;

type Access<T> = std::result::Result<T, AccessError>;

impl CallState {
    /// Whether this function may write.
    fn may_write(&self) -> Access<()> {
        match self.work {
            Work::Record { read_only: false } => Ok(()),
            _ => Err(AccessError::NotAllowed),
        }
    }

    /// Sets a bin of the draft. A guest that gathers more than any record could have, even while it puts new bins in the
    /// place of old ones, ends: its bins lie in the node's memory, not in its own.
    fn stage(&mut self, name: String, value: Owned) -> Result<Access<()>> {
        if let Err(error) = self.may_write() {
            return Ok(Err(error));
        }
        if name.len() > BIN_NAME_BYTES_MAX {
            let message = format!("a bin name has at most {BIN_NAME_BYTES_MAX} bytes, this one has {}", name.len());
            return Ok(Err(AccessError::Invalid(message)));
        }
        match self.view.set(name, value, BINS_MAX) {
            Ok(true) => {}
            Ok(false) => return Ok(Err(AccessError::Invalid(format!("a record has at most {BINS_MAX} bins")))),
            Err(error) => return Ok(Err(damaged(&error))),
        }
        let record_bytes_max = self.namespace.as_ref().map_or(0, |namespace| namespace.policy.record_bytes_max);
        if self.view.draft_bytes() > 2 * record_bytes_max {
            let bytes = self.view.draft_bytes();
            let message = format!("the bins that were set have {bytes} bytes, a record at most {record_bytes_max}");
            return Err(Error::new(Failed::new(Code::RecordTooLarge, message)));
        }
        Ok(Ok(()))
    }

    /// Removes a bin; one that isn't there is no write.
    fn unstage(&mut self, name: &str) -> Access<bool> {
        self.may_write()?;
        let there = self.view.bin(name).map_err(|error| damaged(&error))?.is_some();
        if there {
            self.view.remove(name).map_err(|error| damaged(&error))?;
        }
        Ok(there)
    }

    fn integer(&self, name: &str) -> Access<Option<i64>> {
        match self.view.bin(name).map_err(|error| damaged(&error))? {
            None => Ok(None),
            Some(bin) => match bin.integer() {
                Some(number) => Ok(Some(number)),
                None => Err(AccessError::WrongType(bin.type_name().to_owned())),
            },
        }
    }
}

impl Host for CallState {
    fn exists(&mut self) -> Result<bool> {
        self.charge()?;
        Ok(self.view.header().is_some())
    }

    fn set(&mut self) -> Result<String> {
        self.charge()?;
        Ok(self.view.key().map(|key| key.set.to_owned()).unwrap_or_default())
    }

    fn key(&mut self) -> Result<UserKey> {
        self.charge()?;
        Ok(self.view.key().map_or(UserKey::Bytes(Vec::new()), |key| guest_key(key.user_key)))
    }

    fn generation(&mut self) -> Result<u32> {
        self.charge()?;
        Ok(self.view.header().map_or(0, |header| header.generation))
    }

    fn expiry_secs(&mut self) -> Result<u32> {
        self.charge()?;
        Ok(self.view.header().map_or(0, |header| header.expiry_secs))
    }

    fn last_update_ms(&mut self) -> Result<u64> {
        self.charge()?;
        Ok(self.view.header().map_or(0, |header| header.last_update_ms))
    }

    fn stored(&mut self) -> Result<Option<Vec<u8>>> {
        self.charge()?;
        Ok(self.view.stored().map(<[u8]>::to_vec))
    }

    fn bin_names(&mut self) -> Result<Vec<String>> {
        self.charge()?;
        // Damaged bins have no names; reading one of them says what is wrong.
        Ok(self.view.bin_names().unwrap_or_default())
    }

    fn bin_get(&mut self, name: String) -> Result<Access<Option<Value>>> {
        self.charge()?;
        let bin = self.view.bin(&name).map_err(|error| damaged(&error));
        Ok(bin.and_then(|bin| bin.as_ref().map(bin_to_guest).transpose()))
    }

    fn bin_get_archived(&mut self, name: String) -> Result<Access<Option<Vec<u8>>>> {
        self.charge()?;
        let bin = self.view.bin(&name).map_err(|error| damaged(&error));
        Ok(bin.and_then(|bin| bin.as_ref().map(BinView::to_archive).transpose().map_err(AccessError::Invalid)))
    }

    fn bin_get_integer(&mut self, name: String) -> Result<Access<Option<i64>>> {
        self.charge()?;
        Ok(self.integer(&name))
    }

    fn bin_set(&mut self, name: String, value: Value) -> Result<Access<()>> {
        self.charge()?;
        if let Err(error) = self.may_write() {
            return Ok(Err(error));
        }
        match from_guest(value) {
            Ok(value) => self.stage(name, value),
            Err(error) => Ok(Err(error)),
        }
    }

    fn bin_set_integer(&mut self, name: String, value: i64) -> Result<Access<()>> {
        self.charge()?;
        self.stage(name, Owned::Int(value))
    }

    fn bin_add(&mut self, name: String, delta: i64) -> Result<Access<i64>> {
        self.charge()?;
        let sum = self
            .may_write()
            .and_then(|()| self.integer(&name)?.unwrap_or(0).checked_add(delta).ok_or(AccessError::Overflow));
        match sum {
            Ok(sum) => Ok(self.stage(name, Owned::Int(sum))?.map(|()| sum)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn bin_remove(&mut self, name: String) -> Result<Access<bool>> {
        self.charge()?;
        Ok(self.unstage(&name))
    }

    fn replace(&mut self, bins: Vec<u8>) -> Result<Access<()>> {
        self.charge()?;
        if let Err(error) = self.may_write() {
            return Ok(Err(error));
        }
        if let Err(error) = access_bins(&bins) {
            return Ok(Err(AccessError::Invalid(error.to_string())));
        }
        match decode_bins(&bins) {
            Ok(bins) => self.view.replace(bins),
            Err(error) => return Ok(Err(AccessError::Invalid(error.to_string()))),
        }
        Ok(Ok(()))
    }

    fn delete(&mut self) -> Result<Access<()>> {
        self.charge()?;
        let allowed = self.may_write();
        if allowed.is_ok() {
            self.view.delete();
        }
        Ok(allowed)
    }

    fn set_ttl(&mut self, ttl: Ttl) -> Result<Access<()>> {
        self.charge()?;
        if let Err(error) = self.may_write() {
            return Ok(Err(error));
        }
        let ttl = match ttl {
            Ttl::Default => outcrop_wire::Ttl::Default,
            Ttl::Never => outcrop_wire::Ttl::Never,
            Ttl::Keep => outcrop_wire::Ttl::Keep,
            Ttl::Seconds(secs) if (1..=TTL_SECS_MAX).contains(&secs) => outcrop_wire::Ttl::Secs(secs),
            Ttl::Seconds(secs) => {
                let message = format!("a time to live is 1 to {TTL_SECS_MAX} seconds, not {secs}");
                return Ok(Err(AccessError::Invalid(message)));
            }
        };
        self.view.set_ttl(ttl);
        Ok(Ok(()))
    }
}
