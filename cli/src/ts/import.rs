//! `outcrop ts import`: the rows of a CSV file as points of a series, with a report of those that couldn't be.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use csv::{ReaderBuilder, StringRecord};
use outcrop_client::Value;
use outcrop_client::timeseries::{Appended, Point, TimeSeries, TimeSeriesError};
use tokio::sync::mpsc;

use super::append::parse_value;
use super::failed;
use super::manage::Policy;
use super::series::{SERIES_HELP, SeriesPath, parse_series, parse_tag};
use super::time::{TIME_HELP, TimeUnit, parse_at_ms};
use crate::failure::{Exit, Failure};
use crate::output::count;
use crate::progress::Progress;
use crate::target::{Target, suggest};
use crate::verb::import::parse_delimiter;
use crate::verb::import::report::Report;
use crate::verb::import::source::Source;

const EXAMPLES: &str = "\
Examples:
  outcrop ts import taxi.csv --into test/metrics/taxi
  outcrop ts import cpu.csv --into 'test/metrics/cpu{host=a}' --time at --value percent --bad-rows bad.ndjson
  outcrop ts import counts.csv --into test/metrics/counts --unit ms --duplicates sum --retention 90d
  outcrop ts range test/metrics/taxi --csv | outcrop ts import - --into test/metrics/copy

The file has a header. Rows may be in any order. Rows whose time or value can't be read are reported, the others are in.

Exit codes: 0 all rows are in, 2 the header is wrong and nothing is in, 3 some rows are bad or the file breaks off (the
report says which; the others are in), 5 and 7 the node gave up on the way (run it again: points that are there already
do no harm unless the series sums or refuses duplicates).";

/// Points of one append.
const BATCH_POINTS: usize = 65_536;
/// Batches that wait between the reader and the node.
const BATCHES_AHEAD: usize = 2;

/// Import points.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SERIES_HELP}\n\n{TIME_HELP}"))]
pub struct ImportArgs {
    /// The file (-: standard input)
    pub file: PathBuf,
    /// The series: NAMESPACE/SET/NAME or 'NAMESPACE/SET/NAME{TAG=VALUE,…}'
    #[arg(long, value_name = "SERIES", value_parser = parse_series)]
    pub into: SeriesPath,
    /// A tag of the series; may be there several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_tag)]
    pub tag: Vec<(String, String)>,
    /// Field of the times
    #[arg(long, value_name = "FIELD", default_value = "timestamp")]
    pub time: String,
    /// Field of the values
    #[arg(long, value_name = "FIELD", default_value = "value")]
    pub value: String,
    /// What whole numbers in the field of the times are
    #[arg(long, value_enum, default_value = "auto")]
    pub unit: TimeUnit,
    /// What separates the fields: one character, or tab
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = parse_delimiter)]
    pub delimiter: u8,
    /// What the series is to be like.
    #[command(flatten)]
    pub policy: Policy,
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

/// A row: its number, its line, and the point or what is wrong.
struct Row {
    number: u64,
    line: u64,
    point: Result<Point, String>,
}

/// Why the import is over.
enum Stop {
    End,
    /// The rest of the file can't be read.
    File(String),
    /// The node takes no more.
    Node(Box<TimeSeriesError>),
}

/// Imports the file.
pub async fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let into = args.into.tagged(&args.tag)?;
    let source = Source::open(&args.file)?;
    let mut report = Report::new(args.bad_rows.as_deref())?;
    let client = args.target.connect().await?;
    let series = into.at(&client)?.options(args.policy.options());
    let mut progress = Progress::new(source.bytes_total, args.quiet);
    let mut appended = Appended::default();
    let stop = load(args, source, &series, &mut report, &mut progress, &mut appended).await?;
    progress.finish();
    let stored = series.stored().await;
    let mut more = vec![("series", into.shown().into()), ("new_points", count(appended.added))];
    more.push(("duplicates", count(appended.duplicates)));
    more.push(("expired", count(appended.expired)));
    if let Ok(stored) = &stored {
        let each = stored.bytes as f64 / stored.points.max(1) as f64;
        more.push(("points_stored", count(stored.points)));
        more.push(("bytes_stored", count(stored.bytes)));
        more.push(("bytes_a_point", Value::Float((each * 1_000.0).round() / 1_000.0)));
    }
    report.print_with(&progress, args.target.output, matches!(stop, Stop::End), more)?;
    match stop {
        Stop::Node(error) => {
            let failure = suggest(&client, &into.namespace, None, failed(&error)).await;
            let message = format!("{} rows are in, then: {}", report.imported, failure.message);
            Err(Failure { message, ..failure })
        }
        Stop::File(message) if report.imported == 0 && report.bad == 0 => {
            Err(Failure::usage(format!("{}: {message}", args.file.display()), "Correct the file, or name its fields."))
        }
        Stop::File(message) => {
            let message = format!("{}: {message}", args.file.display());
            Err(Failure::partial(message, "The rows before are in; correct the file and run it again."))
        }
        Stop::End => {
            client.close().await;
            Ok(if report.bad > 0 { Exit::Partial } else { Exit::Ok })
        }
    }
}

async fn load(
    args: &ImportArgs,
    source: Source,
    series: &TimeSeries,
    report: &mut Report,
    progress: &mut Progress,
    appended: &mut Appended,
) -> Result<Stop, Failure> {
    let read_bytes = Arc::new(AtomicU64::new(0));
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let columns = Columns { time: args.time.clone(), value: args.value.clone(), unit: args.unit };
    let (delimiter, counted) = (args.delimiter, read_bytes.clone());
    let reader = tokio::task::spawn_blocking(move || read(source, delimiter, &columns, &counted, &sender));
    let mut stop = Stop::End;
    while let Some(batch) = batches.recv().await {
        if let Some(error) = append(series, batch, report, appended).await? {
            stop = Stop::Node(Box::new(error));
            break;
        }
        progress.update(read_bytes.load(Ordering::Relaxed), report.imported, report.bad);
    }
    // The reader sees that nobody listens any more and ends.
    drop(batches);
    let read = reader.await.unwrap_or_else(|_| Err("the reader broke down".to_owned()));
    Ok(match (stop, read) {
        (Stop::End, Err(message)) => Stop::File(message),
        (stop, _) => stop,
    })
}

/// Appends a batch and counts its rows; an error that is the node's and not of some points ends the import.
async fn append(
    series: &TimeSeries,
    batch: Vec<Row>,
    report: &mut Report,
    appended: &mut Appended,
) -> Result<Option<TimeSeriesError>, Failure> {
    let mut points = Vec::with_capacity(batch.len());
    let mut rows = Vec::with_capacity(batch.len());
    for row in batch {
        match row.point {
            Ok(point) => {
                points.push(point);
                rows.push((row.number, row.line, point.at_ms));
            }
            Err(reason) => report.bad(row.number, row.line, reason)?,
        }
    }
    let error = match series.append(&points).await {
        Ok(done) => {
            appended.add(&done);
            report.imported += points.len() as u64;
            return Ok(None);
        }
        Err(error) => error,
    };
    let (done, failed) = match &error {
        TimeSeriesError::Partly { appended, failed } => (*appended, &failed[..]),
        // Of one block, or of the series: none of these points is in.
        _ => (Appended::default(), &[][..]),
    };
    appended.add(&done);
    let reason = |at_ms: i64| match failed.is_empty() {
        true => Some(error.to_string()),
        false => {
            let block = failed.iter().find(|block| block.points.iter().any(|point| point.at_ms == at_ms));
            block.map(|block| block.error.to_string())
        }
    };
    let missing: HashSet<i64> = failed.iter().flat_map(|block| &block.points).map(|point| point.at_ms).collect();
    for (number, line, at_ms) in rows {
        match failed.is_empty() || missing.contains(&at_ms) {
            true => report.bad(number, line, reason(at_ms).unwrap_or_else(|| error.to_string()))?,
            false => report.imported += 1,
        }
    }
    // What the module itself refuses is about those points (a duplicate time, a full block); the rest may still do.
    let of_points = |error: &outcrop_client::ClientError| error.function().is_some_and(|f| f.failure_code.is_some());
    let goes_on = match failed.is_empty() {
        true => error.client().is_some_and(of_points),
        false => failed.iter().all(|block| of_points(&block.error)),
    };
    Ok((!goes_on).then_some(error))
}

/// Which fields hold what.
struct Columns {
    time: String,
    value: String,
    unit: TimeUnit,
}

/// Reads and parses on a thread of its own, a few batches ahead.
fn read(
    source: Source,
    delimiter: u8,
    columns: &Columns,
    read_bytes: &AtomicU64,
    batches: &mpsc::Sender<Vec<Row>>,
) -> Result<(), String> {
    let mut reader = ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(source.input);
    let header = reader.headers().map_err(|error| format!("the header: {error}"))?.clone();
    let place = |name: &str| {
        header.iter().position(|field| field.trim() == name).ok_or_else(|| {
            let names: Vec<&str> = header.iter().take(20).collect();
            format!("the header has no field {name:?}, but {}", names.join(", "))
        })
    };
    let (time, value) = (place(&columns.time)?, place(&columns.value)?);
    let (mut fields, mut number, mut batch) = (StringRecord::new(), 0, Vec::new());
    loop {
        number += 1;
        let line = reader.position().line();
        let point = match reader.read_record(&mut fields) {
            Ok(false) => break,
            Ok(true) => point_of(&fields, time, value, columns.unit),
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => Err("it isn't UTF-8 text".to_owned()),
            Err(error) => return Err(format!("row {number}: {error}")),
        };
        let line = fields.position().map_or(line, csv::Position::line);
        batch.push(Row { number, line, point });
        read_bytes.store(reader.position().byte(), Ordering::Relaxed);
        if batch.len() >= BATCH_POINTS && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    if !batch.is_empty() {
        // Nobody listens any more: the import has stopped and says why.
        drop(batches.blocking_send(batch));
    }
    Ok(())
}

fn point_of(fields: &StringRecord, time: usize, value: usize, unit: TimeUnit) -> Result<Point, String> {
    let field = |place: usize| fields.get(place).ok_or_else(|| format!("it has only {} fields", fields.len()));
    let at_ms = parse_at_ms(field(time)?, unit)?;
    Ok(Point::new(at_ms, parse_value(field(value)?)?))
}
