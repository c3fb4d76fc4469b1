//! `outcrop udf pause|resume|activate|rollback|deactivate|remove|limits`: small words to the node about a module.

use clap::Args;
use outcrop_client::{Client, ClientError, ModuleLimits};

use crate::bench::sizes::parse_bytes;
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, object};
use crate::target::Target;

const MODULE_HELP: &str = "\
Examples:
  outcrop udf pause shop                       its calls are refused until resume
  outcrop udf resume shop
  outcrop udf rollback shop                    back to the version that was active before
  outcrop udf deactivate shop                  no version is active; calls by version still work

Calls that are under way finish on the version that they began with.";

const VERSION_HELP: &str = "\
Examples:
  outcrop udf activate shop 0.2.0              at once and as a whole: each call gets the old one or the new one
  outcrop udf remove shop 0.1.0                a version that isn't active";

const LIMITS_HELP: &str = "\
Examples:
  outcrop udf limits shop --wall-ms 50 --memory-bytes 32MiB
  outcrop udf describe shop                    shows what is set

All limits of the module are set at once: what isn't named stays with the node's configuration, also if it was set before.
--clear takes all of them back.";

/// A module.
#[derive(Debug, Args)]
#[command(after_help = MODULE_HELP)]
pub struct ModuleArgs {
    /// The module
    pub module: String,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// A version of a module.
#[derive(Debug, Args)]
#[command(after_help = VERSION_HELP)]
pub struct VersionArgs {
    /// The module
    pub module: String,
    /// The version
    pub version: String,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Limits of a module's calls.
#[derive(Debug, Args)]
#[command(after_help = LIMITS_HELP)]
pub struct LimitsArgs {
    /// The module
    pub module: String,
    /// Wall time of a call
    #[arg(long, value_name = "MS")]
    pub wall_ms: Option<u64>,
    /// Instructions of a call, roughly
    #[arg(long, value_name = "N")]
    pub fuel: Option<u64>,
    /// Memory of an instance
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory_bytes: Option<u64>,
    /// Calls of the node by one call
    #[arg(long, value_name = "N")]
    pub host_calls: Option<u64>,
    /// Arguments and record
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub input_bytes: Option<u64>,
    /// A result, a state or a row
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub output_bytes: Option<u64>,
    /// Reads of other records by one call
    #[arg(long, value_name = "N")]
    pub reads: Option<u64>,
    /// Calls of the module at once
    #[arg(long, value_name = "N")]
    pub concurrent_calls: Option<u64>,
    /// Take all limits of the module back
    #[arg(long, conflicts_with_all = ["wall_ms", "fuel", "memory_bytes", "host_calls", "input_bytes", "output_bytes", "reads", "concurrent_calls"])]
    pub clear: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Says what was done.
fn done(output: OutputFormat, module: &str, version: Option<&str>, what: &str) -> Result<Exit, Failure> {
    let mut out = Out::new();
    match output {
        OutputFormat::Json => out.json(&object([
            ("module", module.into()),
            ("version", version.map_or(outcrop_client::Value::Null, Into::into)),
            ("done", what.into()),
        ]))?,
        OutputFormat::Table => {
            let at = version.map_or(String::new(), |version| format!("@{version}"));
            out.line(&format!("{module}{at}: {what}"))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

async fn finish<T>(client: Client, result: Result<T, ClientError>) -> Result<T, Failure> {
    let value = result?;
    client.close().await;
    Ok(value)
}

/// Refuses its calls.
pub async fn pause(args: &ModuleArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let result = client.modules().pause(&args.module).await;
    finish(client, result).await?;
    done(args.target.output, &args.module, None, "paused")
}

/// Takes its calls again.
pub async fn resume(args: &ModuleArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let result = client.modules().resume(&args.module).await;
    finish(client, result).await?;
    done(args.target.output, &args.module, None, "resumed")
}

/// Makes a version the active one.
pub async fn activate(args: &VersionArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let result = client.modules().activate(&args.module, &args.version).await;
    finish(client, result).await?;
    done(args.target.output, &args.module, Some(&args.version), "active")
}

/// Goes back to the version before.
pub async fn rollback(args: &ModuleArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let result = client.modules().rollback(&args.module).await;
    let version = finish(client, result).await?;
    done(args.target.output, &args.module, Some(&version), "active again")
}

/// Leaves it without an active version.
pub async fn deactivate(args: &ModuleArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let result = client.modules().deactivate(&args.module).await;
    finish(client, result).await?;
    done(args.target.output, &args.module, None, "no version is active")
}

/// Removes a version.
pub async fn remove(args: &VersionArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let result = client.modules().remove(&args.module, &args.version).await;
    finish(client, result).await?;
    done(args.target.output, &args.module, Some(&args.version), "removed")
}

/// Sets limits.
pub async fn limits(args: &LimitsArgs) -> Result<Exit, Failure> {
    let limits = ModuleLimits {
        wall_ms: args.wall_ms,
        fuel: args.fuel,
        memory_bytes: args.memory_bytes,
        host_calls: args.host_calls,
        input_bytes: args.input_bytes,
        output_bytes: args.output_bytes,
        reads: args.reads,
        concurrent_calls: args.concurrent_calls,
        ..ModuleLimits::default()
    };
    if limits == ModuleLimits::default() && !args.clear {
        let advice = "Name a limit, or --clear; `outcrop udf describe` shows what is set.";
        return Err(Failure::usage("no limit is named; nothing was changed", advice));
    }
    let client = args.target.connect().await?;
    let result = client.modules().set_limits(&args.module, &limits).await;
    finish(client, result).await?;
    done(args.target.output, &args.module, None, "limits set")
}
