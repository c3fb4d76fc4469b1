//! `outcrop ts`: time series from the command line. Each verb is one file; what they share is `series` and `time`.

pub mod agg;
pub mod append;
pub mod import;
pub mod manage;
pub mod range;
pub mod series;
pub mod time;

use clap::{Args, Subcommand};
use outcrop_client::Code;
use outcrop_client::timeseries::TimeSeriesError;

use crate::failure::{Exit, Failure};
use crate::output::OutputFormat;

const HELP: &str = "\
Examples:
  outcrop ts import taxi.csv --into test/metrics/taxi
  outcrop ts append test/metrics/cpu --tag host=a 0.93
  outcrop ts agg test/metrics/taxi --every 1d --fn avg,max,p99
  outcrop ts range test/metrics/taxi --from 2014-07-01 --to 2014-07-02
  outcrop ts last 'test/metrics/cpu{host=a}'
  outcrop ts list test/metrics

docs/models.md tells how series are stored and what the functions do.";

/// Time series.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TsCommand,
}

/// The commands about time series.
#[derive(Debug, Subcommand)]
pub enum TsCommand {
    /// Add points
    Append(append::AppendArgs),
    /// Add the rows of a CSV file as points
    Import(import::ImportArgs),
    /// Read the points of a stretch of time
    Range(range::RangeArgs),
    /// Read the latest points
    Last(range::LastArgs),
    /// Count, average, percentiles … of windows of time; downsample
    Agg(agg::AggArgs),
    /// List the series of a set
    List(manage::ListArgs),
    /// Show how a series is stored
    Info(manage::InfoArgs),
    /// Make a series, or change its retention or what duplicates do
    Set(manage::SetArgs),
    /// Delete a series with all its points
    Delete(manage::DeleteArgs),
}

impl TsCommand {
    /// How it prints.
    pub fn output(&self) -> OutputFormat {
        match self {
            TsCommand::Append(args) => args.target.output,
            TsCommand::Import(args) => args.target.output,
            TsCommand::Range(args) => args.target.output,
            TsCommand::Last(args) => args.target.output,
            TsCommand::Agg(args) => args.target.output,
            TsCommand::List(args) => args.target.output,
            TsCommand::Info(args) => args.target.output,
            TsCommand::Set(args) => args.target.output,
            TsCommand::Delete(args) => args.target.output,
        }
    }
}

/// Runs a command about time series.
pub async fn run(args: &TsArgs) -> Result<Exit, Failure> {
    match &args.command {
        TsCommand::Append(args) => append::run(args).await,
        TsCommand::Import(args) => import::run(args).await,
        TsCommand::Range(args) => range::run(args).await,
        TsCommand::Last(args) => range::last(args).await,
        TsCommand::Agg(args) => agg::run(args).await,
        TsCommand::List(args) => manage::list(args).await,
        TsCommand::Info(args) => manage::info(args).await,
        TsCommand::Set(args) => manage::set(args).await,
        TsCommand::Delete(args) => manage::delete(args).await,
    }
}

/// An error about a series as a failure.
pub fn failed(error: &TimeSeriesError) -> Failure {
    let (message, advice) = (error.to_string(), error.advice());
    match error {
        TimeSeriesError::Client(error) => error.clone().into(),
        TimeSeriesError::NoSeries(_) => {
            Failure { advice: advice.to_owned(), ..Failure::of_code(Code::NotFound, message) }
        }
        TimeSeriesError::Partly { .. } => Failure::partial(message, advice),
        _ => Failure::usage(message, advice),
    }
}
