//! Rows of files: a JSON array, JSON values one after another, or CSV; read piece by piece, a bad row never ends it.

mod cell;
mod csv_rows;
mod json_rows;
mod meter;
mod split;

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::ValueEnum;
use outcrop_wire::{Bins, UserKey, Value};
use thiserror::Error;

pub use cell::{cell_from_value, value_from_cell};

use crate::keys::{canonical_int, parse_user_key};

/// Bytes of one row in a file, at most: the largest record with every character escaped fits.
pub const ROW_BYTES_MAX: usize = 64 << 20;

/// The field that stands for a record's key where `export --with-key` wrote it.
pub const PRINTED_KEY_FIELD: &str = "$key";

/// How rows are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One array of documents.
    Json,
    /// Documents one after another, usually one a line.
    Ndjson,
    /// A header, then rows of as many fields.
    Csv,
}

/// Which type a row's key field gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum KeyType {
    /// An integer an integer key, text a text key. In CSV, digits are an integer.
    #[default]
    Auto,
    /// Integer keys, from integers or their digits.
    Int,
    /// Text keys, from text or from integers as digits.
    Text,
}

/// Where a row's key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyField {
    /// The number of the row, from 1.
    RowNumber,
    /// The field `$key`, in the syntax of keys on the command line; it doesn't become a bin.
    Printed,
    /// A field of this name, which stays as a bin.
    Named(String),
}

impl KeyField {
    /// Reads `--key`.
    pub fn parse(text: &str) -> KeyField {
        match text {
            "-" => KeyField::RowNumber,
            PRINTED_KEY_FIELD => KeyField::Printed,
            name => KeyField::Named(name.to_owned()),
        }
    }
}

/// How rows become records.
#[derive(Debug, Clone)]
pub struct RowOptions {
    /// How the file is written.
    pub format: Format,
    /// Where keys come from.
    pub key: KeyField,
    /// Which type keys have.
    pub key_type: KeyType,
    /// What separates the fields of CSV.
    pub delimiter: u8,
}

/// One row: a record, or why it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number, from 1; the header of CSV doesn't count.
    pub number: u64,
    /// The line of the file where it begins, from 1.
    pub line: u64,
    /// Its length in the file, in bytes.
    pub bytes: usize,
    /// The record, or the reason.
    pub content: Result<(UserKey, Bins), String>,
}

/// Why the rest of a file can't be read.
#[derive(Debug, Error)]
pub enum RowsError {
    /// Reading failed.
    #[error("row {row}: {source}")]
    Read {
        /// The row that was being read.
        row: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file isn't what it should be, and where it would go on is unknown.
    #[error("line {line}, row {row}: {message}")]
    Form {
        /// The line.
        line: u64,
        /// The row that was being read.
        row: u64,
        /// What is wrong.
        message: String,
    },
    /// The header of CSV can't be used.
    #[error("the header: {0}")]
    Header(String),
}

/// Reads rows and gives each to `each`, until it breaks. `read_bytes` follows how much of the file has been read.
///
/// # Errors
/// Where the rest of the file can't be read. A row that can't be a record is given to `each` as such.
pub fn read_rows(
    input: impl Read,
    options: &RowOptions,
    read_bytes: Arc<AtomicU64>,
    each: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<(), RowsError> {
    let input = meter::Metered::new(input, read_bytes);
    match options.format {
        Format::Json => json_rows::read(input, options, true, each),
        Format::Ndjson => json_rows::read(input, options, false, each),
        Format::Csv => csv_rows::read(input.bounded(), options, each),
    }
}

/// The key of a value in the key field.
fn key_of_value(value: &Value, key_type: KeyType) -> Result<UserKey, String> {
    let key = match (key_type, value) {
        (KeyType::Auto | KeyType::Int, Value::Int(number)) => UserKey::Int(*number),
        (KeyType::Text, Value::Int(number)) => UserKey::Text(number.to_string()),
        (KeyType::Auto | KeyType::Text, Value::Text(text)) => UserKey::Text(text.clone()),
        (KeyType::Auto, Value::Bytes(bytes)) => UserKey::Bytes(bytes.clone()),
        (KeyType::Int, Value::Text(text)) => match canonical_int(text) {
            Some(number) => UserKey::Int(number),
            None => return Err("the key field isn't an integer".to_owned()),
        },
        (KeyType::Int, _) => return Err(format!("the key field is {}, not an integer", value.type_name())),
        _ => return Err(format!("the key field is {}; a key is an integer or text", value.type_name())),
    };
    checked(key)
}

/// The key of a cell in the key column.
fn key_of_cell(cell: &str, key_type: KeyType) -> Result<UserKey, String> {
    match (key_type, canonical_int(cell)) {
        (KeyType::Auto | KeyType::Int, Some(number)) => Ok(UserKey::Int(number)),
        (KeyType::Int, None) => Err("the key field isn't an integer".to_owned()),
        _ => checked(UserKey::Text(cell.to_owned())),
    }
}

/// The key that `export --with-key` printed.
fn key_of_printed(text: &str) -> Result<UserKey, String> {
    parse_user_key(text).map_err(|error| error.to_string())
}

fn checked(key: UserKey) -> Result<UserKey, String> {
    key.borrow().check().map_err(|error| error.to_string())?;
    Ok(key)
}

/// The key of a row's number.
fn key_of_number(number: u64) -> UserKey {
    UserKey::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
