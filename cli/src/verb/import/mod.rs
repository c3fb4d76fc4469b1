//! `outcrop import`: the rows of a JSON, NDJSON or CSV file as records, with a report of those that couldn't be.

mod load;
pub(crate) mod report;
pub(crate) mod source;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use outcrop_client::Ttl;

use self::load::{Load, Stop};
use self::report::Report;
use self::source::Source;
use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::progress::Progress;
use crate::rows::{Format, KeyField, KeyType, RowOptions};
use crate::target::{Target, suggest};
use crate::ttl::parse_ttl;

const HELP: &str = "\
Examples:
  outcrop import shops.json --into test/shops --key id
  outcrop import events.ndjson --into test/events --key - --ttl 30d        keys are row numbers
  outcrop import taxi.csv --into test/taxi --key timestamp --bad-rows bad.ndjson
  outcrop export test/shops --with-key | outcrop import - --format ndjson --into test/copy --key '$key'

A row replaces the record of its key. The key's field stays in the record, so that an export has it; the field $key of
`export --with-key` is taken out again. A CSV cell becomes a number, a boolean or a document only where printing that
gives the very same cell (94.0 is a number, 007 is text), an empty cell is null, so that an export gives the same file.
Two rows of one key: the second is reported as bad, unless --duplicates last.

Exit codes: 0 all rows are in, 2 the file's form or its header is wrong and nothing is in, 3 some rows are bad or the
file breaks off (the report says which; the others are in), 5 and 7 the node gave up on the way (run it again).";

/// Write the rows of a file as records.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ImportArgs {
    /// The file (-: standard input)
    pub file: PathBuf,
    /// NAMESPACE/SET to write to
    #[arg(long, value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub into: (String, Option<String>),
    /// Field that gives the key (-: the row's number; $key: what `export --with-key` wrote)
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub key: String,
    /// How the file is written [default: by its name]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Type of the keys
    #[arg(long, value_enum, default_value = "auto")]
    pub key_type: KeyType,
    /// What separates the fields of CSV: one character, or tab
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = parse_delimiter)]
    pub delimiter: u8,
    /// Time to live: 60s, 15m, 12h, 30d, never or default (the namespace's)
    #[arg(long, value_name = "TTL", default_value = "default", value_parser = parse_ttl, allow_hyphen_values = true)]
    pub ttl: Ttl,
    /// Only records that aren't there yet; the others are reported as bad rows
    #[arg(long)]
    pub create_only: bool,
    /// What a second row of the same key is
    #[arg(long, value_enum, default_value = "refuse")]
    pub duplicates: Duplicates,
    /// Writes under way at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub in_flight: u16,
    /// Allow so many bad rows, and stop at the next one [default: any number]
    #[arg(long, value_name = "N")]
    pub max_bad: Option<u64>,
    /// Write the bad rows' numbers, lines and reasons to this file, as NDJSON
    #[arg(long, value_name = "FILE")]
    pub bad_rows: Option<PathBuf>,
    /// No progress, only the summary
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// What a second row of the same key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Duplicates {
    /// A bad row. Remembers every key of the file: about 40 bytes each.
    Refuse,
    /// The one that stays.
    Last,
}

/// Parses the separator of CSV's fields.
pub(crate) fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => Ok(*byte),
        _ => Err("one ASCII character, or tab".to_owned()),
    }
}

/// Imports the file.
pub async fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let (namespace, set) = match &args.into {
        (namespace, Some(set)) => (namespace.clone(), set.clone()),
        (namespace, None) => {
            return Err(Failure::usage(format!("--into {namespace} names no set"), format!("Write {namespace}/SET.")));
        }
    };
    let source = Source::open(&args.file)?;
    let options = RowOptions {
        format: args.format.map_or_else(|| source.format(), Ok)?,
        key: KeyField::parse(&args.key),
        key_type: args.key_type,
        delimiter: args.delimiter,
    };
    let mut report = Report::new(args.bad_rows.as_deref())?;
    let client = args.target.connect().await?;
    let mut progress = Progress::new(source.bytes_total, args.quiet);
    let mut load = Load::new(&client, &namespace, &set, args);
    let stop = load.run(source, options, &mut report, &mut progress).await;
    progress.finish();
    report.print(&progress, args.target.output, matches!(stop, Stop::End))?;
    match stop {
        Stop::Node(error) => {
            let failure = suggest(&client, &namespace, None, (*error).into()).await;
            let message = format!("{} rows are in, then: {}", report.imported, failure.message);
            Err(Failure { message, ..failure })
        }
        Stop::File(message) if report.imported == 0 && report.bad == 0 => Err(Failure::usage(
            format!("{}: {message}", args.file.display()),
            "Correct the file, or say another --format.",
        )),
        Stop::File(message) => {
            let message = format!("{}: {message}", args.file.display());
            Err(Failure::partial(message, "The rows before are in; correct the file and run it again."))
        }
        Stop::TooManyBad => Err(Failure::partial(
            format!("stopped after {} bad rows", report.bad),
            "Correct the file, or raise --max-bad.",
        )),
        Stop::Output(failure) => Err(*failure),
        Stop::End => {
            client.close().await;
            Ok(if report.bad > 0 { Exit::Partial } else { Exit::Ok })
        }
    }
}
