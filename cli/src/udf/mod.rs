//! Functions on the command line: the author's way (`outcrop udf …`) and the caller's (`call`, `aggregate`, `rows`, `jobs`).

pub mod aggregate;
pub mod arguments;
pub mod build;
pub mod call;
pub mod cases;
pub mod control;
pub mod deploy;
pub mod describe;
pub mod dev;
pub mod embedded;
pub mod jobs;
pub mod key;
pub mod list;
pub mod logs;
pub mod new;
pub mod rows;
pub mod stats;
pub mod test;
pub mod watch;

use clap::{Args, Subcommand};

use crate::failure::{Exit, Failure};
use crate::output::OutputFormat;

const HELP: &str = "\
Examples:
  outcrop udf new shop && cd shop              a project with one function and its tests
  outcrop udf test                             build it and run its cases in a node of its own
  outcrop udf deploy                           upload and activate it
  outcrop call test/products/lamp shop.discount '{\"percent\": 25}' --logs
  outcrop udf dev                              build, test and deploy again whenever a file is saved
  outcrop udf logs shop --follow
  outcrop udf rollback shop

docs/functions.md goes through it step by step.";

/// Write, test, deploy and watch functions that run in the node.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct UdfArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: UdfCommand,
}

/// The commands about modules.
#[derive(Debug, Subcommand)]
pub enum UdfCommand {
    /// Make a project
    New(new::NewArgs),
    /// Build a project's module
    Build(build::BuildArgs),
    /// Run a project's cases in a node of its own
    Test(test::TestArgs),
    /// Upload a module and activate it
    Deploy(deploy::DeployArgs),
    /// Build, test and deploy whenever a file is saved
    Dev(dev::DevArgs),
    /// List modules and their versions
    List(list::ListArgs),
    /// Show what a module offers
    Describe(describe::DescribeArgs),
    /// Show what functions logged
    Logs(logs::LogsArgs),
    /// Show calls, failures, latencies, fuel and counters
    Stats(stats::StatsArgs),
    /// Refuse calls of a module for now
    Pause(control::ModuleArgs),
    /// Take calls of a module again
    Resume(control::ModuleArgs),
    /// Make a version the one that calls get
    Activate(control::VersionArgs),
    /// Activate the version that was active before
    Rollback(control::ModuleArgs),
    /// Leave a module without an active version
    Deactivate(control::ModuleArgs),
    /// Remove a version that isn't active
    Remove(control::VersionArgs),
    /// Set limits of a module's calls
    Limits(control::LimitsArgs),
    /// Make a key to sign modules with
    Keygen(key::KeygenArgs),
}

impl UdfCommand {
    /// How it prints.
    pub fn output(&self) -> OutputFormat {
        match self {
            UdfCommand::New(_) | UdfCommand::Keygen(_) => OutputFormat::Table,
            UdfCommand::Build(args) => args.output,
            UdfCommand::Test(args) => args.output,
            UdfCommand::Deploy(args) => args.target.output,
            UdfCommand::Dev(args) => args.target.output,
            UdfCommand::List(args) => args.target.output,
            UdfCommand::Describe(args) => args.target.output,
            UdfCommand::Logs(args) => args.target.output,
            UdfCommand::Stats(args) => args.target.output,
            UdfCommand::Pause(args)
            | UdfCommand::Resume(args)
            | UdfCommand::Rollback(args)
            | UdfCommand::Deactivate(args) => args.target.output,
            UdfCommand::Activate(args) | UdfCommand::Remove(args) => args.target.output,
            UdfCommand::Limits(args) => args.target.output,
        }
    }
}

/// Runs a command about modules.
pub async fn run(args: &UdfArgs) -> Result<Exit, Failure> {
    match &args.command {
        UdfCommand::New(args) => new::run(args),
        UdfCommand::Build(args) => build::run(args).await,
        UdfCommand::Test(args) => test::run(args).await,
        UdfCommand::Deploy(args) => deploy::run(args).await,
        UdfCommand::Dev(args) => dev::run(args).await,
        UdfCommand::List(args) => list::run(args).await,
        UdfCommand::Describe(args) => describe::run(args).await,
        UdfCommand::Logs(args) => logs::run(args).await,
        UdfCommand::Stats(args) => stats::run(args).await,
        UdfCommand::Pause(args) => control::pause(args).await,
        UdfCommand::Resume(args) => control::resume(args).await,
        UdfCommand::Activate(args) => control::activate(args).await,
        UdfCommand::Rollback(args) => control::rollback(args).await,
        UdfCommand::Deactivate(args) => control::deactivate(args).await,
        UdfCommand::Remove(args) => control::remove(args).await,
        UdfCommand::Limits(args) => control::limits(args).await,
        UdfCommand::Keygen(args) => key::run(args),
    }
}
