//! `outcrop udf test`: the module in a node of the command's own, its cases run one by one and compared.

use std::path::{Path, PathBuf};

use clap::Args;
use outcrop_client::{Bins, Client, ClientError, Key, MapKey, PutOptions, ScanOptions, Target, Value};
use tokio::time::Instant;

use super::build::{ProjectArgs, build};
use super::cases::{self, Act, Case, Expected, same, same_in_any_order, shown};
use super::embedded::{Embedded, NAMESPACE};
use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, object, table};

const HELP: &str = "\
Examples:
  outcrop udf test                             the project of this directory, all of tests/*.json
  outcrop udf test --cases tests/discount.json --only 'a quarter off'
  outcrop udf test visits-c --core visits.wasm what another compiler made, with the cases of visits-c/tests

It builds the module, starts a node in memory, uploads the module and runs each case in a set of its own:
  {\"cases\": [{\"name\": \"a quarter off\", \"call\": \"discount\", \"record\": {\"price\": 80.0},
              \"arguments\": {\"percent\": 25}, \"result\": 60.0, \"after\": {\"price\": 60.0}, \"logs\": [\"25% off\"]}]}
In place of \"call\": \"aggregate\" or \"rows\", with \"records\" by key. In place of \"result\": \"error\" (part of the
message) and \"code\". \"after\" null means that there is no record. docs/functions.md has all fields.

Exit codes: 0 all cases are right, 3 some aren't.";

/// Bytes of a file of cases.
const CASES_BYTES_MAX: u64 = 64 << 20;

/// Test a module.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TestArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Files of cases [default: tests/*.json of the project]
    #[arg(long, value_name = "FILE")]
    pub cases: Vec<PathBuf>,
    /// Only cases that have this in their name
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

/// What came of one case.
#[derive(Debug)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// The function.
    pub function: String,
    /// The call's wall time as the caller saw it, in microseconds.
    pub wall_us: u64,
    /// What the function logged.
    pub logs: Vec<String>,
    /// What is wrong; empty: nothing.
    pub wrong: Vec<String>,
}

/// Builds, runs the cases, prints.
pub async fn run(args: &TestArgs) -> Result<Exit, Failure> {
    let built = build(&args.project).await?;
    let cases = read_cases(&args.project.project, &args.cases, args.only.as_deref())?;
    let outcomes = run_cases(&built.package, &built.version, &built.component, &cases).await?;
    print(&outcomes, args.output)?;
    verdict(&outcomes)
}

/// The exit of a run.
pub fn verdict(outcomes: &[Outcome]) -> Result<Exit, Failure> {
    match outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).count() {
        0 => Ok(Exit::Ok),
        wrong => {
            let message = format!("{wrong} of {} cases are wrong", outcomes.len());
            Err(Failure::partial(message, "Mend the function or the case; each is told above."))
        }
    }
}

/// Reads the named files, or all of `tests/*.json`.
pub fn read_cases(project: &Path, files: &[PathBuf], only: Option<&str>) -> Result<Vec<Case>, Failure> {
    let files = if files.is_empty() { found_files(&project.join("tests")) } else { files.to_vec() };
    let mut found = Vec::new();
    for file in files {
        let unreadable = |error: std::io::Error| {
            Failure::local(format!("{}: {error}", file.display()), "Name a file of cases that can be read.")
        };
        let bytes = std::fs::metadata(&file).map_err(unreadable)?.len();
        if bytes > CASES_BYTES_MAX {
            let message = format!("{}: {bytes} bytes of cases", file.display());
            return Err(Failure::usage(message, "Split it: a file of cases has at most 64 MiB."));
        }
        let text = std::fs::read_to_string(&file).map_err(unreadable)?;
        let parsed = cases::parse(&text).map_err(|why| {
            Failure::usage(format!("{}: {why}", file.display()), "docs/functions.md describes the fields of a case.")
        })?;
        found.extend(parsed);
    }
    let all = found.len();
    found.retain(|case| only.is_none_or(|text| case.name.contains(text)));
    match only {
        Some(only) if found.is_empty() => {
            let message = format!("none of the {all} cases has {only:?} in its name");
            Err(Failure::usage(message, "Run all of them to see their names: leave --only out."))
        }
        _ => Ok(found),
    }
}

fn found_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|name| name == "json")).collect();
    files.sort();
    files
}

/// Runs cases against a component in a node of their own.
pub async fn run_cases(name: &str, version: &str, component: &[u8], cases: &[Case]) -> Result<Vec<Outcome>, Failure> {
    let embedded = Embedded::start().await?;
    let ran = run_in(&embedded.client, name, version, component, cases).await;
    let stopped = embedded.stop().await;
    let outcomes = ran?;
    stopped?;
    Ok(outcomes)
}

async fn run_in(
    client: &Client,
    name: &str,
    version: &str,
    component: &[u8],
    cases: &[Case],
) -> Result<Vec<Outcome>, Failure> {
    let modules = client.modules();
    modules.upload(name, version, component, None).await?;
    modules.activate(name, version).await?;
    let mut outcomes = Vec::with_capacity(cases.len());
    for (place, case) in cases.iter().enumerate() {
        let set = case.set.clone().unwrap_or_else(|| format!("case-{place}"));
        outcomes.push(run_case(client, name, case, &set).await?);
        client.truncate(NAMESPACE, &set).await?;
        for (other, _, _) in &case.others {
            client.truncate(NAMESPACE, other).await?;
        }
    }
    Ok(outcomes)
}

async fn run_case(client: &Client, module: &str, case: &Case, set: &str) -> Result<Outcome, Failure> {
    let own = case.records.iter().map(|(key, record)| (set, key, record));
    let others = case.others.iter().map(|(set, key, record)| (set.as_str(), key, record));
    for (set, key, record) in own.chain(others) {
        client.put(&Key::new(NAMESPACE, set, key.clone()), &bins(record), PutOptions::default()).await?;
    }
    let path = format!("{module}.{}", case.function);
    let function = client.function(path.as_str()).value(&case.arguments).report();
    let begin = Instant::now();
    let mut logs = Vec::new();
    let ran: Result<Value, ClientError> = match &case.act {
        Act::Call { key } => match function.call(&Key::new(NAMESPACE, set, key.clone())).await {
            Ok(called) => {
                logs = called.report()?.logs;
                called.value()
            }
            Err(error) => Err(error),
        },
        Act::Aggregate => match function.aggregate(&Target::set(NAMESPACE, set)).await {
            Ok(called) => {
                logs = called.report()?.logs;
                called.value()
            }
            Err(error) => Err(error),
        },
        Act::Rows => {
            let mut rows = function.rows(NAMESPACE, Some(set), ScanOptions::default());
            let mut all = Vec::new();
            loop {
                match rows.next().await {
                    Some(Ok(row)) => all.push(row),
                    Some(Err(error)) => break Err(error),
                    None => break Ok(Value::List(all)),
                }
            }
        }
    };
    let wall_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    if let Err(error) = &ran {
        logs = error.function().map(|function| function.logs.clone()).unwrap_or_default();
    }
    let logs: Vec<String> = logs.into_iter().map(|line| format!("{}: {}", line.level, line.message)).collect();
    let mut wrong = compare(case, &ran);
    if let (Act::Call { key }, Some(after)) = (&case.act, &case.after) {
        let record = client.get(&Key::new(NAMESPACE, set, key.clone())).await?;
        let record = record.map(|record| record.to_bins()).transpose()?.map_or(Value::Null, to_value);
        if !same(after, &record) {
            wrong.push(format!("the record is {}, not {}", shown(&record), shown(after)));
        }
    }
    for text in &case.logs {
        if !logs.iter().any(|line| line.contains(text)) {
            wrong.push(format!("no log line has {text:?} in it"));
        }
    }
    Ok(Outcome { name: case.name.clone(), function: case.function.clone(), wall_us, logs, wrong })
}

/// What is wrong with a result.
fn compare(case: &Case, ran: &Result<Value, ClientError>) -> Vec<String> {
    match (&case.expected, ran) {
        (Expected::Success, Ok(_)) => Vec::new(),
        (Expected::Result(expected), Ok(actual)) => {
            let is_same = match (&case.act, expected, actual) {
                (Act::Rows, Value::List(expected), Value::List(actual)) => same_in_any_order(expected, actual),
                _ => same(expected, actual),
            };
            if is_same { Vec::new() } else { vec![format!("it gave {}, not {}", shown(actual), shown(expected))] }
        }
        (Expected::Error { message, .. }, Ok(actual)) => {
            vec![format!("it gave {}, and should have failed with {message:?}", shown(actual))]
        }
        (Expected::Error { message, code }, Err(error)) => {
            let told = error.function();
            let (text, own) = match told {
                Some(function) => (function.message.clone(), function.failure_code.clone()),
                None => (error.to_string(), None),
            };
            let mut wrong = Vec::new();
            if !text.contains(message) {
                wrong.push(format!("it failed with {text:?}, which has no {message:?} in it"));
            }
            if code.is_some() && *code != own {
                wrong.push(format!(
                    "its code is {:?}, not {:?}",
                    own.unwrap_or_default(),
                    code.as_deref().unwrap_or("")
                ));
            }
            wrong
        }
        (_, Err(error)) => {
            let failure = Failure::from(error.clone());
            std::iter::once(format!("it failed: {}", failure.message)).chain(failure.details()).collect()
        }
    }
}

fn bins(record: &Value) -> Bins {
    let Value::Map(entries) = record else { return Bins::unnamed(record.clone()) };
    entries.iter().fold(Bins::new(), |bins, (name, value)| match name {
        MapKey::Text(name) => bins.with(name.as_str(), value.clone()),
        MapKey::Int(number) => bins.with(number.to_string(), value.clone()),
        MapKey::Bytes(bytes) => bins.with(String::from_utf8_lossy(bytes).into_owned(), value.clone()),
    })
}

fn to_value(bins: Bins) -> Value {
    Value::Map(bins.bins.into_iter().map(|bin| (MapKey::Text(bin.name), bin.value)).collect())
}

/// Prints a table, and below it what is wrong, with the log lines of those cases.
pub fn print(outcomes: &[Outcome], output: OutputFormat) -> Result<(), Failure> {
    let mut out = Out::new();
    if output == OutputFormat::Json {
        let texts = |texts: &[String]| Value::List(texts.iter().map(|text| text.as_str().into()).collect());
        for outcome in outcomes {
            out.json(&object([
                ("name", outcome.name.as_str().into()),
                ("function", outcome.function.as_str().into()),
                ("right", outcome.wrong.is_empty().into()),
                ("wall_us", crate::output::count(outcome.wall_us)),
                ("wrong", texts(&outcome.wrong)),
                ("logs", texts(&outcome.logs)),
            ]))?;
        }
        return out.flush();
    }
    if outcomes.is_empty() {
        out.line("no cases: write some to tests/cases.json")?;
        return out.flush();
    }
    let mut rows = table(["case", "function", "us", "result"]);
    for outcome in outcomes {
        let result = if outcome.wrong.is_empty() { "right" } else { "WRONG" };
        rows.add_row([outcome.name.clone(), outcome.function.clone(), outcome.wall_us.to_string(), result.to_owned()]);
    }
    out.table(&rows)?;
    for outcome in outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()) {
        out.line("")?;
        out.line(&format!("{} ({})", outcome.name, outcome.function))?;
        for line in &outcome.wrong {
            out.line(&format!("  {line}"))?;
        }
        for line in &outcome.logs {
            out.line(&format!("  log  {line}"))?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(expected: &str) -> Case {
        let text = format!("{{\"cases\": [{{\"rows\": \"f\", {expected}}}]}}");
        cases::parse(&text).expect("a case").remove(0)
    }

    #[test]
    fn rows_compare_in_any_order_and_differences_are_shown() {
        let rows = Ok(Value::List(vec![1.into(), 2.into()]));
        assert!(compare(&case("\"result\": [2, 1]"), &rows).is_empty());
        assert_eq!(compare(&case("\"result\": [2, 2]"), &rows), ["it gave [1,2], not [2,2]"]);
        assert!(compare(&case("\"note\": \"any result\""), &rows).is_empty());
        assert!(compare(&case("\"error\": \"no\""), &rows)[0].contains("should have failed"));
    }

    #[test]
    fn an_error_is_compared_by_its_message() {
        let closed = Err(ClientError::Closed { message: "gone away".to_owned() });
        assert!(compare(&case("\"error\": \"gone\""), &closed).is_empty());
        assert!(compare(&case("\"error\": \"gone\", \"code\": \"mine\""), &closed)[0].contains("\"mine\""));
        assert!(compare(&case("\"error\": \"elsewhere\""), &closed)[0].contains("has no \"elsewhere\""));
        assert!(compare(&case("\"result\": 1"), &closed)[0].contains("it failed"));
    }
}
