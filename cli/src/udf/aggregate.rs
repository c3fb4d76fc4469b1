//! `outcrop aggregate`: one result of a set, a namespace or a list of keys, worked out beside the data.

use std::time::Duration;

use clap::Args;
use outcrop_client::{Key, Target as Over, UserKey};

use super::arguments::parse_arguments;
use super::call::{print_report, with_report};
use crate::failure::{Exit, Failure};
use crate::keys::{parse_place, parse_user_key};
use crate::output::{Out, OutputFormat, value_text};
use crate::target::{Target, is_damaged, parse_deadline, suggest};

const HELP: &str = "\
Examples:
  outcrop aggregate test/products shop.revenue
  outcrop aggregate test/products shop.revenue --logs             log lines, records, time
  outcrop aggregate test/products shop.revenue --keys lamp,chair
  outcrop aggregate test/products shop.revenue --partitions 0-2047
  outcrop aggregate test shop.revenue --limit 2m                  all sets, for two minutes

Ctrl-C ends the work in the node, too.";

/// Aggregate many records.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct AggregateArgs {
    /// NAMESPACE or NAMESPACE/SET
    #[arg(value_name = "NAMESPACE[/SET]", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// MODULE.FUNCTION or MODULE@VERSION.FUNCTION
    pub function: String,
    /// Arguments as JSON (-: from standard input)
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub arguments: Option<String>,
    /// Only these keys of the set
    #[arg(long, value_name = "KEYS", value_delimiter = ',', value_parser = parse_user_key)]
    pub keys: Vec<UserKey>,
    /// Only these partitions, such as 0-2047
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_partitions, conflicts_with = "keys")]
    pub partitions: Option<(u16, u16)>,
    /// Show log lines, records, fuel, memory and time
    #[arg(long)]
    pub logs: bool,
    /// How long it may take, such as 2m [default: 1m, or --deadline if that is more]
    #[arg(long, value_name = "TIME", value_parser = parse_deadline)]
    pub limit: Option<Duration>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Parses `FIRST-LAST`.
pub fn parse_partitions(text: &str) -> Result<(u16, u16), String> {
    let wrong = || "two partitions of 0 to 4095, such as 0-2047".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let partition =
        |text: &str| text.parse::<u16>().ok().filter(|p| usize::from(*p) < outcrop_wire::limits::PARTITIONS);
    match (partition(first), partition(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(wrong()),
    }
}

impl AggregateArgs {
    fn over(&self) -> Result<Over, Failure> {
        let (namespace, set) = (self.place.0.as_str(), self.place.1.as_deref());
        if !self.keys.is_empty() {
            let Some(set) = set else {
                return Err(Failure::usage("--keys needs a set", "Write NAMESPACE/SET."));
            };
            let keys = self.keys.iter().map(|key| Key::new(namespace, set, key.clone()));
            return Ok(Over::keys(namespace, keys));
        }
        let over = match set {
            Some(set) => Over::set(namespace, set),
            None => Over::namespace(namespace),
        };
        Ok(match self.partitions {
            Some((first, last)) => over.partitions(first..=last),
            None => over,
        })
    }
}

/// Runs it and prints the result.
pub async fn run(args: &AggregateArgs) -> Result<Exit, Failure> {
    let (over, arguments) = (args.over()?, parse_arguments(args.arguments.as_deref())?);
    let client = args.target.connect().await?;
    let mut function = client.function(args.function.as_str()).value(&arguments);
    if args.logs {
        function = function.report();
    }
    if let Some(limit) = args.limit {
        function = function.deadline(limit);
    }
    let called = match function.aggregate(&over).await {
        Ok(called) => called,
        Err(error) => return Err(suggest(&client, &args.place.0, args.place.1.as_deref(), error.into()).await),
    };
    let mut out = Out::new();
    let result = called.value()?;
    match args.target.output {
        OutputFormat::Json if args.logs => out.json(&with_report(result, 0, &called.report()?))?,
        OutputFormat::Json => out.json(&result)?,
        OutputFormat::Table => {
            out.line(&value_text(&result))?;
            if args.logs {
                print_report(&mut out, &called.report()?)?;
            }
        }
    }
    out.flush()?;
    client.close().await;
    Ok(if is_damaged(called.damaged()?) { Exit::Partial } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::parse_partitions;

    #[test]
    fn partitions_are_two_numbers_in_order() {
        assert_eq!(parse_partitions("0-4095"), Ok((0, 4095)));
        assert_eq!(parse_partitions("7-7"), Ok((7, 7)));
        for wrong in ["", "7", "8-7", "0-4096", "-1-2", "a-b"] {
            assert!(parse_partitions(wrong).is_err(), "{wrong}");
        }
    }
}
