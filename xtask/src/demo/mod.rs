//! The demonstration: a node of this build, real-looking data, every verb, a kill -9, functions and the models that come
//! along, a short bench.

mod generator;
mod models;
mod node;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use node::DemoNode;
use serde_json::Value;

use crate::{process, workspace};

const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
const SERIES: usize = 4;
const SERIES_HOURS: usize = 2_000;

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub struct Options {
    /// Products to make and import.
    #[arg(long, default_value_t = 20_000)]
    products: usize,
    /// Seed of the generated data.
    #[arg(long, default_value_t = 2_026)]
    seed: u64,
    /// How long the bench measures, in seconds.
    #[arg(long, default_value_t = 5)]
    bench_secs: u32,
}

/// Shows a node at work; false if anything was not as it should be.
pub fn run(options: &Options) -> Result<bool, String> {
    say("Building the release binary (minutes from nothing, seconds afterwards)");
    let mut build = Command::new(workspace::cargo());
    build.args(["build", "--release", "--locked", "--package", "outcrop"]);
    process::run(&mut build, BUILD_LIMIT).map_err(|error| error.to_string())?;
    let started = Instant::now();
    let mut node = DemoNode::new(&workspace::target_dir().join("release/outcrop"))?;

    say("A node: outcrop dev --data DIR");
    let took = node.start()?;
    println!("  serves after {} ms; everything of it is in {}", took.as_millis(), node.folder().display());

    generate(options, node.folder())?;
    import(&node, options)?;
    verbs(&node)?;
    let before = export(&node)?;
    durability(&mut node, &before)?;
    models::models(&node)?;
    models::functions(&node)?;
    bench(&node, options)?;

    say("The end: SIGTERM");
    let took = node.stop()?;
    println!("  in-flight requests finished, the log is synced, exit code 0 after {} ms", took.as_millis());
    println!("\nThe demonstration took {:.1} s and left nothing behind.", started.elapsed().as_secs_f64());
    Ok(true)
}

fn say(headline: &str) {
    println!("\n== {headline}");
}

/// Prints what a command printed, set in.
fn show(command: &str, printed: &str) {
    const LINES_MAX: usize = 24;
    println!("  $ outcrop {command}");
    let lines: Vec<&str> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().take(LINES_MAX).for_each(|line| println!("    {}", line.chars().take(140).collect::<String>()));
    if lines.len() > LINES_MAX {
        println!("    … {} more lines", lines.len() - LINES_MAX);
    }
}

fn generate(options: &Options, folder: &Path) -> Result<(), String> {
    say("Real-looking data, from a seed");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).map_err(|error| error.to_string());
    let products = generator::products(options.products, options.seed);
    write("products.ndjson", &products)?;
    let kib = products.len() >> 10;
    println!("  products.ndjson: {} products in nested categories, {kib} KiB; one of them:", options.products);
    println!("  {}…", products.chars().take(140).collect::<String>());
    for exchange in 1..=SERIES {
        let series = generator::cost_per_click(SERIES_HOURS, options.seed + exchange as u64);
        write(&format!("exchange-{exchange}-cpc.csv"), &series)?;
    }
    println!("  exchange-1-cpc.csv … exchange-{SERIES}-cpc.csv: cost per click, {SERIES_HOURS} hours each");
    Ok(())
}

fn import(node: &DemoNode, options: &Options) -> Result<(), String> {
    say("Import");
    let started = Instant::now();
    let arguments = ["import", "products.ndjson", "--into", "test/products", "--key", "sku"];
    show(&arguments.join(" "), &node.outcrop(&arguments)?);
    let rate = options.products as f64 / started.elapsed().as_secs_f64();
    println!("  {rate:.0} products a second, each one synced to the device before it was acknowledged");
    for exchange in 1..=SERIES {
        let (file, into) = (format!("exchange-{exchange}-cpc.csv"), format!("test/cpc-{exchange}"));
        let arguments = ["import", &file, "--into", &into, "--key", "timestamp"];
        let printed = node.outcrop(&arguments)?;
        if exchange == 1 {
            show(&arguments.join(" "), &printed);
        }
    }
    Ok(())
}

fn verbs(node: &DemoNode) -> Result<(), String> {
    say("The verbs");
    let steps: [&[&str]; 11] = [
        &["put", "test/users/42", "--json", r#"{"name":"Ada","visits":1,"languages":["en","fr"],"score":9.5}"#],
        &["get", "test/users/42"],
        &["put", "test/users/42", "--json", r#"{"city":"London"}"#, "--ttl", "1h", "--if-generation", "1"],
        &["get", "test/users/42", "--output", "json"],
        &["exists", "test/users/42"],
        &["touch", "test/users/42", "--ttl", "2h"],
        &["put", "test/notes/a key/with slashes and Grüße", "--value", "plain bytes"],
        &["get", "test/notes/a key/with slashes and Grüße"],
        &["scan", "test/products", "--bins", "name,price", "--limit", "3"],
        &["scan", "test/cpc-1", "--limit", "3"],
        &["stat"],
    ];
    for arguments in steps {
        let started = Instant::now();
        let printed = node.outcrop(arguments)?;
        show(&quoted(arguments), &printed);
        println!("    ({:.1} ms, process start, handshake and all)", started.elapsed().as_secs_f64() * 1e3);
    }
    node.ends_with(&["put", "test/users/42", "--json", "{\"name\":\"Eve\"}", "--if-generation", "1"], 4)?;
    println!("  a write that expects generation 1 is refused (exit code 4): somebody wrote since");
    show("delete test/users/42", &node.outcrop(&["delete", "test/users/42"])?);
    node.ends_with(&["get", "test/users/42"], 1)?;
    println!("  and it is gone (exit code 1)");
    Ok(())
}

fn quoted(arguments: &[&str]) -> String {
    let quote = |text: &&str| if text.contains([' ', '"']) { format!("'{text}'") } else { (*text).to_owned() };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Every product as it comes out, in an order of its own.
fn export(node: &DemoNode) -> Result<BTreeSet<String>, String> {
    let printed = node.outcrop(&["export", "test/products", "--format", "ndjson"])?;
    printed.lines().map(canonical).collect()
}

fn canonical(line: &str) -> Result<String, String> {
    let document: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
    Ok(document.to_string())
}

fn durability(node: &mut DemoNode, before: &BTreeSet<String>) -> Result<(), String> {
    say("kill -9, and a restart");
    let text = std::fs::read_to_string(node.folder().join("products.ndjson")).map_err(|error| error.to_string())?;
    let imported: BTreeSet<String> = text.lines().map(canonical).collect::<Result<_, _>>()?;
    if *before != imported {
        return Err(format!("{} products went in, {} others came out", imported.len(), before.len()));
    }
    println!("  exported before: {} products, equal to what was imported, field by field", before.len());
    node.kill()?;
    let took = node.start()?;
    let after = export(node)?;
    if after != imported {
        return Err(format!("{} products went in, {} others came out after kill -9", imported.len(), after.len()));
    }
    println!("  serves again after {} ms; exported again: all {} products, equal", took.as_millis(), after.len());
    node.ends_with(&["get", "test/users/42"], 1)?;
    println!("  and what was deleted is still gone");
    Ok(())
}

fn bench(node: &DemoNode, options: &Options) -> Result<(), String> {
    say("A short bench: 100,000 records of 1 KiB, 95% reads, 64 requests in flight, over QUIC");
    let duration = format!("{}s", options.bench_secs);
    let arguments =
        ["bench", "--records", "100k", "--workload", "b", "--duration", &duration, "--warmup", "1s", "--quiet"];
    show(&arguments.join(" "), &node.outcrop(&arguments)?);
    Ok(())
}
