//! The record at hand, asked of the node by its accessors.

use outcrop_wire::{Ttl, UserKey, Value};

use crate::bindings::outcrop::udf::record;
use crate::bindings::outcrop::udf::types::{AccessError, Ttl as WitTtl, UserKey as WitKey, Value as WitValue};
use crate::codec;
use crate::context::host::of_access;
use crate::error::Error;

/// The node's record at hand: there is one, so this holds nothing.
#[derive(Debug)]
pub(crate) struct Source;

fn of_bin(name: &str) -> impl Fn(AccessError) -> Error {
    move |error| of_access(error, &format!("bin {name:?}"))
}

fn of_record(error: AccessError) -> Error {
    of_access(error, "the record")
}

impl Source {
    pub(crate) fn exists(&self) -> bool {
        record::exists()
    }

    pub(crate) fn set_name(&self) -> String {
        record::set()
    }

    pub(crate) fn key(&self) -> UserKey {
        match record::key() {
            WitKey::Integer(number) => UserKey::Int(number),
            WitKey::Text(text) => UserKey::Text(text),
            WitKey::Bytes(bytes) => UserKey::Bytes(bytes),
        }
    }

    pub(crate) fn generation(&self) -> u32 {
        record::generation()
    }

    pub(crate) fn expiry_secs(&self) -> u32 {
        record::expiry_secs()
    }

    pub(crate) fn last_update_ms(&self) -> u64 {
        record::last_update_ms()
    }

    pub(crate) fn stored(&self) -> Option<Vec<u8>> {
        record::stored()
    }

    pub(crate) fn bin_names(&self) -> Vec<String> {
        record::bin_names()
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Error> {
        record::bin_get_integer(name).map_err(of_bin(name))
    }

    pub(crate) fn scalar(&self, name: &str) -> Result<Option<Value>, Error> {
        let Some(value) = record::bin_get(name).map_err(of_bin(name))? else { return Ok(None) };
        Ok(Some(match value {
            WitValue::Null => Value::Null,
            WitValue::Boolean(value) => Value::Bool(value),
            WitValue::Integer(value) => Value::Int(value),
            WitValue::Float(value) => Value::Float(value),
            WitValue::Text(value) => Value::Text(value),
            WitValue::Bytes(value) => Value::Bytes(value),
            WitValue::Archived(archive) => codec::of_archive_value(&archive)?,
            WitValue::Json(_) => match self.archived(name)? {
                Some(archive) => codec::of_archive_value(&archive)?,
                None => return Ok(None),
            },
        }))
    }

    pub(crate) fn archived(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        record::bin_get_archived(name).map_err(of_bin(name))
    }

    pub(crate) fn set_integer(&mut self, name: &str, value: i64) -> Result<(), Error> {
        record::bin_set_integer(name, value).map_err(of_bin(name))
    }

    pub(crate) fn set_value(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let value = match value {
            Value::Null => WitValue::Null,
            Value::Bool(value) => WitValue::Boolean(value),
            Value::Int(value) => WitValue::Integer(value),
            Value::Float(value) => WitValue::Float(value),
            Value::Text(value) => WitValue::Text(value),
            Value::Bytes(value) => WitValue::Bytes(value),
            nested => WitValue::Archived(codec::archive_value(&nested)?),
        };
        record::bin_set(name, &value).map_err(of_bin(name))
    }

    pub(crate) fn add(&mut self, name: &str, delta: i64) -> Result<i64, Error> {
        record::bin_add(name, delta).map_err(of_bin(name))
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Error> {
        record::bin_remove(name).map_err(of_bin(name))
    }

    pub(crate) fn replace(&mut self, archive: &[u8]) -> Result<(), Error> {
        record::replace(archive).map_err(of_record)
    }

    pub(crate) fn delete(&mut self) -> Result<(), Error> {
        record::delete().map_err(of_record)
    }

    pub(crate) fn set_ttl(&mut self, ttl: Ttl) -> Result<(), Error> {
        let ttl = match ttl {
            Ttl::Default => WitTtl::Default,
            Ttl::Never => WitTtl::Never,
            Ttl::Keep => WitTtl::Keep,
            Ttl::Secs(secs) => WitTtl::Seconds(secs),
        };
        record::set_ttl(ttl).map_err(of_record)
    }
}
