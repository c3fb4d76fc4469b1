//! `outcrop rows`: what a row function makes of the records of a set, as they come.

use clap::Args;
use outcrop_client::{MapKey, ScanOptions, Value};

use super::arguments::parse_arguments;
use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::output::{Out, OutputFormat, grouped, value_text, wide_table};
use crate::target::{Target, is_damaged, suggest};

const HELP: &str = "\
Examples:
  outcrop rows test/products shop.cheap '{\"below\": 30}'
  outcrop rows test/products shop.cheap 30 --limit 10
  outcrop rows test/products shop.cheap 30 --output json | jq .name

With --output json each row is one line. Rows come as the node finds them, in no order; a reader that is slow holds the
node back, and ctrl-c ends its work. --deadline is for connecting: a query lasts as long as there are rows, within the limits of
its function.";

/// Rows of one table, so that a long query shows something at once.
const PAGE_ROWS: usize = 100;

/// Stream rows.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct RowsArgs {
    /// NAMESPACE or NAMESPACE/SET
    #[arg(value_name = "NAMESPACE[/SET]", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// MODULE.FUNCTION or MODULE@VERSION.FUNCTION
    pub function: String,
    /// Arguments as JSON (-: from standard input)
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub arguments: Option<String>,
    /// Stop after so many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Records a second that the node reads, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Runs it and prints rows as they come.
pub async fn run(args: &RowsArgs) -> Result<Exit, Failure> {
    let arguments = parse_arguments(args.arguments.as_deref())?;
    let client = args.target.connect().await?;
    let options = ScanOptions::default().limit(args.limit.unwrap_or(0)).records_per_sec(args.rate.unwrap_or(0));
    let function = client.function(args.function.as_str()).value(&arguments);
    let (namespace, set) = (args.place.0.as_str(), args.place.1.as_deref());
    let mut rows = function.rows(namespace, set, options);
    let mut printer = Printer::new(args.target.output);
    while let Some(row) = rows.next().await {
        match row {
            Ok(row) => printer.row(row)?,
            Err(error) => {
                printer.flush()?;
                return Err(suggest(&client, namespace, set, error.into()).await);
            }
        }
    }
    printer.finish()?;
    client.close().await;
    Ok(if is_damaged(rows.damaged()) { Exit::Partial } else { Exit::Ok })
}

/// Prints rows as they come, as tables of a page each or as lines of JSON.
pub(crate) struct Printer {
    output: OutputFormat,
    out: Out,
    page: Vec<Value>,
    rows: u64,
}

impl Printer {
    pub(crate) fn new(output: OutputFormat) -> Self {
        Printer { output, out: Out::new(), page: Vec::new(), rows: 0 }
    }

    /// Passes on what is there, when there will be no more.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.page()?;
        self.out.flush()
    }

    /// Takes a row.
    pub(crate) fn row(&mut self, row: Value) -> Result<(), Failure> {
        self.rows += 1;
        if self.output == OutputFormat::Json {
            return self.out.json(&row);
        }
        self.page.push(row);
        if self.page.len() == PAGE_ROWS { self.page() } else { Ok(()) }
    }

    /// A table whose columns are the names of the page's rows; a row that is no map has the one column `row`.
    fn page(&mut self) -> Result<(), Failure> {
        let page = std::mem::take(&mut self.page);
        if page.is_empty() {
            return Ok(());
        }
        let mut names: Vec<MapKey> = Vec::new();
        for row in &page {
            let Value::Map(entries) = row else { continue };
            for (name, _) in entries {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        let is_plain = page.iter().any(|row| !matches!(row, Value::Map(_)));
        let mut headings: Vec<String> = names.iter().map(|name| value_text(&key_value(name))).collect();
        if is_plain {
            headings.insert(0, "row".to_owned());
        }
        let mut table = wide_table(&headings);
        for row in &page {
            let mut cells = Vec::with_capacity(headings.len());
            if is_plain {
                cells.push(if matches!(row, Value::Map(_)) { String::new() } else { value_text(row) });
            }
            cells.extend(names.iter().map(|name| row.get(name).map_or_else(String::new, value_text)));
            table.add_row(cells);
        }
        self.out.table(&table)
    }

    /// Ends with how many rows there were.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.page()?;
        if self.output == OutputFormat::Table {
            self.out.line(&format!("{} rows", grouped(self.rows)))?;
        }
        self.out.flush()
    }
}

fn key_value(key: &MapKey) -> Value {
    match key {
        MapKey::Int(number) => Value::Int(*number),
        MapKey::Text(text) => Value::Text(text.clone()),
        MapKey::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}
