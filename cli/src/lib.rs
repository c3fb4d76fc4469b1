//! The `outcrop` command: nodes, data commands, import and export, measurements.
//!
//! Every command is one file in `verb` or `serve`; what they share is text: `keys`, `ttl`, `json`, `rows`. A command
//! returns an [`Exit`] or a [`Failure`]; nothing below this file ends the process.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod args;
pub mod bench;
pub mod doc;
pub mod failure;
pub mod json;
pub mod keys;
pub mod output;
pub mod progress;
pub mod rows;
pub mod serve;
pub mod target;
pub mod ts;
pub mod ttl;
pub mod udf;
pub mod verb;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::{Exit, Failure};
use crate::output::OutputFormat;

/// Runs the command line and gives the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // A node's compiler process: its bounds come before anything that makes threads or reads the environment.
    if arguments.get(1).is_some_and(|word| word == outcrop_node::udf::compile::COMMAND) {
        return outcrop_node::udf::compile::child::main();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let output = cli.command.output();
    let result = runtime().and_then(|runtime| runtime.block_on(run_to_goodbye(cli.command)));
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            failure.print(output);
            ExitCode::from(if failure.silent { Exit::Ok } else { failure.exit } as u8)
        }
    }
}

/// How long the connections of a command that failed may take to tell the node that they end; the node would keep them,
/// and what it still has to say on them, until they have been silent for long, also while it shuts down.
const GOODBYE: Duration = Duration::from_millis(5);

/// How long a command that is interrupted may take to say goodbye.
const INTERRUPTED: Duration = Duration::from_millis(250);

/// Comes when the command is interrupted (ctrl-c), from a thread of its own: a command that is blocked, by a terminal say,
/// ends as well, a little later.
fn interruption(listens: bool) -> tokio::sync::oneshot::Receiver<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    if listens {
        let wait = move || {
            let waited = runtime().is_ok_and(|runtime| runtime.block_on(tokio::signal::ctrl_c()).is_ok());
            if waited {
                // Nobody listens any more: it is ending already.
                let _ = tell.send(());
                std::thread::sleep(INTERRUPTED);
                std::process::exit(Exit::Interrupted as i32);
            }
        };
        // Without the thread ctrl-c ends the process as it always does.
        let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait);
    }
    told
}

async fn run_to_goodbye(command: Command) -> Result<Exit, Failure> {
    let measures = matches!(command, Command::Bench(_));
    // Those that serve or measure end in their own way.
    let ends_itself = measures || matches!(command, Command::Dev(_) | Command::Node(_));
    let interrupted = interruption(!ends_itself);
    let result = tokio::select! {
        result = run(command) => result,
        // The command is dropped, and with it its requests: the node stops what it does for them.
        Ok(()) = interrupted => Ok(Exit::Interrupted),
    };
    // A bench drops its sessions as they are.
    if matches!(result, Err(_) | Ok(Exit::Interrupted)) || measures {
        // Its clients were dropped: their last packets leave in the runtime's next turns.
        tokio::time::sleep(GOODBYE).await;
    }
    result
}

async fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Dev(args) => serve::dev::run(&args).await,
        Command::Node(args) => serve::node::run(&args).await,
        Command::Put(args) => verb::put::run(&args).await,
        Command::Get(args) => verb::get::run(&args).await,
        Command::Exists(args) => verb::exists::run(&args).await,
        Command::Touch(args) => verb::touch::run(&args).await,
        Command::Delete(args) => verb::delete::run(&args).await,
        Command::Operate(args) => verb::operate::run(&args).await,
        Command::Scan(args) => verb::scan::run(&args).await,
        Command::Truncate(args) => verb::truncate::run(&args).await,
        Command::Import(args) => verb::import::run(&args).await,
        Command::Export(args) => verb::export::run(&args).await,
        Command::Stat(args) => verb::stat::run(&args).await,
        Command::Bench(args) => {
            bench::run(*args).await?;
            Ok(Exit::Ok)
        }
        Command::Udf(args) => udf::run(&args).await,
        Command::Call(args) => udf::call::run(&args).await,
        Command::Aggregate(args) => udf::aggregate::run(&args).await,
        Command::Rows(args) => udf::rows::run(&args).await,
        Command::Jobs(args) => udf::jobs::run(&args).await,
        Command::Doc(args) => doc::run(&args).await,
        Command::Ts(args) => ts::run(&args).await,
        Command::Codes(args) => verb::codes::run(&args),
        Command::Completions(args) => verb::completions::run(&args),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("no runtime: {error}"), "Check the limits of this process."))
}

/// Help and version go to standard output; a wrong command line is an error in the form that was asked for.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let json = words.iter().any(|word| matches!(*word, "--output=json" | "-ojson" | "-o=json"))
        || words.windows(2).any(|pair| matches!(pair, ["--output" | "-o", "json"]));
    if error.use_stderr() && json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Failure::usage(message, "Run the command with --help.").print(OutputFormat::Json);
    } else if error.print().is_err() {
        // Whoever reads has gone: there is nobody to tell.
        return ExitCode::from(Exit::Ok as u8);
    }
    ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Ok } as u8)
}
