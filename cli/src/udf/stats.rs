//! `outcrop udf stats`: calls, failures, latencies, fuel and memory of functions, and the counters that they keep.

use std::collections::BTreeMap;

use clap::Args;
use outcrop_client::{FunctionStats, MapKey, ModuleStats, Value};

use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, bytes_text, count, grouped, object, table};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop udf stats                            all modules
  outcrop udf stats shop
  outcrop udf stats shop --output json | jq .counters

Numbers are since the node's start; /metrics of the node has them as well.";

/// Show numbers.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct StatsArgs {
    /// Only this module
    pub module: Option<String>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Asks and prints.
pub async fn run(args: &StatsArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let modules = match &args.module {
        Some(module) => vec![client.modules().stats(module).await?],
        None => client.modules().stats_of_all().await?,
    };
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => modules.iter().try_for_each(|module| out.json(&to_json(module)))?,
        OutputFormat::Table => print(&mut out, &modules)?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

fn print(out: &mut Out, modules: &[ModuleStats]) -> Result<(), Failure> {
    let headings = ["function", "calls", "failed", "p50 us", "p99 us", "max us", "fuel a call", "memory", "records"];
    let mut rows = table(headings);
    for module in modules {
        for function in &module.functions {
            rows.add_row([
                format!("{}.{}", module.name, function.function),
                grouped(function.calls),
                failures_text(&function.failures),
                grouped(function.latency_us_p50),
                grouped(function.latency_us_p99),
                grouped(function.latency_us_max),
                grouped(function.fuel / function.calls.max(1)),
                bytes_text(function.memory_bytes_max),
                grouped(function.records),
            ]);
        }
    }
    if rows.is_empty() {
        out.line("no function was called since the node's start")?;
    } else {
        out.table(&rows)?;
    }
    for module in modules.iter().filter(|module| !module.counters.is_empty()) {
        out.line("")?;
        out.line(&format!("counters of {}", module.name))?;
        for (name, value) in &module.counters {
            out.line(&format!("  {name}  {}", grouped(*value)))?;
        }
    }
    Ok(())
}

/// How many failed, and as what.
fn failures_text(failures: &BTreeMap<String, u64>) -> String {
    let total: u64 = failures.values().sum();
    if total == 0 {
        return "0".to_owned();
    }
    let kinds: Vec<String> = failures.iter().map(|(code, number)| format!("{code} {}", grouped(*number))).collect();
    format!("{} ({})", grouped(total), kinds.join(", "))
}

fn to_json(module: &ModuleStats) -> Value {
    object([
        ("name", module.name.as_str().into()),
        ("active", module.active.as_deref().map_or(Value::Null, Value::from)),
        ("functions", Value::List(module.functions.iter().map(function_json).collect())),
        ("counters", numbers(&module.counters)),
    ])
}

fn function_json(function: &FunctionStats) -> Value {
    object([
        ("function", function.function.as_str().into()),
        ("calls", count(function.calls)),
        ("failures", numbers(&function.failures)),
        ("fuel", count(function.fuel)),
        ("records", count(function.records)),
        ("memory_bytes_max", count(function.memory_bytes_max)),
        ("latency_us_p50", count(function.latency_us_p50)),
        ("latency_us_p99", count(function.latency_us_p99)),
        ("latency_us_max", count(function.latency_us_max)),
    ])
}

fn numbers(numbers: &BTreeMap<String, u64>) -> Value {
    Value::Map(numbers.iter().map(|(name, number)| (MapKey::from(name.as_str()), count(*number))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_kind() {
        assert_eq!(failures_text(&BTreeMap::new()), "0");
        let failures = BTreeMap::from([("function_failed".to_owned(), 1_200), ("function_trapped".to_owned(), 3)]);
        assert_eq!(failures_text(&failures), "1,203 (function_failed 1,200, function_trapped 3)");
    }
}
