//! `outcrop ts list`, `info`, `set`, `delete`: which series there are, how they are stored, what they are to be like.

use std::time::Duration;

use clap::{Args, ValueEnum};
use outcrop_client::Value;
use outcrop_client::timeseries::{Duplicates, SeriesEntry, SeriesOptions, TimeSeriesError};

use super::failed;
use super::series::{SERIES_HELP, SeriesArgs};
use super::time::{duration_text, parse_duration_ms, time_text};
use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::output::{Out, OutputFormat, bytes_text, count, grouped, object, table};
use crate::target::{Target, suggest};

/// What a series is to be like.
#[derive(Debug, Clone, Args)]
pub struct Policy {
    /// Length of the series' blocks, such as 6h; can't be changed later [default: by the distance of its first points]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    pub span: Option<i64>,
    /// What becomes of a point whose time is there already [default: what the series does, of a new one: last]
    #[arg(long, value_enum)]
    pub duplicates: Option<DuplicatesArg>,
    /// How long points are kept behind the end of their block, such as 90d, or forever
    #[arg(long, value_name = "TIME", value_parser = parse_retention)]
    pub retention: Option<Duration>,
}

/// What becomes of a point whose time is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DuplicatesArg {
    /// The later write counts.
    Last,
    /// The earlier write stays.
    First,
    /// Its block's points are refused.
    Refuse,
    /// Both values are added up.
    Sum,
}

/// Parses a retention; `forever` is zero.
fn parse_retention(text: &str) -> Result<Duration, String> {
    if text == "forever" {
        return Ok(Duration::ZERO);
    }
    let ms = parse_duration_ms(text).map_err(|error| format!("{error}, or forever"))?;
    let secs = u64::try_from(ms / 1_000).ok().filter(|secs| (1..=u64::from(u32::MAX)).contains(secs));
    secs.map(Duration::from_secs).ok_or_else(|| "a retention is at least a second".to_owned())
}

impl Policy {
    /// For the client.
    pub fn options(&self) -> SeriesOptions {
        let mut options = SeriesOptions::default();
        if let Some(span_ms) = self.span {
            options = options.span(Duration::from_millis(span_ms.unsigned_abs()));
        }
        if let Some(duplicates) = self.duplicates {
            options = options.duplicates(match duplicates {
                DuplicatesArg::Last => Duplicates::Last,
                DuplicatesArg::First => Duplicates::First,
                DuplicatesArg::Refuse => Duplicates::Refuse,
                DuplicatesArg::Sum => Duplicates::Sum,
            });
        }
        self.retention.into_iter().fold(options, SeriesOptions::retention)
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  outcrop ts list test/metrics
  outcrop ts list test/metrics --output json | jq -r .series

Reads the whole set beside the data. From and to are the ends of the first and last block.";

const INFO_EXAMPLES: &str = "\
Examples:
  outcrop ts info test/metrics/taxi
  outcrop ts info test/metrics/cpu --tag host=a --output json";

const SET_EXAMPLES: &str = "\
Examples:
  outcrop ts set test/metrics/cpu --tag host=a --span 6h --retention 90d     a new series
  outcrop ts set test/metrics/cpu --tag host=a --retention forever
  outcrop ts set test/metrics/visits --duplicates sum

A retention holds for blocks that are written from then on.";

const DELETE_EXAMPLES: &str = "\
Examples:
  outcrop ts delete test/metrics/taxi
  outcrop ts delete 'test/metrics/cpu{host=a}'

Exit codes: 0 deleted, 1 no such series.";

/// List series.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct ListArgs {
    /// NAMESPACE/SET
    #[arg(value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Show a series.
#[derive(Debug, Args)]
#[command(after_help = format!("{INFO_EXAMPLES}\n\n{SERIES_HELP}"))]
pub struct InfoArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Make or change a series.
#[derive(Debug, Args)]
#[command(after_help = format!("{SET_EXAMPLES}\n\n{SERIES_HELP}"))]
pub struct SetArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// What it is to be like.
    #[command(flatten)]
    pub policy: Policy,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Delete a series.
#[derive(Debug, Args)]
#[command(after_help = format!("{DELETE_EXAMPLES}\n\n{SERIES_HELP}"))]
pub struct DeleteArgs {
    /// The series.
    #[command(flatten)]
    pub series: SeriesArgs,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Lists the series of a set.
pub async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let (namespace, Some(set)) = (&args.place.0, &args.place.1) else {
        return Err(Failure::usage("series lie in a set", format!("Write {}/SET.", args.place.0)));
    };
    let client = args.target.connect().await?;
    let mut list = client.list_time_series(namespace, set);
    let mut entries = Vec::new();
    while let Some(entry) = list.next().await {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => return Err(suggest(&client, namespace, Some(set), failed(&error)).await),
        }
    }
    entries.sort_by(|a, b| a.series.cmp(&b.series));
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => entries.iter().try_for_each(|entry| out.json(&entry_json(entry)))?,
        OutputFormat::Table => {
            let mut rows = table(["series", "blocks", "span", "duplicates", "retention", "from", "to"]);
            let time = |at_ms: Option<i64>| at_ms.map_or_else(String::new, time_text);
            for entry in &entries {
                rows.add_row([
                    entry.series.clone(),
                    entry.blocks.to_string(),
                    duration_text(entry.span_ms),
                    entry.duplicates.name().to_owned(),
                    retention_text(entry.retention_secs),
                    time(entry.from_ms),
                    time(entry.to_ms),
                ]);
            }
            out.table(&rows)?;
            out.line(&format!("{} series", grouped(entries.len() as u64)))?;
        }
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

fn entry_json(entry: &SeriesEntry) -> Value {
    let time = |at_ms: Option<i64>| at_ms.map_or(Value::Null, Value::Int);
    object([
        ("series", entry.series.as_str().into()),
        ("blocks", entry.blocks.into()),
        ("span_ms", entry.span_ms.into()),
        ("duplicates", entry.duplicates.name().into()),
        ("retention_secs", entry.retention_secs.map_or(Value::Null, |secs| Value::Int(secs.into()))),
        ("from_ms", time(entry.from_ms)),
        ("to_ms", time(entry.to_ms)),
    ])
}

fn retention_text(secs: Option<u32>) -> String {
    secs.map_or_else(|| "forever".to_owned(), |secs| duration_text(i64::from(secs) * 1_000))
}

/// Shows how a series is stored.
pub async fn info(args: &InfoArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    let client = args.target.connect().await?;
    let series = path.at(&client)?;
    let told = |error: TimeSeriesError| failed(&error);
    let stored = series.stored().await.map_err(told)?;
    let known =
        series.describe().await.map_err(told)?.ok_or_else(|| failed(&TimeSeriesError::NoSeries(path.shown())))?;
    let each = if stored.points > 0 { stored.bytes as f64 / stored.points as f64 } else { 0.0 };
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&object([
            ("series", path.shown().into()),
            ("points", count(stored.points)),
            ("blocks", count(stored.blocks)),
            ("bytes", count(stored.bytes)),
            ("bytes_a_point", ((each * 1_000.0).round() / 1_000.0).into()),
            ("first_ms", stored.first.map_or(Value::Null, |point| point.at_ms.into())),
            ("last_ms", stored.last.map_or(Value::Null, |point| point.at_ms.into())),
            ("span_ms", known.span_ms.into()),
            ("duplicates", known.duplicates.name().into()),
            ("retention_secs", known.retention_secs.map_or(Value::Null, |secs| Value::Int(secs.into()))),
        ]))?,
        OutputFormat::Table => {
            let point = |point: Option<outcrop_client::timeseries::Point>| {
                point.map_or_else(String::new, |point| format!("{}  {}", time_text(point.at_ms), point.value))
            };
            let mut rows = table(["", &path.shown()]);
            for (name, value) in [
                ("points", grouped(stored.points)),
                ("blocks", format!("{} of {}", grouped(stored.blocks), duration_text(known.span_ms))),
                ("stored", format!("{}, {each:.2} bytes a point", bytes_text(stored.bytes))),
                ("first", point(stored.first)),
                ("last", point(stored.last)),
                ("duplicates", known.duplicates.name().to_owned()),
                ("retention", retention_text(known.retention_secs)),
            ] {
                rows.add_row([name.to_owned(), value]);
            }
            out.table(&rows)?;
        }
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

/// Makes a series, or changes its policies.
pub async fn set(args: &SetArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    let client = args.target.connect().await?;
    let series = path.at(&client)?.options(args.policy.options());
    let made = match series.create().await {
        Ok(made) => made,
        Err(error) => return Err(suggest(&client, &path.namespace, None, failed(&error)).await),
    };
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&object([
            ("series", path.shown().into()),
            ("span_ms", made.span_ms.into()),
            ("duplicates", made.duplicates.name().into()),
            ("retention_secs", made.retention_secs.map_or(Value::Null, |secs| Value::Int(secs.into()))),
        ]))?,
        OutputFormat::Table => out.line(&format!(
            "{}  blocks of {}, duplicates: {}, kept {}",
            path.shown(),
            duration_text(made.span_ms),
            made.duplicates.name(),
            retention_text(made.retention_secs)
        ))?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

/// Deletes a series.
pub async fn delete(args: &DeleteArgs) -> Result<Exit, Failure> {
    let path = args.series.path()?;
    let client = args.target.connect().await?;
    let deleted = path.at(&client)?.delete().await.map_err(|error| failed(&error))?;
    if !deleted {
        return Err(failed(&TimeSeriesError::NoSeries(path.shown())));
    }
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&object([("series", path.shown().into()), ("deleted", true.into())]))?,
        OutputFormat::Table => out.line(&format!("{}  deleted", path.shown()))?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_are_durations_or_forever() {
        assert_eq!(parse_retention("forever"), Ok(Duration::ZERO));
        assert_eq!(parse_retention("90d"), Ok(Duration::from_secs(90 * 86_400)));
        for wrong in ["", "0s", "500ms", "never", "200000d"] {
            assert!(parse_retention(wrong).is_err(), "{wrong}");
        }
    }
}
