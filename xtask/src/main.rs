//! `cargo xtask`: builds, tests, checks and demonstrates the workspace.

mod audit;
mod demo;
mod process;
mod report;
mod test;
mod tidy;
mod verify;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests, checks and demonstrates the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs everything that must pass: unit, property, crash, process and documentation tests, and the wasm32 build.
    Test(test::Options),
    /// The gate: format, lints, tidy, documentation, wasm32, dependencies, fuzz targets. Changes nothing.
    Verify,
    /// Checks the house's own rules: floors, module pages, unsafe, lengths, forbidden calls, links.
    Tidy(tidy::Options),
    /// Builds, starts a node and shows it at work: import, verbs, kill -9 and restart, a short bench.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = workspace::enter().and_then(|()| match arguments.task {
        Task::Test(options) => test::run(&options),
        Task::Verify => verify::run(),
        Task::Tidy(options) => tidy::run(&options),
        Task::Demo(options) => demo::run(&options),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
