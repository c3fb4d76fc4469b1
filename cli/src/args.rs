//! The command line: what there is to say, and help with examples for each command.

use clap::{Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::doc::DocArgs;
use crate::output::OutputFormat;
use crate::serve::dev::DevArgs;
use crate::serve::node::NodeArgs;
use crate::ts::TsArgs;
use crate::udf::UdfArgs;
use crate::udf::aggregate::AggregateArgs;
use crate::udf::call::CallArgs;
use crate::udf::jobs::JobsArgs;
use crate::udf::rows::RowsArgs;
use crate::verb::codes::CodesArgs;
use crate::verb::completions::CompletionsArgs;
use crate::verb::delete::DeleteArgs;
use crate::verb::exists::ExistsArgs;
use crate::verb::export::ExportArgs;
use crate::verb::get::GetArgs;
use crate::verb::import::ImportArgs;
use crate::verb::operate::OperateArgs;
use crate::verb::put::PutArgs;
use crate::verb::scan::ScanArgs;
use crate::verb::stat::StatArgs;
use crate::verb::touch::TouchArgs;
use crate::verb::truncate::TruncateArgs;

/// How keys are written; the same words in every command that takes one.
pub const KEY_HELP: &str = "\
Keys: NAMESPACE/SET/KEY. The first two slashes separate, the rest is the key as it stands, slashes, spaces and any
Unicode included. Digits (test/users/42) are an integer key, anything else is a text key. To say it outright:
  int:42             the integer 42                hex:00ff          the bytes 00 ff
  text:42            the text \"42\"                 base64:AP8=       the bytes 00 ff
  text:int:42        the text \"int:42\"             json:\"a\\nb\"       text with escapes";

const TOP_HELP: &str = "\
Examples:
  outcrop dev                                             a node to try things on
  outcrop put test/users/42 --json '{\"name\":\"Ada\"}'
  outcrop get test/users/42
  outcrop import shops.json --into test/shops --key id
  outcrop scan test/shops --bins name,city --limit 10
  outcrop udf new shop                                    functions that run in the node
  outcrop call test/products/lamp shop.discount '{\"percent\": 25}'
  outcrop node --config outcrop.toml

Exit codes: 0 done, 1 no such record, 2 wrong command line or document, 3 some rows are bad, 4 a condition didn't hold,
5 node unavailable (try again), 6 a write may or may not have happened, 7 refused (see `outcrop codes`), 8 a file,
device or port of this machine can't be used, 130 interrupted.";

/// Outcrop: a key-value data platform node, and the tools to use it.
#[derive(Debug, Parser)]
#[command(name = "outcrop", version, about, after_help = TOP_HELP, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node to try things on, with a certificate of its own
    Dev(DevArgs),
    /// Run a node by its configuration
    Node(NodeArgs),
    /// Write a record
    Put(PutArgs),
    /// Read a record
    Get(GetArgs),
    /// Whether a record is there
    Exists(ExistsArgs),
    /// Give a record a new time to live
    Touch(TouchArgs),
    /// Delete a record
    Delete(DeleteArgs),
    /// Change a record in steps, all or nothing
    Operate(OperateArgs),
    /// List the records of a set or namespace
    Scan(ScanArgs),
    /// Remove all records of a set
    Truncate(TruncateArgs),
    /// Write the rows of a file as records
    Import(ImportArgs),
    /// Write the records of a set to a file
    Export(ExportArgs),
    /// Show statistics of the node and its namespaces
    Stat(StatArgs),
    /// Measure a node
    Bench(Box<BenchArgs>),
    /// Write, test, deploy and watch functions that run in the node
    Udf(Box<UdfArgs>),
    /// Run a function on a record
    Call(CallArgs),
    /// Run a function over a set, for one result
    Aggregate(AggregateArgs),
    /// Run a function over a set, for rows
    Rows(RowsArgs),
    /// Run a function over a set in the background
    Jobs(JobsArgs),
    /// JSON documents: read and change parts, filter sets
    Doc(Box<DocArgs>),
    /// Time series: append, import, read, windows
    Ts(Box<TsArgs>),
    /// List the error codes: what each means, what to do
    Codes(CodesArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

impl Command {
    /// How this command prints, so that its failure prints alike.
    pub fn output(&self) -> OutputFormat {
        match self {
            Command::Dev(args) => args.output,
            Command::Node(_) | Command::Completions(_) => OutputFormat::Table,
            Command::Put(args) => args.target.output,
            Command::Get(args) => args.target.output,
            Command::Exists(args) => args.target.output,
            Command::Touch(args) => args.target.output,
            Command::Delete(args) => args.target.output,
            Command::Operate(args) => args.target.output,
            Command::Scan(args) => args.target.output,
            Command::Truncate(args) => args.target.output,
            Command::Import(args) => args.target.output,
            Command::Export(args) => args.target.output,
            Command::Stat(args) => args.target.output,
            Command::Bench(args) => match args.output {
                crate::bench::OutputFormat::Table => OutputFormat::Table,
                crate::bench::OutputFormat::Json => OutputFormat::Json,
            },
            Command::Udf(args) => args.command.output(),
            Command::Call(args) => args.target.output,
            Command::Aggregate(args) => args.target.output,
            Command::Rows(args) => args.target.output,
            Command::Jobs(args) => args.command.output(),
            Command::Doc(args) => args.command.output(),
            Command::Ts(args) => args.command.output(),
            Command::Codes(args) => args.output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no examples", command.get_name());
        }
    }
}
