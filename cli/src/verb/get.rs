//! `outcrop get`: read a record, all bins or some.

use std::path::PathBuf;

use clap::Args;
use outcrop_client::{Bins, Client, ClientError, Key, RecordView, Value};

use super::{failed, shown};
use crate::args::KEY_HELP;
use crate::failure::{Exit, Failure};
use crate::json::bins_to_value;
use crate::keys::parse_key;
use crate::output::{Out, OutputFormat, expiry_json, expiry_text, object, table, utc, value_text};
use crate::target::{Target, not_found};

const EXAMPLES: &str = "\
Examples:
  outcrop get test/users/42
  outcrop get test/users/42 --bins name,city
  outcrop get test/users/42 --output json > ada.json
  outcrop get test/users/text:42                          the text key of the same digits
  outcrop get 'test/pages/a path/with slashes' --raw --out page.html

Exit codes: 0 found, 1 no such record.";

/// Read a record.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{KEY_HELP}"))]
pub struct GetArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// Only these bins
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub bins: Option<Vec<String>>,
    /// With --output json: key, generation, expiry and last update around the document
    #[arg(long)]
    pub meta: bool,
    /// Print the bytes or the text of the unnamed bin as they are
    #[arg(long, conflicts_with_all = ["bins", "meta"])]
    pub raw: bool,
    /// With --raw: write them to this file
    #[arg(long, value_name = "FILE", requires = "raw")]
    pub out: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Reads the record and prints it.
pub async fn run(args: &GetArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let record = match read(&client, args).await {
        Ok(Some(record)) => record,
        Ok(None) => return Err(not_found(&client, &args.key).await),
        Err(error) => return Err(failed(&client, &args.key, error).await),
    };
    if args.raw {
        print_raw(args, &record)?;
    } else {
        print(args, &record)?;
    }
    client.close().await;
    Ok(Exit::Ok)
}

async fn read(client: &Client, args: &GetArgs) -> Result<Option<RecordView>, ClientError> {
    match &args.bins {
        None => client.get(&args.key).await,
        Some(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            client.get_bins(&args.key, &names).await
        }
    }
}

fn print_raw(args: &GetArgs, record: &RecordView) -> Result<(), Failure> {
    let Some(bytes) = record.unnamed_bytes()? else {
        let message = format!("{} has no unnamed bin of bytes or text", shown(&args.key));
        return Err(Failure::usage(message, "Leave --raw out to see what it has."));
    };
    match &args.out {
        Some(file) => std::fs::write(file, &bytes).map_err(|e| Failure::of_output(&file.display().to_string(), &e)),
        None => {
            let mut out = Out::new();
            out.bytes(&bytes)?;
            out.flush()
        }
    }
}

fn print(args: &GetArgs, record: &RecordView) -> Result<(), Failure> {
    let bins = record.to_bins()?;
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json if args.meta => out.json(&with_meta(&shown(&args.key), record, bins))?,
        OutputFormat::Json => out.json(&bins_to_value(bins))?,
        OutputFormat::Table => {
            let updated = utc(record.last_update_ms() / 1_000);
            let expires = expiry_text(record.expiry_secs());
            let generation = record.generation();
            out.line(&format!("{}  generation {generation}, updated {updated}, expires {expires}", shown(&args.key)))?;
            let mut table = table(["bin", "type", "value"]);
            for bin in &bins.bins {
                let name =
                    if bin.name.is_empty() { "(unnamed)".to_owned() } else { value_text(&bin.name.as_str().into()) };
                table.add_row([name, bin.value.type_name().to_owned(), value_text(&bin.value)]);
            }
            out.table(&table)?;
        }
    }
    out.flush()
}

/// A record with what is known about it; `bins` is always an object here.
pub(super) fn with_meta(key: &str, record: &RecordView, bins: Bins) -> Value {
    let bins = bins.bins.into_iter().map(|bin| (bin.name.into(), bin.value)).collect();
    object([
        ("key", key.into()),
        ("generation", i64::from(record.generation()).into()),
        ("expiry_secs", expiry_json(record.expiry_secs())),
        ("last_update_ms", crate::output::count(record.last_update_ms())),
        ("bins", Value::Map(bins)),
    ])
}
