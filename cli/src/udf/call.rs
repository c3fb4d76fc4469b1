//! `outcrop call`: run a record function on one record, or on several.

use clap::Args;
use outcrop_client::{Called, Client, Function, Key, Report, Value};

use super::arguments::parse_arguments;
use crate::args::KEY_HELP;
use crate::failure::{Exit, Failure};
use crate::keys::{parse_key, print_key};
use crate::output::{Out, OutputFormat, bytes_text, count, grouped, object, value_text};
use crate::target::{Target, suggest};

const EXAMPLES: &str = "\
Examples:
  outcrop call test/products/lamp shop.discount '{\"percent\": 25}'
  outcrop call test/products/lamp shop.discount 25 --logs         one argument alone; log lines and numbers with it
  outcrop call test/products/lamp shop@0.1.0.discount '[25]'      a version; arguments by place
  outcrop call test/products/lamp shop.discount 25 --also chair --also sofa
  outcrop call test/products/lamp shop.discount 25 --if-generation 3

Exit codes: 0 it gave a result, 4 --if-generation refused, 6 unknown whether it wrote, 7 it failed (nothing was written).";

/// Call a record function.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{KEY_HELP}"))]
pub struct CallArgs {
    /// NAMESPACE/SET/KEY; the record needn't be there
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// MODULE.FUNCTION or MODULE@VERSION.FUNCTION
    pub function: String,
    /// Arguments as JSON: an object by name, a list by place, or the only one alone (-: from standard input)
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub arguments: Option<String>,
    /// Also call it on this key of the same set
    #[arg(long, value_name = "KEY", value_parser = crate::keys::parse_user_key, conflicts_with = "if_generation")]
    pub also: Vec<outcrop_client::UserKey>,
    /// Show log lines, fuel, memory and time of the call
    #[arg(long)]
    pub logs: bool,
    /// Only if the record has this generation (0: only if there is none)
    #[arg(long, value_name = "N")]
    pub if_generation: Option<u32>,
    /// The function may run twice without harm: repeat it if its reply was lost
    #[arg(long)]
    pub idempotent: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Calls and prints.
pub async fn run(args: &CallArgs) -> Result<Exit, Failure> {
    let arguments = parse_arguments(args.arguments.as_deref())?;
    let client = args.target.connect().await?;
    let mut function = client.function(args.function.as_str()).value(&arguments).idempotent(args.idempotent);
    if args.logs {
        function = function.report();
    }
    if let Some(generation) = args.if_generation {
        function = function.if_generation(generation);
    }
    let exit = if args.also.is_empty() { one(args, &client, &function).await? } else { many(args, &function).await? };
    client.close().await;
    Ok(exit)
}

async fn one(args: &CallArgs, client: &Client, function: &Function) -> Result<Exit, Failure> {
    let called = match function.call(&args.key).await {
        Ok(called) => called,
        Err(error) => return Err(suggest(client, &args.key.namespace, None, error.into()).await),
    };
    let mut out = Out::new();
    let result = called.value()?;
    match args.target.output {
        OutputFormat::Json if args.logs => out.json(&with_report(result, called.generation(), &called.report()?))?,
        OutputFormat::Json => out.json(&result)?,
        OutputFormat::Table => {
            out.line(&value_text(&result))?;
            if args.logs {
                print_report(&mut out, &called.report()?)?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

async fn many(args: &CallArgs, function: &Function) -> Result<Exit, Failure> {
    let (namespace, set) = (&args.key.namespace, &args.key.set);
    let others = args.also.iter().map(|key| Key::new(namespace.as_str(), set.as_str(), key.clone()));
    let keys: Vec<Key> = std::iter::once(args.key.clone()).chain(others).collect();
    let called = function.call_many(&keys).await?;
    let mut out = Out::new();
    let mut failed = 0_usize;
    for (key, called) in keys.iter().zip(called) {
        let shown = print_key(namespace, set, key.user_key.borrow());
        let result: Result<(Value, Called), Failure> =
            called.and_then(|called| Ok((called.value()?, called))).map_err(Failure::from);
        failed += usize::from(result.is_err());
        match (result, args.target.output) {
            (Ok((value, _)), OutputFormat::Json) => {
                out.json(&object([("key", shown.into()), ("result", value)]))?;
            }
            (Ok((value, called)), OutputFormat::Table) => {
                out.line(&format!("{shown}  {}", value_text(&value)))?;
                if args.logs {
                    print_report(&mut out, &called.report()?)?;
                }
            }
            (Err(failure), OutputFormat::Json) => {
                out.json(&object([("key", shown.into()), ("error", failure.message.into())]))?;
            }
            (Err(failure), OutputFormat::Table) => out.line(&format!("{shown}  failed: {}", failure.message))?,
        }
    }
    out.flush()?;
    match failed {
        0 => Ok(Exit::Ok),
        failed => Err(Failure::partial(format!("{failed} of {} calls failed", keys.len()), "Each says why above.")),
    }
}

/// A result with what the call took.
pub fn with_report(result: Value, generation: u32, report: &Report) -> Value {
    let logs = report
        .logs
        .iter()
        .map(|line| object([("level", line.level.as_str().into()), ("message", line.message.as_str().into())]));
    object([
        ("result", result),
        ("generation", i64::from(generation).into()),
        ("module", report.module.as_str().into()),
        ("version", report.version.as_str().into()),
        ("fuel", count(report.fuel)),
        ("memory_bytes", count(report.memory_bytes)),
        ("wall_us", count(report.wall_us)),
        ("host_calls", count(report.host_calls)),
        ("records", count(report.records)),
        ("bytes", count(report.bytes)),
        ("elapsed_us", count(report.elapsed_us)),
        ("instances", count(report.instances)),
        ("logs", Value::List(logs.collect())),
        ("logs_dropped", count(report.logs_dropped)),
    ])
}

/// Log lines, then one line of numbers.
pub fn print_report(out: &mut Out, report: &Report) -> Result<(), Failure> {
    for line in &report.logs {
        out.line(&format!("  log  {}: {}", line.level, value_text(&line.message.as_str().into())))?;
    }
    if report.logs_dropped > 0 {
        out.line(&format!("  log  {} more lines were over the limit", grouped(report.logs_dropped)))?;
    }
    let mut numbers = vec![format!("{}@{}", report.module, report.version)];
    if report.records > 0 || report.instances > 1 {
        numbers.push(format!("{} records", grouped(report.records)));
        numbers.push(bytes_text(report.bytes));
        numbers.push(format!("{} instances", report.instances));
    }
    let wall_us = if report.elapsed_us > 0 { report.elapsed_us } else { report.wall_us };
    numbers.push(format!("{} us", grouped(wall_us)));
    numbers.push(format!("fuel {}", grouped(report.fuel)));
    numbers.push(format!("memory {}", bytes_text(report.memory_bytes)));
    numbers.push(format!("{} host calls", grouped(report.host_calls)));
    out.line(&format!("  {}", numbers.join(", ")))
}
