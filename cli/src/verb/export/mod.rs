//! `outcrop export`: the records of a set as JSON, NDJSON or CSV, so that an import gives the same records.

mod columns;
mod order;
mod write;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use outcrop_client::{Client, RecordView, ScanOptions};

use self::columns::Columns;
use self::order::Sorter;
use self::write::{LineEnding, Writer};
use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::output::grouped;
use crate::progress::Progress;
use crate::rows::Format;
use crate::target::{Target, is_damaged, other_set, suggest};
use crate::verb::scan::bin_names;

const HELP: &str = "\
Examples:
  outcrop export test/shops > shops.ndjson
  outcrop export test/shops --out shops.json --order key
  outcrop export test/taxi --out taxi.csv --order key
  outcrop export test/users --with-key --out users.ndjson      an import with --key '$key' restores the very keys

JSON and NDJSON hold every record exactly. CSV holds every value exactly, too, but can't tell a bin that isn't there
from one that is null; its columns are the bins in the order in which they first appear (it reads the set twice), or
those of --bins. Times to live and generations aren't exported. Without --order records come in the order of the log,
each once; one that is written around the moment at which the connection breaks may come twice.

Exit codes: 0 all records are out, 3 some couldn't be written (they are named on standard error), or lay in places of the
node's log that are damaged.";

/// Write the records of a set to a file.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExportArgs {
    /// NAMESPACE/SET
    #[arg(value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// How to write [default: by the name of --out, else ndjson]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Only these bins; in CSV, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub bins: Option<Vec<String>>,
    /// Add the key as the field $key
    #[arg(long)]
    pub with_key: bool,
    /// Order of the records
    #[arg(long, value_enum, default_value = "none")]
    pub order: Order,
    /// How lines of CSV end
    #[arg(long, value_enum, default_value = "lf")]
    pub line_ending: LineEnding,
    /// No progress, no summary
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Order of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// As the log holds them: the fastest, in no memory.
    None,
    /// By key: integers, then text, then bytes. Holds the export in memory, up to 1 GiB.
    Key,
}

impl ExportArgs {
    fn format(&self) -> Result<Format, Failure> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let Some(out) = &self.out else { return Ok(Format::Ndjson) };
        match out.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Format::Json),
            Some("ndjson" | "jsonl") => Ok(Format::Ndjson),
            Some("csv") => Ok(Format::Csv),
            _ => Err(Failure::usage(
                format!("{}: its name doesn't say how to write it", out.display()),
                "Say --format json, ndjson or csv.",
            )),
        }
    }

    fn scan_options(&self) -> ScanOptions {
        ScanOptions { bins: self.bins.as_deref().map(bin_names), ..ScanOptions::default() }
    }
}

/// Exports the set.
pub async fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let (namespace, set) = match &args.place {
        (namespace, Some(set)) => (namespace.as_str(), set.as_str()),
        (namespace, None) => {
            let advice = format!("Write {namespace}/SET; a file holds one set, since keys are unique only within one.");
            return Err(Failure::usage(format!("{namespace} names no set"), advice));
        }
    };
    let format = args.format()?;
    let client = args.target.connect().await?;
    let mut progress = Progress::new(None, args.quiet);
    let columns = match (format, &args.bins) {
        (Format::Csv, Some(names)) => Columns::named(bin_names(names)),
        (Format::Csv, None) => find_columns(&client, namespace, set).await?,
        _ => Columns::default(),
    };
    let mut writer = Writer::open(args.out.as_deref(), format, columns, args.with_key, args.line_ending)?;
    let mut sorter = Sorter::new(args.order);
    let mut records = 0;
    let mut bad = 0_u64;
    let mut bytes = 0;
    let mut scan = client.scan(namespace, Some(set), args.scan_options());
    while let Some(batch) = scan.next_batch().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Err(suggest(&client, namespace, Some(set), error.into()).await),
        };
        for record in &batch {
            bytes += record.stored().len() as u64;
            match writer.render(record) {
                Ok(row) => {
                    records += 1;
                    if let Some(row) = sorter.hold(record.key().user_key.to_owned(), row)? {
                        writer.write(&row)?;
                    }
                }
                Err(reason) => {
                    bad += 1;
                    eprintln!("{}: {reason}", shown(namespace, record));
                }
            }
        }
        progress.update(bytes, records, bad);
    }
    for row in sorter.sorted() {
        writer.write(&row)?;
    }
    writer.finish()?;
    progress.finish();
    if !args.quiet && args.out.is_some() {
        let secs = progress.elapsed().as_secs_f64();
        eprintln!(
            "{} records out, {bad} bad, {secs:.2} s, {} records/s",
            grouped(records),
            grouped(progress.rate(records))
        );
    }
    if records == 0
        && bad == 0
        && let Some(hint) = other_set(&client, namespace, set).await
    {
        eprintln!("{hint}");
    }
    client.close().await;
    Ok(if bad > 0 || is_damaged(scan.damaged()) { Exit::Partial } else { Exit::Ok })
}

fn shown(namespace: &str, record: &RecordView) -> String {
    let key = record.key();
    crate::keys::print_key(namespace, key.set, key.user_key)
}

/// Goes through the set once to learn which bins there are.
async fn find_columns(client: &Client, namespace: &str, set: &str) -> Result<Columns, Failure> {
    let mut columns = Columns::default();
    let mut scan = client.scan(namespace, Some(set), ScanOptions::default());
    while let Some(batch) = scan.next_batch().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Err(suggest(client, namespace, Some(set), error.into()).await),
        };
        for record in &batch {
            for bin in record.bins()?.bins.iter() {
                columns.add(bin.name.as_str())?;
            }
        }
    }
    Ok(columns)
}
