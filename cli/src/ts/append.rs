//! `outcrop ts append`: add points to a series.

use clap::Args;
use outcrop_client::timeseries::{Appended, Point};

use super::series::{SERIES_HELP, SeriesArgs};
use super::time::{TIME_HELP, Time, now_ms, parse_time};
use super::{failed, manage::Policy};
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, count, grouped, object};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  outcrop ts append test/metrics/cpu 0.93                                    now
  outcrop ts append test/metrics/cpu --tag host=a '2014-07-01 00:00:00=0.93' 1404172860=0.97
  outcrop ts append test/metrics/visits --duplicates sum -- -1m=17 now=3

Points may come in any order. A series that isn't there is made. Options go before --, times ago behind it.";

/// Append points.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SERIES_HELP}\n\n{TIME_HELP}"))]
pub struct AppendArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// TIME=VALUE, or VALUE alone for now
    #[arg(value_name = "POINT", required = true, value_parser = parse_point, allow_negative_numbers = true)]
    pub points: Vec<(Time, f64)>,
    /// What the series is to be like.
    #[command(flatten)]
    pub policy: Policy,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Parses `TIME=VALUE` or `VALUE`.
fn parse_point(text: &str) -> Result<(Time, f64), String> {
    let (time, value) = match text.rsplit_once('=') {
        Some((time, value)) => (parse_time(time)?, value),
        None => (Time::Ago(0), text),
    };
    Ok((time, parse_value(value)?))
}

/// Parses a measurement: a number, and no infinity or not-a-number.
pub fn parse_value(text: &str) -> Result<f64, String> {
    let shown = || text.chars().take(40).collect::<String>();
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{:?} is no number", shown())),
    }
}

/// Appends and prints.
pub async fn run(args: &AppendArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    let client = args.target.connect().await?;
    let series = path.at(&client)?.options(args.policy.options());
    let now = now_ms();
    let points: Vec<Point> = args.points.iter().map(|(time, value)| Point::new(time.resolve(now), *value)).collect();
    let appended = series.append(&points).await.map_err(|error| failed(&error))?;
    print(&path.shown(), &appended, args.target.output)?;
    client.close().await;
    Ok(Exit::Ok)
}

/// Prints what an append did.
pub fn print(series: &str, appended: &Appended, output: OutputFormat) -> Result<(), Failure> {
    let mut out = Out::new();
    match output {
        OutputFormat::Json => out.json(&object([
            ("series", series.into()),
            ("added", count(appended.added)),
            ("duplicates", count(appended.duplicates)),
            ("expired", count(appended.expired)),
            ("blocks", count(appended.blocks)),
        ]))?,
        OutputFormat::Table => {
            let mut parts = vec![format!("{} new", grouped(appended.added))];
            if appended.duplicates > 0 {
                parts.push(format!("{} duplicates", grouped(appended.duplicates)));
            }
            if appended.expired > 0 {
                parts.push(format!("{} older than the series keeps them, not written", grouped(appended.expired)));
            }
            out.line(&format!("{series}  {}", parts.join(", ")))?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_a_time_or_are_of_now() {
        assert_eq!(parse_point("0.5"), Ok((Time::Ago(0), 0.5)));
        assert_eq!(parse_point("-3"), Ok((Time::Ago(0), -3.0)));
        assert_eq!(parse_point("-1m=-3e2"), Ok((Time::Ago(60_000), -300.0)));
        assert_eq!(parse_point("1970-01-01T00:00:01Z=7"), Ok((Time::At(1_000), 7.0)));
        for wrong in ["", "x", "5=", "=5", "NaN", "5=inf", "tomorrow=1"] {
            assert!(parse_point(wrong).is_err(), "{wrong}");
        }
    }
}
