//! `outcrop doc set|insert|delete|append|increment|merge|patch`: changes of one document, all or nothing.

use clap::Args;
use outcrop_client::{Key, Value};

use super::{PATH_HELP, failed, json_argument};
use crate::args::KEY_HELP;
use crate::failure::{Exit, Failure};
use crate::json::to_text;
use crate::keys::{parse_key, print_key};
use crate::output::{Out, OutputFormat, object};
use crate::target::{Target, suggest};

const SET_EXAMPLES: &str = "\
Examples:
  outcrop doc set test/shop/lamp '{\"name\": \"lamp\", \"price\": 80}'      the whole document
  outcrop doc set test/shop/lamp @lamp.json
  outcrop doc set test/shop/lamp '$.price' 75                           at every match; how many there were
  outcrop doc set test/shop/lamp '$.tags[*]' '\"sale\"' --if-generation 3";

const VALUE_EXAMPLES: &str = "\
Examples:
  outcrop doc insert test/shop/lamp '$.size' '{\"w\": 30}'       a new member
  outcrop doc insert test/shop/lamp '$.tags[0]' '\"first\"'      in front of an element; [-1]: behind the last
  outcrop doc append test/shop/lamp '$.tags' '\"last\"'";

const DELETE_EXAMPLES: &str = "\
Examples:
  outcrop doc delete test/shop/lamp '$.tags[0]'
  outcrop doc delete test/shop/lamp '$.reviews[?@.stars < 2]'

`outcrop delete KEY` deletes the whole document.";

const INCREMENT_EXAMPLES: &str = "\
Examples:
  outcrop doc increment test/shop/lamp '$.stock'              by 1; prints the sums
  outcrop doc increment test/shop/lamp '$..price' -0.5

Integers stay integers.";

const PATCH_EXAMPLES: &str = "\
Examples:
  outcrop doc merge test/shop/lamp '{\"color\": \"red\", \"tags\": null}'         null removes a member
  outcrop doc patch test/shop/lamp '[{\"op\": \"replace\", \"path\": \"/price\", \"value\": 70}]'
  outcrop doc patch test/shop/lamp @changes.json --if-generation 3

Prints the document that came of it. A patch's paths are JSON Pointers.

Exit codes: 0 done, 1 no such document (merge makes one), 2 no patch, 4 a `test` or --if-generation refused.";

/// Which document, and when to write it.
#[derive(Debug, Args)]
pub struct Write {
    /// Only if the record has this generation
    #[arg(long, value_name = "N")]
    pub if_generation: Option<u32>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Write a document or parts of it.
#[derive(Debug, Args)]
#[command(after_help = format!("{SET_EXAMPLES}\n\n{PATH_HELP}\n\n{KEY_HELP}"))]
#[command(override_usage = "outcrop doc set [OPTIONS] <KEY> [PATH] <JSON>")]
pub struct SetArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// The path, if there is one, and the JSON
    #[arg(value_name = "PATH JSON", required = true, num_args = 1..=2, allow_negative_numbers = true)]
    pub words: Vec<String>,
    /// When to write.
    #[command(flatten)]
    pub write: Write,
}

/// A path and a value.
#[derive(Debug, Args)]
#[command(after_help = format!("{VALUE_EXAMPLES}\n\n{PATH_HELP}\n\n{KEY_HELP}"))]
pub struct ValueArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// A JSONPath
    pub path: String,
    /// The value
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub value: String,
    /// When to write.
    #[command(flatten)]
    pub write: Write,
}

/// A path.
#[derive(Debug, Args)]
#[command(after_help = format!("{DELETE_EXAMPLES}\n\n{PATH_HELP}\n\n{KEY_HELP}"))]
pub struct PathArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// A JSONPath
    pub path: String,
    /// When to write.
    #[command(flatten)]
    pub write: Write,
}

/// A path and a number.
#[derive(Debug, Args)]
#[command(after_help = format!("{INCREMENT_EXAMPLES}\n\n{PATH_HELP}\n\n{KEY_HELP}"))]
pub struct IncrementArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// A JSONPath
    pub path: String,
    /// What to add
    #[arg(value_name = "NUMBER", default_value = "1", allow_negative_numbers = true)]
    pub by: String,
    /// When to write.
    #[command(flatten)]
    pub write: Write,
}

/// A patch.
#[derive(Debug, Args)]
#[command(after_help = format!("{PATCH_EXAMPLES}\n\n{KEY_HELP}"))]
pub struct PatchArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// The patch (@FILE: from a file, -: from standard input)
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub patch: String,
    /// When to write.
    #[command(flatten)]
    pub write: Write,
}

/// Writes a whole document, or a value at every match.
pub async fn set(args: &SetArgs) -> Result<Exit, Failure> {
    match &args.words[..] {
        [path, value] => {
            let arguments = object([("path", path.as_str().into()), ("value", json_argument(value)?)]);
            changed(&args.key, "document.update", arguments, &args.write).await
        }
        words => {
            let document = json_argument(words.first().map_or("", String::as_str))?;
            call(&args.key, "document.set", object([("document", document)]), &args.write).await?;
            print(&args.key, "written", true.into(), "written", args.write.target.output)
        }
    }
}

/// Adds members or elements.
pub async fn insert(args: &ValueArgs) -> Result<Exit, Failure> {
    let arguments = object([("path", args.path.as_str().into()), ("value", json_argument(&args.value)?)]);
    changed(&args.key, "document.insert", arguments, &args.write).await
}

/// Removes matches.
pub async fn delete(args: &PathArgs) -> Result<Exit, Failure> {
    changed(&args.key, "document.delete", object([("path", args.path.as_str().into())]), &args.write).await
}

/// Appends to arrays.
pub async fn append(args: &ValueArgs) -> Result<Exit, Failure> {
    let values = Value::List(vec![json_argument(&args.value)?]);
    changed(
        &args.key,
        "document.append",
        object([("path", args.path.as_str().into()), ("values", values)]),
        &args.write,
    )
    .await
}

/// Adds to numbers and prints the sums.
pub async fn increment(args: &IncrementArgs) -> Result<Exit, Failure> {
    let arguments = object([("path", args.path.as_str().into()), ("by", json_argument(&args.by)?)]);
    let sums = call(&args.key, "document.increment", arguments, &args.write).await?;
    let mut out = Out::new();
    match (args.write.target.output, sums) {
        (OutputFormat::Table, Value::List(sums)) if sums.is_empty() => {
            out.line("nothing matches, nothing was changed")?;
        }
        (OutputFormat::Table, Value::List(sums)) => sums.iter().try_for_each(|sum| out.line(&to_text(sum)))?,
        (_, sums) => out.json(&sums)?,
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Applies a merge patch or a patch and prints the document.
pub async fn patch(args: &PatchArgs, kind: &str) -> Result<Exit, Failure> {
    let patch = json_argument(&args.patch)?;
    let arguments = match kind {
        "merge" => object([("patch", patch)]),
        _ => object([("operations", patch)]),
    };
    let document = call(&args.key, &format!("document.{kind}"), arguments, &args.write).await?;
    let mut out = Out::new();
    out.json(&document)?;
    out.flush()?;
    Ok(Exit::Ok)
}

/// Calls a change and prints how many places it found.
async fn changed(key: &Key, function: &str, arguments: Value, write: &Write) -> Result<Exit, Failure> {
    let count = call(key, function, arguments, write).await?;
    let shown = match &count {
        Value::Int(0) => "nothing matches, nothing was changed".to_owned(),
        Value::Int(1) => "changed in 1 place".to_owned(),
        count => format!("changed in {} places", to_text(count)),
    };
    print(key, "changed", count, &shown, write.target.output)
}

async fn call(key: &Key, function: &str, arguments: Value, write: &Write) -> Result<Value, Failure> {
    let client = write.target.connect().await?;
    let function = client.function(function).value(&arguments);
    let function = write.if_generation.into_iter().fold(function, outcrop_client::Function::if_generation);
    let called = match function.call(key).await {
        Ok(called) => called.value()?,
        Err(error) => return Err(suggest(&client, &key.namespace, None, failed(error)).await),
    };
    client.close().await;
    Ok(called)
}

fn print(key: &Key, name: &str, value: Value, shown: &str, output: OutputFormat) -> Result<Exit, Failure> {
    let key = print_key(&key.namespace, &key.set, key.user_key.borrow());
    let mut out = Out::new();
    match output {
        OutputFormat::Json => out.json(&object([("key", key.into()), (name, value)]))?,
        OutputFormat::Table => out.line(&format!("{key}  {shown}"))?,
    }
    out.flush()?;
    Ok(Exit::Ok)
}
