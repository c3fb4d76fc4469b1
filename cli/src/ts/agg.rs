//! `outcrop ts agg`: windows of a series, printed or written as another series.

use clap::{Args, ValueEnum};
use outcrop_client::timeseries::{Fill, TimeSeries, WindowFunction, WindowQuery, WindowRow};
use outcrop_client::{MapKey, Value};

use super::failed;
use super::series::{SERIES_HELP, SeriesArgs, SeriesPath, parse_series};
use super::time::{TIME_HELP, Time, now_ms, parse_duration_ms, parse_time, time_text};
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, count, grouped, value_text, wide_table};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  outcrop ts agg test/metrics/taxi                                            one window, its average
  outcrop ts agg test/metrics/taxi --every 1d --fn count,avg,max,p99
  outcrop ts agg test/metrics/taxi --every 1h --fn avg --fill linear --from 2014-07-01 --to 2014-07-02
  outcrop ts agg test/metrics/requests --tag host=a --from -1h --every 1m --fn rate
  outcrop ts agg test/metrics/taxi --every 1d --fn avg --into test/metrics/taxi-daily      downsample

Functions: count, sum, min, max, avg, first, last, stddev, rate (growth of a counter a second), p50, p99.9 and any other
percentile (exact up to 1,024 points a block and window, else by t-digest).
Windows begin at whole multiples of --every since 1970, UTC, or of --align; the first and the last are cut by --from
and --to. A window that takes whole chunks in is answered from their summaries.";

/// Aggregate windows.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SERIES_HELP}\n\n{TIME_HELP}"))]
pub struct AggArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// What to work out
    #[arg(long = "fn", value_name = "FUNCTIONS", value_delimiter = ',', default_value = "avg")]
    pub functions: Vec<WindowFunction>,
    /// Length of a window, such as 1h [default: one window for all]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    pub every: Option<i64>,
    /// A time at which a window begins [default: 1970-01-01]
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "every", allow_hyphen_values = true)]
    pub align: Option<Time>,
    /// First time [default: the first there is]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub from: Option<Time>,
    /// Where to end, excluded [default: behind the last there is]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub to: Option<Time>,
    /// What stands in windows without points
    #[arg(long, value_enum, default_value = "none", requires = "every")]
    pub fill: FillArg,
    /// Write the (one) function's values as points of this series, at the windows' beginnings
    #[arg(long, value_name = "SERIES", value_parser = parse_series, requires = "every")]
    pub into: Option<SeriesPath>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// What stands in windows without points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FillArg {
    /// They are left out.
    None,
    /// Nothing.
    Null,
    /// Zero.
    Zero,
    /// What the window before has.
    Previous,
    /// On the line between the windows before and behind.
    Linear,
}

impl FillArg {
    fn fill(self) -> Fill {
        match self {
            FillArg::None => Fill::None,
            FillArg::Null => Fill::Null,
            FillArg::Zero => Fill::Zero,
            FillArg::Previous => Fill::Previous,
            FillArg::Linear => Fill::Linear,
        }
    }
}

/// Works out and prints.
pub async fn run(args: &AggArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    if args.into.is_some() && args.functions.len() != 1 {
        return Err(Failure::usage("--into takes one function", "Say one --fn, such as avg."));
    }
    let client = args.target.connect().await?;
    let series = path.at(&client)?;
    let Some(query) = query(args, &series).await? else {
        let failure = Failure::of_code(outcrop_client::Code::NotFound, format!("{} has no points", path.shown()));
        return Err(Failure { advice: "Append some, or say --from and --to.".to_owned(), ..failure });
    };
    match &args.into {
        Some(into) => {
            let target = into.at(&client)?;
            let appended = series.downsample(&query, &target).await.map_err(|error| failed(&error))?;
            super::append::print(&into.shown(), &appended, args.target.output)?;
        }
        None => {
            let table = series.windows(&query).await.map_err(|error| failed(&error))?;
            print(args, table.rows())?;
        }
    }
    client.close().await;
    Ok(Exit::Ok)
}

/// What to ask; none if the ends aren't said and there are no points to take them from.
async fn query(args: &AggArgs, series: &TimeSeries) -> Result<Option<WindowQuery>, Failure> {
    let now = now_ms();
    let (from, to) = (args.from.map(|time| time.resolve(now)), args.to.map(|time| time.resolve(now)));
    let (from_ms, to_ms) = match (from, to) {
        (Some(from_ms), Some(to_ms)) => (from_ms, to_ms),
        _ => {
            let stored = series.stored().await.map_err(|error| failed(&error))?;
            let (Some(first), Some(last)) = (stored.first, stored.last) else { return Ok(None) };
            (from.unwrap_or(first.at_ms), to.unwrap_or(last.at_ms.saturating_add(1)))
        }
    };
    if from_ms >= to_ms {
        let message = format!("nothing lies between {} and {}", time_text(from_ms), time_text(to_ms));
        return Err(Failure::usage(message, "--from has to lie before --to."));
    }
    let mut query = WindowQuery::new(from_ms, to_ms).fill(args.fill.fill());
    if let Some(step_ms) = args.every {
        query = query.every_ms(step_ms).aligned_to_ms(args.align.map_or(0, |time| time.resolve(now)));
    }
    Ok(Some(args.functions.iter().fold(query, |query, function| query.function(*function))))
}

fn print(args: &AggArgs, rows: impl Iterator<Item = WindowRow>) -> Result<(), Failure> {
    let names: Vec<String> = args.functions.iter().map(WindowFunction::to_string).collect();
    let mut out = Out::new();
    let value = |value: Option<f64>| value.map_or(Value::Null, Value::Float);
    if args.target.output == OutputFormat::Json {
        for row in rows {
            let mut fields: Vec<(MapKey, Value)> = vec![
                ("time".into(), time_text(row.start_ms).into()),
                ("time_ms".into(), row.start_ms.into()),
                ("points".into(), count(row.count)),
            ];
            fields.extend(names.iter().zip(row.values).map(|(name, of)| (name.as_str().into(), value(of))));
            out.json(&Value::Map(fields))?;
        }
        return out.flush();
    }
    let headings: Vec<String> = ["time", "points"].map(str::to_owned).into_iter().chain(names).collect();
    let mut table = wide_table(&headings);
    for row in rows {
        let values = row.values.into_iter().map(|of| of.map_or_else(String::new, |of| value_text(&Value::Float(of))));
        table.add_row([time_text(row.start_ms), grouped(row.count)].into_iter().chain(values));
    }
    out.table(&table)?;
    out.flush()
}
