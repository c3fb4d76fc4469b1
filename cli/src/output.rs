//! What commands print: tables for people, JSON for programs; and times, bins and bytes as text.

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::ValueEnum;
use comfy_table::{Cell, ContentArrangement, LineStyle, Table, TableStyle};
use outcrop_client::{MapKey, Value};

use crate::failure::Failure;
use crate::json::to_text;
use crate::keys::is_unprintable;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON value a line.
    Json,
}

/// Standard output, buffered; a reader that goes away ends the command quietly.
pub struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Out {
    /// Standard output.
    pub fn new() -> Self {
        Out { stdout: BufWriter::with_capacity(64 << 10, io::stdout().lock()) }
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints a value as one line of JSON.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&to_text(value))
    }

    /// Prints a table.
    pub fn table(&mut self, table: &Table) -> Result<(), Failure> {
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Prints bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(|error| Failure::of_output("standard output", &error))
    }

    /// Passes on what is buffered; every command ends with it.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| Failure::of_output("standard output", &error))
    }
}

impl Default for Out {
    fn default() -> Self {
        Out::new()
    }
}

/// A line under the headings, and nothing else: dense on a terminal, easy for `awk`.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with these headings, as wide as the terminal at most.
pub fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.map(Cell::new));
    table
}

/// A table with any number of headings.
pub fn wide_table(headings: &[String]) -> Table {
    let mut table = table([]);
    table.set_header(headings.iter().map(Cell::new));
    table
}

/// A JSON object.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (MapKey::from(name), value)).collect())
}

/// A count as a JSON number.
pub fn count(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Seconds since 1970 as a JSON number, `null` for never.
pub fn expiry_json(expiry_secs: Option<u32>) -> Value {
    expiry_secs.map_or(Value::Null, |secs| Value::Int(secs.into()))
}

/// When a record expires, for people.
pub fn expiry_text(expiry_secs: Option<u32>) -> String {
    expiry_secs.map_or_else(|| "never".to_owned(), |secs| utc(secs.into()))
}

/// A value for people: text as it stands where it is harmless, everything else as JSON.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Text(text) if !text.is_empty() && !text.chars().any(is_unprintable) => text.clone(),
        other => to_text(other),
    }
}

/// Seconds since 1970 as `2026-11-23 07:00:00Z`.
pub fn utc(secs: u64) -> String {
    let (days, second_of_day) = (secs / 86_400, secs % 86_400);
    // Howard Hinnant's days-to-civil, counted from 0000-03-01 so that the leap day is a year's last.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// A number with thin groups of three: `4,584`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes as `1.5 MiB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while scaled >= 1_023.95 && unit + 1 < UNITS.len() {
        scaled /= 1_024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31 23:59:59Z");
        assert_eq!(utc(u32::MAX.into()), "2106-02-07 06:28:15Z");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes_text(1_023), "1023 B");
        assert_eq!(bytes_text(1_536), "1.5 KiB");
        assert_eq!(bytes_text((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes_text(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn values_never_play_tricks_on_a_terminal() {
        assert_eq!(value_text(&Value::from("plain é")), "plain é");
        assert_eq!(value_text(&Value::from("a\u{1b}[31m")), "\"a\\u001b[31m\"");
        assert_eq!(value_text(&Value::from("")), "\"\"");
    }
}
