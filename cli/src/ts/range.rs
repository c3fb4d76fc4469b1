//! `outcrop ts range` and `outcrop ts last`: points as they were measured.

use clap::Args;
use outcrop_client::Value;
use outcrop_client::timeseries::{Point, TimeSeriesError};

use super::failed;
use super::series::{SERIES_HELP, SeriesArgs};
use super::time::{TIME_HELP, Time, now_ms, parse_time, time_text};
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, object, value_text};
use crate::target::Target;

const RANGE_EXAMPLES: &str = "\
Examples:
  outcrop ts range test/metrics/taxi --from 2014-07-01 --to 2014-07-02
  outcrop ts range test/metrics/cpu --tag host=a --from -1h
  outcrop ts range test/metrics/taxi --csv > taxi.csv
  outcrop ts range test/metrics/taxi --output json --limit 10

Points come in the order of time. --from is included, --to is not.";

const LAST_EXAMPLES: &str = "\
Examples:
  outcrop ts last test/metrics/taxi
  outcrop ts last 'test/metrics/cpu{host=a}' --count 10 --output json

Points come in the order of time, the latest last.";

/// Read points.
#[derive(Debug, Args)]
#[command(after_help = format!("{RANGE_EXAMPLES}\n\n{SERIES_HELP}\n\n{TIME_HELP}"))]
pub struct RangeArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// First time [default: the first there is]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub from: Option<Time>,
    /// Where to end, excluded [default: behind the last there is]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub to: Option<Time>,
    /// Stop after so many points
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Print CSV, as `ts import` reads it
    #[arg(long)]
    pub csv: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Read the latest points.
#[derive(Debug, Args)]
#[command(after_help = format!("{LAST_EXAMPLES}\n\n{SERIES_HELP}"))]
pub struct LastArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Print CSV, as `ts import` reads it
    #[arg(long)]
    pub csv: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Reads and prints a stretch of time.
pub async fn run(args: &RangeArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    let now = now_ms();
    let from_ms = args.from.map_or(i64::MIN, |time| time.resolve(now));
    let to_ms = args.to.map_or(i64::MAX, |time| time.resolve(now));
    let client = args.target.connect().await?;
    let series = path.at(&client)?;
    let mut printer = Printer::new(args.target.output, args.csv)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let read = async {
        let mut pages = series.range(from_ms, to_ms).await?;
        while let Some(page) = pages.next().await {
            let mut page = page?;
            page.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= page.len() as u64;
            if let Err(failure) = page.iter().try_for_each(|point| printer.point(point)) {
                return Ok(Err(failure));
            }
            if left == 0 {
                break;
            }
        }
        Ok::<_, TimeSeriesError>(Ok(()))
    };
    read.await.map_err(|error| failed(&error))??;
    printer.out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

/// Reads and prints the latest points.
pub async fn last(args: &LastArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    let client = args.target.connect().await?;
    let points = path.at(&client)?.last(args.count as usize).await.map_err(|error| failed(&error))?;
    let mut printer = Printer::new(args.target.output, args.csv)?;
    points.iter().try_for_each(|point| printer.point(point))?;
    printer.out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

struct Printer {
    out: Out,
    output: OutputFormat,
    csv: bool,
}

impl Printer {
    fn new(output: OutputFormat, csv: bool) -> Result<Self, Failure> {
        let mut out = Out::new();
        if csv {
            out.line("timestamp,value")?;
        }
        Ok(Printer { out, output, csv })
    }

    fn point(&mut self, point: &Point) -> Result<(), Failure> {
        let (time, value) = (time_text(point.at_ms), Value::Float(point.value));
        match (self.csv, self.output) {
            (true, _) => self.out.line(&format!("{time},{}", point.value)),
            (false, OutputFormat::Json) => {
                self.out.json(&object([("time", time.into()), ("time_ms", point.at_ms.into()), ("value", value)]))
            }
            (false, OutputFormat::Table) => self.out.line(&format!("{time:<24}  {}", value_text(&value))),
        }
    }
}
