//! Rows from CSV: a header names the bins; every row has as many fields as the header, or is reported.

use std::io::Read;
use std::ops::ControlFlow;

use csv::{ByteRecord, ReaderBuilder, StringRecord};
use outcrop_wire::limits::{BIN_NAME_BYTES_MAX, BINS_MAX};
use outcrop_wire::{Bin, Bins, UserKey, archive};

use super::meter::Metered;
use super::{KeyField, KeyType, PRINTED_KEY_FIELD, Row, RowOptions, RowsError};
use super::{key_of_cell, key_of_number, key_of_printed, value_from_cell};

/// Reads a header and its rows.
pub(super) fn read(
    input: Metered<impl Read>,
    options: &RowOptions,
    each: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<(), RowsError> {
    let (meter, line_ending) = (input.row_meter(), input.line_ending());
    let mut reader =
        ReaderBuilder::new().flexible(true).has_headers(true).delimiter(options.delimiter).from_reader(input);
    let header = reader.headers().map_err(|error| failure(0, error))?.clone();
    let columns = Columns::new(&header, options)?;
    let mut fields = ByteRecord::new();
    let mut number = 0;
    loop {
        number += 1;
        meter.reset();
        if !reader.read_byte_record(&mut fields).map_err(|error| failure(number, error))? {
            return Ok(());
        }
        // The reader ends a row at its carriage return and counts the line feed to the next row.
        let line = fields.position().map_or(0, csv::Position::line) + u64::from(line_ending.is_crlf());
        let content = columns.record(&fields, number);
        if each(Row { number, line, bytes: fields.as_slice().len(), content }).is_break() {
            return Ok(());
        }
    }
}

/// What the header says.
struct Columns<'a> {
    header: &'a StringRecord,
    key: KeyColumn,
    key_type: KeyType,
}

enum KeyColumn {
    RowNumber,
    Printed(usize),
    Named(usize),
}

impl<'a> Columns<'a> {
    fn new(header: &'a StringRecord, options: &RowOptions) -> Result<Self, RowsError> {
        if header.is_empty() {
            return Err(RowsError::Header("the file is empty; its first line has to name the fields".to_owned()));
        }
        if header.len() > BINS_MAX {
            return Err(RowsError::Header(format!("a record has at most {BINS_MAX} bins, not {}", header.len())));
        }
        for (place, name) in header.iter().enumerate() {
            if name.len() > BIN_NAME_BYTES_MAX {
                let message = format!("a bin name has at most {BIN_NAME_BYTES_MAX} bytes, not {}", name.len());
                return Err(RowsError::Header(message));
            }
            if header.iter().take(place).any(|earlier| earlier == name) {
                return Err(RowsError::Header(format!("the field {name:?} is there twice")));
            }
        }
        let place = |wanted: &str| {
            header.iter().position(|name| name == wanted).ok_or_else(|| {
                let names: Vec<&str> = header.iter().take(20).collect();
                RowsError::Header(format!("there is no field {wanted:?} for the key, but {}", names.join(", ")))
            })
        };
        let key = match &options.key {
            KeyField::RowNumber => KeyColumn::RowNumber,
            KeyField::Printed => KeyColumn::Printed(place(PRINTED_KEY_FIELD)?),
            KeyField::Named(name) => KeyColumn::Named(place(name)?),
        };
        Ok(Columns { header, key, key_type: options.key_type })
    }

    fn record(&self, fields: &ByteRecord, number: u64) -> Result<(UserKey, Bins), String> {
        if fields.len() != self.header.len() {
            return Err(format!("it has {} fields, the header has {}", fields.len(), self.header.len()));
        }
        let cell = |place: usize| {
            let name = &self.header[place];
            std::str::from_utf8(&fields[place]).map_err(|_| format!("the field {name:?} isn't UTF-8 text"))
        };
        let key = match self.key {
            KeyColumn::RowNumber => key_of_number(number),
            KeyColumn::Printed(place) => key_of_printed(cell(place)?)?,
            KeyColumn::Named(place) => key_of_cell(cell(place)?, self.key_type)?,
        };
        let mut bins = Bins::new();
        for (place, name) in self.header.iter().enumerate() {
            if !matches!(self.key, KeyColumn::Printed(column) if column == place) {
                bins.bins.push(Bin { name: name.to_owned(), value: value_from_cell(cell(place)?) });
            }
        }
        archive::check_bins(&bins).map_err(|error| error.to_string())?;
        Ok((key, bins))
    }
}

fn failure(row: u64, error: csv::Error) -> RowsError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => RowsError::Read { row, source },
        csv::ErrorKind::Utf8 { .. } if row == 0 => RowsError::Header("it isn't UTF-8 text".to_owned()),
        other => RowsError::Form { line, row, message: format!("{other:?}") },
    }
}
