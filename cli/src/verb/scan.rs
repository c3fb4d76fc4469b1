//! `outcrop scan`: list the records of a set or namespace, in the order in which the log holds them.

use clap::Args;
use comfy_table::Table;
use outcrop_client::{Cursor, RecordView, ScanOptions};
use outcrop_wire::reader::Reader;

use crate::failure::{Exit, Failure};
use crate::json::bins_to_value;
use crate::json::to_text;
use crate::keys::{parse_hex, parse_place, print_hex, print_key};
use crate::output::{Out, OutputFormat, count, grouped, object, value_text, wide_table};
use crate::target::{Target, is_damaged, other_set, suggest};
use crate::verb::get::with_meta;

const HELP: &str = "\
Examples:
  outcrop scan test/users --limit 10
  outcrop scan test/users --bins name,city --output json | jq .bins.name
  outcrop scan test --bins ''                              keys only, of all sets
  outcrop scan test/users --limit 1000 --cursor 3f0a…      go on where an earlier scan stopped

With --output json each record is one line; the last line is {\"records\":N,\"cursor\":…}, where the cursor is null if
the scan came to its end. Each record comes once, also one that is written meanwhile; if the connection
breaks, one that is written around that moment may come again. `outcrop export` writes files.";

/// Rows of one table, so that a long scan shows something at once and needs little memory.
const PAGE_ROWS: usize = 100;

/// List the records of a set or namespace.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ScanArgs {
    /// NAMESPACE or NAMESPACE/SET
    #[arg(value_name = "NAMESPACE[/SET]", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// Only these bins; an empty list gives keys only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub bins: Option<Vec<String>>,
    /// Stop after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Go on where an earlier scan stopped
    #[arg(long, value_parser = parse_cursor)]
    pub cursor: Option<Cursor>,
    /// Records a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

impl ScanArgs {
    fn options(&self) -> ScanOptions {
        let mut options = ScanOptions::default().cursor(self.cursor).limit(self.limit.unwrap_or(0));
        options.bins = self.bins.as_deref().map(bin_names);
        options.records_per_sec(self.rate.unwrap_or(0))
    }
}

/// The names of `--bins`; `--bins ''` names none.
pub(super) fn bin_names(names: &[String]) -> Vec<String> {
    match names {
        [none] if none.is_empty() => Vec::new(),
        names => names.to_vec(),
    }
}

/// Scans and prints.
pub async fn run(args: &ScanArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let (namespace, set) = (&args.place.0, args.place.1.as_deref());
    let mut scan = client.scan(namespace, set, args.options());
    let mut printer = Printer { namespace, args, out: Out::new(), page: None, records: 0 };
    while let Some(batch) = scan.next_batch().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                printer.finish_page()?;
                printer.out.flush()?;
                let mut failure = suggest(&client, namespace, set, error.into()).await;
                if let Some(cursor) = scan.cursor() {
                    failure.advice = format!("{} Go on with --cursor {}", failure.advice, print_cursor(&cursor));
                }
                return Err(failure);
            }
        };
        for record in &batch {
            printer.record(record)?;
        }
        printer.out.flush()?;
    }
    let more = scan.cursor().filter(|_| args.limit == Some(printer.records));
    printer.end(more)?;
    if let (0, Some(set), OutputFormat::Table) = (printer.records, set, args.target.output)
        && let Some(hint) = other_set(&client, namespace, set).await
    {
        eprintln!("{hint}");
    }
    client.close().await;
    Ok(if is_damaged(scan.damaged()) { Exit::Partial } else { Exit::Ok })
}

struct Printer<'a> {
    namespace: &'a str,
    args: &'a ScanArgs,
    out: Out,
    page: Option<Table>,
    records: u64,
}

impl Printer<'_> {
    fn record(&mut self, record: &RecordView) -> Result<(), Failure> {
        self.records += 1;
        let key = record.key();
        let shown = print_key(self.namespace, key.set, key.user_key);
        let bins = record.to_bins()?;
        if self.args.target.output == OutputFormat::Json {
            return self.out.json(&with_meta(&shown, record, bins));
        }
        let named = self.args.bins.as_deref().map(bin_names);
        let mut row = vec![shown, record.generation().to_string()];
        match &named {
            Some(names) => row.extend(names.iter().map(|name| bins.get(name).map_or_else(String::new, value_text))),
            None => row.push(to_text(&bins_to_value(bins))),
        }
        let page = self.page.get_or_insert_with(|| {
            let mut headings = vec!["key".to_owned(), "generation".to_owned()];
            headings.extend(named.unwrap_or_else(|| vec!["record".to_owned()]));
            wide_table(&headings)
        });
        page.add_row(row);
        if page.row_count() == PAGE_ROWS { self.finish_page() } else { Ok(()) }
    }

    fn finish_page(&mut self) -> Result<(), Failure> {
        match self.page.take() {
            Some(page) => self.out.table(&page),
            None => Ok(()),
        }
    }

    fn end(&mut self, more: Option<Cursor>) -> Result<(), Failure> {
        self.finish_page()?;
        let cursor = more.as_ref().map(print_cursor);
        match self.args.target.output {
            OutputFormat::Json => self.out.json(&object([
                ("records", count(self.records)),
                ("cursor", cursor.map_or(outcrop_client::Value::Null, Into::into)),
            ]))?,
            OutputFormat::Table => {
                self.out.line(&format!("{} records", grouped(self.records)))?;
                if let Some(cursor) = cursor {
                    self.out.line(&format!("there may be more: --cursor {cursor}"))?;
                }
            }
        }
        self.out.flush()
    }
}

/// A cursor as hexadecimal digits.
fn print_cursor(cursor: &Cursor) -> String {
    let mut bytes = Vec::with_capacity(Cursor::BYTES);
    cursor.encode(&mut bytes);
    print_hex(&bytes)
}

/// Reads what [`print_cursor`] wrote.
fn parse_cursor(text: &str) -> Result<Cursor, String> {
    let bytes = parse_hex(text).filter(|bytes| bytes.len() == Cursor::BYTES);
    let bytes =
        bytes.ok_or_else(|| format!("a cursor is {} hexadecimal digits from an earlier scan", Cursor::BYTES * 2))?;
    Cursor::decode(&mut Reader::new(&bytes)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_cursor_parses_back() {
        let cursor = Cursor { log_id: u64::MAX, start_lsn: 1, position_lsn: 2, emitted: 3 };
        assert_eq!(parse_cursor(&print_cursor(&cursor)), Ok(cursor));
        assert!(parse_cursor("").is_err() && parse_cursor("00").is_err() && parse_cursor("é").is_err());
    }
}
