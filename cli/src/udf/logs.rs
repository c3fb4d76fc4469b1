//! `outcrop udf logs`: what the functions of a module logged, and what they go on to log.

use std::time::Duration;

use clap::Args;
use outcrop_client::{LogEntry, Value};

use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, count, object, utc, value_text};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop udf logs shop
  outcrop udf logs shop --follow               goes on until ctrl-c
  outcrop udf logs shop --level warn --limit 1000

The node keeps the latest lines of each module, in memory; its own log has them all.";

/// How often a follower asks.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

/// Show log lines.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct LogsArgs {
    /// The module
    pub module: String,
    /// How many of the latest lines
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Only lines of this level and above
    #[arg(long, value_name = "LEVEL", default_value = "debug", value_parser = LEVELS)]
    pub level: String,
    /// Go on with new lines as they come
    #[arg(short, long)]
    pub follow: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Asks and prints.
pub async fn run(args: &LogsArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let modules = client.modules();
    let mut out = Out::new();
    let mut after = None;
    loop {
        let lines = modules.logs(&args.module, after, args.limit).await?;
        for line in lines.iter().filter(|line| rank(&line.level) >= rank(&args.level)) {
            print(&mut out, args.target.output, line)?;
        }
        after = lines.last().map(|line| line.sequence).or(after);
        out.flush()?;
        if !args.follow {
            break;
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
    client.close().await;
    Ok(Exit::Ok)
}

/// A level's place; one that isn't known is shown.
fn rank(level: &str) -> usize {
    LEVELS.iter().position(|known| *known == level).unwrap_or(LEVELS.len())
}

/// Prints one line.
pub fn print(out: &mut Out, output: OutputFormat, line: &LogEntry) -> Result<(), Failure> {
    match output {
        OutputFormat::Json => out.json(&to_json(line)),
        OutputFormat::Table => {
            let message = value_text(&line.message.as_str().into());
            let at = utc(line.at_ms / 1_000);
            out.line(&format!("{at}  {:<5}  {}@{}  {message}", line.level, line.function, line.version))
        }
    }
}

fn to_json(line: &LogEntry) -> Value {
    object([
        ("sequence", count(line.sequence)),
        ("at_ms", count(line.at_ms)),
        ("version", line.version.as_str().into()),
        ("function", line.function.as_str().into()),
        ("level", line.level.as_str().into()),
        ("message", line.message.as_str().into()),
    ])
}
