//! Records as rows of a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use clap::ValueEnum;
use csv::{Terminator, WriterBuilder};
use outcrop_client::{MapKey, RecordView, Value};

use super::columns::Columns;
use crate::failure::Failure;
use crate::json::{bins_to_value, print_value};
use crate::keys::print_user_key;
use crate::rows::{Format, PRINTED_KEY_FIELD, cell_from_value};

/// How lines of CSV end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LineEnding {
    /// A line feed.
    Lf,
    /// Carriage return and line feed, as RFC 4180 has it.
    Crlf,
}

/// Writes rows to a file or to standard output.
pub(super) struct Writer {
    out: BufWriter<Box<dyn Write>>,
    place: String,
    format: Format,
    columns: Columns,
    with_key: bool,
    line_ending: LineEnding,
    rows: u64,
}

impl Writer {
    /// Opens the file and writes what stands in front of the rows.
    pub(super) fn open(
        path: Option<&Path>,
        format: Format,
        columns: Columns,
        with_key: bool,
        line_ending: LineEnding,
    ) -> Result<Self, Failure> {
        let (place, out): (String, Box<dyn Write>) = match path {
            None => ("standard output".to_owned(), Box::new(std::io::stdout().lock())),
            Some(path) => {
                let place = path.display().to_string();
                let file = File::create(path).map_err(|error| Failure::of_output(&place, &error))?;
                (place, Box::new(file))
            }
        };
        let out = BufWriter::with_capacity(64 << 10, out);
        let mut writer = Writer { out, place, format, columns, with_key, line_ending, rows: 0 };
        match format {
            Format::Json => writer.bytes(b"[")?,
            Format::Ndjson => {}
            Format::Csv => {
                let key = with_key.then(|| PRINTED_KEY_FIELD.to_owned());
                let header: Vec<String> = key.into_iter().chain(writer.columns.names().iter().cloned()).collect();
                if !header.is_empty() {
                    let line = writer.csv_line(&header).map_err(|message| Failure::usage(message, "Export NDJSON."))?;
                    writer.bytes(&line)?;
                }
            }
        }
        Ok(writer)
    }

    /// A record as a row; the reason, if it can't be one.
    pub(super) fn render(&self, record: &RecordView) -> Result<Vec<u8>, String> {
        let bins = record.to_bins().map_err(|error| error.to_string())?;
        if self.with_key && bins.get(PRINTED_KEY_FIELD).is_some() {
            return Err(format!("it has a bin {PRINTED_KEY_FIELD} of its own; export it without --with-key"));
        }
        let key = print_user_key(record.key().user_key);
        if self.format == Format::Csv {
            if let Some(bin) = bins.bins.iter().find(|bin| !self.columns.has(&bin.name)) {
                return Err(format!("it was written meanwhile with the new bin {:?}, which has no column", bin.name));
            }
            let cells =
                self.columns.names().iter().map(|name| bins.get(name).map_or_else(String::new, cell_from_value));
            let cells: Vec<String> = self.with_key.then_some(key).into_iter().chain(cells).collect();
            return self.csv_line(&cells);
        }
        let document = if self.with_key {
            let mut entries = vec![(MapKey::from(PRINTED_KEY_FIELD), Value::Text(key))];
            entries.extend(bins.bins.into_iter().map(|bin| (MapKey::Text(bin.name), bin.value)));
            Value::Map(entries)
        } else {
            bins_to_value(bins)
        };
        let mut text = String::new();
        print_value(&document, &mut text);
        Ok(text.into_bytes())
    }

    /// Writes a row.
    pub(super) fn write(&mut self, row: &[u8]) -> Result<(), Failure> {
        self.rows += 1;
        match (self.format, self.rows) {
            (Format::Json, 1) => self.bytes(b"\n")?,
            (Format::Json, _) => self.bytes(b",\n")?,
            _ => {}
        }
        self.bytes(row)?;
        if self.format == Format::Ndjson { self.bytes(b"\n") } else { Ok(()) }
    }

    /// Writes what stands behind the rows and passes everything on.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            self.bytes(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?;
        }
        self.out.flush().map_err(|error| Failure::of_output(&self.place, &error))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| Failure::of_output(&self.place, &error))
    }

    fn csv_line(&self, cells: &[String]) -> Result<Vec<u8>, String> {
        let terminator = match self.line_ending {
            LineEnding::Lf => Terminator::Any(b'\n'),
            LineEnding::Crlf => Terminator::CRLF,
        };
        let mut line = WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        line.write_record(cells).map_err(|error| error.to_string())?;
        line.into_inner().map_err(|error| error.to_string())
    }
}
