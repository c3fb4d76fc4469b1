//! Archives: values to bytes once at the client, bytes validated once on entry, read in place ever after.
//!
//! Archives use rkyv with little-endian, unaligned primitives and 32-bit relative pointers, so one is valid at any
//! address: in a frame, in a segment, in a guest's memory. Validation bounds nesting, names, numbers of bins and
//! doubles before anything trusts the bytes.

use std::num::NonZeroUsize;

use rkyv::api::high::HighSerializer;
use rkyv::rancor::Strategy;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use thiserror::Error;

use crate::fault::Fault;
use crate::limits::{BIN_NAME_BYTES_MAX, BINS_MAX, OPERATIONS_MAX, RECORD_BYTES_CEILING, VALUE_DEPTH_MAX};
use crate::operation::{ArchivedMapKey, ArchivedOperation, MapKey, Operation};
use crate::record::{ArchivedBins, Bins};
use crate::value::{ArchivedValue, Value};

/// Why bytes aren't an archive that may be stored, or a value can't become one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchiveError {
    /// Pointers, tags or text of the archive are wrong.
    #[error("the bytes are no archive of format version 1: {0}")]
    Malformed(String),
    /// Nested too deep.
    #[error("values nest at most {VALUE_DEPTH_MAX} deep")]
    TooDeep,
    /// A bin name over the limit.
    #[error("a bin name has at most {BIN_NAME_BYTES_MAX} bytes, this one has {0}")]
    BinName(usize),
    /// Too many bins.
    #[error("a record has at most {BINS_MAX} bins, this one has {0}")]
    TooManyBins(usize),
    /// A bin twice.
    #[error("bin {0:?} is there twice")]
    DuplicateBin(String),
    /// A map's key twice.
    #[error("a map has the key {0} twice")]
    DuplicateMapKey(String),
    /// Archived bins over the limit.
    #[error("a record has at most {limit} bytes, this one has {bytes}")]
    TooLarge {
        /// Its archived size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many or no operations.
    #[error("operate takes 1 to {OPERATIONS_MAX} operations, not {0}")]
    Operations(usize),
}

impl From<Fault> for ArchiveError {
    fn from(fault: Fault) -> Self {
        if fault.too_deep { ArchiveError::TooDeep } else { ArchiveError::Malformed(fault.message) }
    }
}

/// Each list or map may open one subtree for itself, one for its keys' text; a few more for the root and bins.
const SUBTREE_DEPTH_MAX: usize = VALUE_DEPTH_MAX + 6;

type Checker<'a> = Strategy<Validator<ArchiveValidator<'a>, ()>, Fault>;

fn access<'a, T>(bytes: &'a [u8]) -> Result<&'a T, ArchiveError>
where
    T: rkyv::Portable + for<'b> rkyv::bytecheck::CheckBytes<Checker<'b>>,
{
    let depth = NonZeroUsize::new(SUBTREE_DEPTH_MAX);
    let mut validator = Validator::new(ArchiveValidator::with_max_depth(bytes, depth), ());
    rkyv::api::access_with_context::<T, _, Fault>(bytes, &mut validator).map_err(ArchiveError::from)
}

type Serializer<'a> = HighSerializer<AlignedVec, ArenaHandle<'a>, Fault>;

fn archive(value: &impl for<'a> rkyv::Serialize<Serializer<'a>>) -> Result<Vec<u8>, ArchiveError> {
    Ok(rkyv::to_bytes::<Fault>(value)?.into_vec())
}

/// Archives bins, checked against every limit first (`RECORD_BYTES_CEILING` for the size; a namespace may allow less).
pub fn archive_bins(bins: &Bins) -> Result<Vec<u8>, ArchiveError> {
    check_bins(bins)?;
    let bytes = archive(bins)?;
    if bytes.len() > RECORD_BYTES_CEILING {
        return Err(ArchiveError::TooLarge { bytes: bytes.len(), limit: RECORD_BYTES_CEILING });
    }
    Ok(bytes)
}

/// Archives the record of plain bytes without building a [`Bins`] first: one copy of `value`, in its final place.
pub fn archive_unnamed(value: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    if value.len() > RECORD_BYTES_CEILING {
        return Err(ArchiveError::TooLarge { bytes: value.len(), limit: RECORD_BYTES_CEILING });
    }
    archive_bins(&Bins::unnamed(value))
}

/// Validates archived bins whole: structure, depth, names, doubles. What the node does once, on entry.
pub fn access_bins(bytes: &[u8]) -> Result<&ArchivedBins, ArchiveError> {
    let archived = access::<ArchivedBins>(bytes)?;
    if archived.bins.len() > BINS_MAX {
        return Err(ArchiveError::TooManyBins(archived.bins.len()));
    }
    for bin in archived.bins.iter() {
        if bin.name.len() > BIN_NAME_BYTES_MAX {
            return Err(ArchiveError::BinName(bin.name.len()));
        }
        check_archived(&bin.value, VALUE_DEPTH_MAX)?;
    }
    check_unique(archived.bins.len(), |place| archived.bins[place].name.as_str(), duplicate_bin)?;
    Ok(archived)
}

/// Validates and copies out.
pub fn decode_bins(bytes: &[u8]) -> Result<Bins, ArchiveError> {
    let archived = access_bins(bytes)?;
    Ok(rkyv::deserialize::<Bins, Fault>(archived)?)
}

/// An owned copy of one archived value.
pub fn to_value(archived: &ArchivedValue) -> Result<Value, ArchiveError> {
    Ok(rkyv::deserialize::<Value, Fault>(archived)?)
}

/// Archives the steps of an `operate`.
pub fn archive_operations(operations: &Vec<Operation>) -> Result<Vec<u8>, ArchiveError> {
    if operations.is_empty() || operations.len() > OPERATIONS_MAX {
        return Err(ArchiveError::Operations(operations.len()));
    }
    operations.iter().try_for_each(check_operation)?;
    archive(operations)
}

fn check_operation(operation: &Operation) -> Result<(), ArchiveError> {
    match operation {
        Operation::Put { value, .. }
        | Operation::Add { amount: value, .. }
        | Operation::Append { value, .. }
        | Operation::Prepend { value, .. }
        | Operation::ListAppend { value, .. }
        | Operation::ListInsert { value, .. }
        | Operation::ListRemove { value, .. }
        | Operation::MapPut { value, .. } => check_value(value)?,
        _ => {}
    }
    match operation.bin() {
        Some(name) if name.len() > BIN_NAME_BYTES_MAX => Err(ArchiveError::BinName(name.len())),
        _ => Ok(()),
    }
}

/// Validates and copies out the steps of an `operate`.
pub fn decode_operations(bytes: &[u8]) -> Result<Vec<Operation>, ArchiveError> {
    let archived = access::<rkyv::vec::ArchivedVec<ArchivedOperation>>(bytes)?;
    if archived.is_empty() || archived.len() > OPERATIONS_MAX {
        return Err(ArchiveError::Operations(archived.len()));
    }
    let operations = rkyv::deserialize::<Vec<Operation>, Fault>(archived)?;
    operations.iter().try_for_each(check_operation)?;
    Ok(operations)
}

/// Archives result values (of `operate`).
pub fn archive_values(values: &Vec<Value>) -> Result<Vec<u8>, ArchiveError> {
    archive(values)
}

/// Validates and copies out result values.
pub fn decode_values(bytes: &[u8]) -> Result<Vec<Value>, ArchiveError> {
    let archived = access::<rkyv::vec::ArchivedVec<ArchivedValue>>(bytes)?;
    Ok(rkyv::deserialize::<Vec<Value>, Fault>(archived)?)
}

/// Archives one value, checked for depth and doubled keys: arguments and results of functions, reports, details.
pub fn archive_value(value: &Value) -> Result<Vec<u8>, ArchiveError> {
    check_value(value)?;
    archive(value)
}

/// Validates one archived value whole: structure, depth, doubled keys.
pub fn access_value(bytes: &[u8]) -> Result<&ArchivedValue, ArchiveError> {
    let archived = access::<ArchivedValue>(bytes)?;
    check_archived(archived, VALUE_DEPTH_MAX)?;
    Ok(archived)
}

/// Validates and copies out one value.
pub fn decode_value(bytes: &[u8]) -> Result<Value, ArchiveError> {
    to_value(access_value(bytes)?)
}

/// [`decode_value`], where no bytes at all stand for null (arguments, options).
pub fn decode_value_or_null(bytes: &[u8]) -> Result<Value, ArchiveError> {
    if bytes.is_empty() { Ok(Value::Null) } else { decode_value(bytes) }
}

/// Checks bins against every limit but the size.
pub fn check_bins(bins: &Bins) -> Result<(), ArchiveError> {
    if bins.bins.len() > BINS_MAX {
        return Err(ArchiveError::TooManyBins(bins.bins.len()));
    }
    for bin in &bins.bins {
        if bin.name.len() > BIN_NAME_BYTES_MAX {
            return Err(ArchiveError::BinName(bin.name.len()));
        }
        check_value(&bin.value)?;
    }
    check_unique(bins.bins.len(), |place| bins.bins[place].name.as_str(), duplicate_bin)
}

/// Checks depth and doubled map keys of a value.
pub fn check_value(value: &Value) -> Result<(), ArchiveError> {
    check_value_within(value, VALUE_DEPTH_MAX)
}

fn check_value_within(value: &Value, depth_left: usize) -> Result<(), ArchiveError> {
    match value {
        Value::List(_) | Value::Map(_) if depth_left == 0 => Err(ArchiveError::TooDeep),
        Value::List(items) => items.iter().try_for_each(|item| check_value_within(item, depth_left - 1)),
        Value::Map(entries) => {
            check_unique(entries.len(), |place| &entries[place].0, duplicate_map_key)?;
            entries.iter().try_for_each(|(_, item)| check_value_within(item, depth_left - 1))
        }
        _ => Ok(()),
    }
}

fn check_archived(value: &ArchivedValue, depth_left: usize) -> Result<(), ArchiveError> {
    match value {
        ArchivedValue::List(_) | ArchivedValue::Map(_) if depth_left == 0 => Err(ArchiveError::TooDeep),
        ArchivedValue::List(items) => items.iter().try_for_each(|item| check_archived(item, depth_left - 1)),
        ArchivedValue::Map(entries) => {
            check_unique(entries.len(), |place| archived_key_order(&entries[place].0), duplicate_map_key)?;
            entries.iter().try_for_each(|entry| check_archived(&entry.1, depth_left - 1))
        }
        _ => Ok(()),
    }
}

/// An archived key in a form that orders and prints as [`MapKey`] does.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum KeyOrder<'a> {
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn archived_key_order(key: &ArchivedMapKey) -> KeyOrder<'_> {
    match key {
        ArchivedMapKey::Int(number) => KeyOrder::Int(number.to_native()),
        ArchivedMapKey::Text(text) => KeyOrder::Text(text.as_str()),
        ArchivedMapKey::Bytes(bytes) => KeyOrder::Bytes(bytes.as_slice()),
    }
}

fn duplicate_bin(name: &&str) -> ArchiveError {
    ArchiveError::DuplicateBin((*name).to_owned())
}

fn duplicate_map_key(key: &impl std::fmt::Debug) -> ArchiveError {
    let text = format!("{key:?}");
    ArchiveError::DuplicateMapKey(text.chars().take(200).collect())
}

/// Few keys are compared pairwise, many are sorted: a hostile map of 100,000 keys must not cost 10^10 comparisons.
pub(crate) fn check_unique<K: Ord>(
    count: usize,
    key: impl Fn(usize) -> K,
    duplicate: impl Fn(&K) -> ArchiveError,
) -> Result<(), ArchiveError> {
    const PAIRWISE_MAX: usize = 16;
    if count <= PAIRWISE_MAX {
        for place in 1..count {
            let this = key(place);
            if (0..place).any(|earlier| key(earlier) == this) {
                return Err(duplicate(&this));
            }
        }
        return Ok(());
    }
    let mut sorted: Vec<K> = (0..count).map(key).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(duplicate(&pair[0])),
        None => Ok(()),
    }
}

/// An owned copy of an archived key.
pub fn to_map_key(key: &ArchivedMapKey) -> MapKey {
    match archived_key_order(key) {
        KeyOrder::Int(number) => MapKey::Int(number),
        KeyOrder::Text(text) => MapKey::Text(text.to_owned()),
        KeyOrder::Bytes(bytes) => MapKey::Bytes(bytes.to_vec()),
    }
}
