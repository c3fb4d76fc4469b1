//! `outcrop doc`: JSON documents, read and changed where a JSONPath points. The work is done by the `document` module.

pub mod change;
pub mod read;
pub mod sets;

use std::io::Read;
use std::path::Path;

use clap::{Args, Subcommand};
use outcrop_client::{ClientError, Value};
use outcrop_wire::limits::{ARGUMENTS_BYTES_MAX, VALUE_DEPTH_MAX};

use crate::failure::{Exit, Failure};
use crate::json::parse_value;
use crate::output::OutputFormat;

const HELP: &str = "\
Examples:
  outcrop doc set test/shop/lamp '{\"name\": \"lamp\", \"price\": 80, \"tags\": [\"new\"]}'
  outcrop doc get test/shop/lamp '$.tags[*]'
  outcrop doc increment test/shop/lamp '$.price' -5
  outcrop doc merge test/shop/lamp '{\"color\": \"red\", \"tags\": null}'
  outcrop doc query test/shop '@.price < 100 && @.color == \"red\"' --limit 10

A document is a record, its members are the bins: put, get, import, export and scan read and write the same documents.";

/// How paths are written; the same words in every command that takes one.
pub(crate) const PATH_HELP: &str = "\
Paths are JSONPath (RFC 9535), in quotes for the shell: '$.store.book[0].title', '$..price', '$.tags[-1]',
'$.book[?@.price < 10 && match(@.isbn, \"0-.*\")].title'. A filter is the inside of [?…], with @ for the document.
JSON may also be @FILE, or - for standard input.";

/// Documents.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DocArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DocCommand,
}

/// The commands about documents.
#[derive(Debug, Subcommand)]
pub enum DocCommand {
    /// Read a document, or the parts that a path points at
    Get(read::GetArgs),
    /// Write a whole document, or a value at every match of a path
    Set(change::SetArgs),
    /// Add a member or an element, which the path's last step names
    Insert(change::ValueArgs),
    /// Remove every match of a path
    Delete(change::PathArgs),
    /// Append a value to the array at every match of a path
    Append(change::ValueArgs),
    /// Add to the number at every match of a path
    Increment(change::IncrementArgs),
    /// Apply an RFC 7396 merge patch
    Merge(change::PatchArgs),
    /// Apply an RFC 6902 patch, all of its operations or none
    Patch(change::PatchArgs),
    /// Find the documents of a set that a filter lets through
    Query(sets::QueryArgs),
    /// Count documents
    Count(sets::CountArgs),
    /// List the values that a path finds in a set, and how often
    Distinct(sets::DistinctArgs),
}

impl DocCommand {
    /// How it prints.
    pub fn output(&self) -> OutputFormat {
        match self {
            DocCommand::Get(args) => args.target.output,
            DocCommand::Set(args) => args.write.target.output,
            DocCommand::Insert(args) | DocCommand::Append(args) => args.write.target.output,
            DocCommand::Delete(args) => args.write.target.output,
            DocCommand::Increment(args) => args.write.target.output,
            DocCommand::Merge(args) | DocCommand::Patch(args) => args.write.target.output,
            DocCommand::Query(args) => args.target.output,
            DocCommand::Count(args) => args.target.output,
            DocCommand::Distinct(args) => args.target.output,
        }
    }
}

/// Runs a command about documents.
pub async fn run(args: &DocArgs) -> Result<Exit, Failure> {
    match &args.command {
        DocCommand::Get(args) => read::run(args).await,
        DocCommand::Set(args) => change::set(args).await,
        DocCommand::Insert(args) => change::insert(args).await,
        DocCommand::Delete(args) => change::delete(args).await,
        DocCommand::Append(args) => change::append(args).await,
        DocCommand::Increment(args) => change::increment(args).await,
        DocCommand::Merge(args) => change::patch(args, "merge").await,
        DocCommand::Patch(args) => change::patch(args, "patch").await,
        DocCommand::Query(args) => sets::query(args).await,
        DocCommand::Count(args) => sets::count(args).await,
        DocCommand::Distinct(args) => sets::distinct(args).await,
    }
}

/// A failure of the module with an exit code of its kind.
pub(crate) fn failed(error: ClientError) -> Failure {
    let code = error.function().and_then(|function| function.failure_code.clone()).unwrap_or_default();
    let failure = Failure::from(error);
    let (exit, advice) = match code.as_str() {
        "no-document" => (Exit::NotFound, "Write it first: outcrop doc set KEY JSON."),
        "invalid-path" => (Exit::Usage, "Paths are JSONPath, RFC 9535; a filter is the inside of [?…]."),
        "invalid-patch" => (Exit::Usage, "A patch is an array of operations, RFC 6902; nothing was changed."),
        "test-failed" => (Exit::Refused, "A `test` of the patch didn't hold; nothing was changed."),
        "invalid-arguments" | "invalid-document" | "not-an-object" => {
            (Exit::Usage, "A document is a JSON object; nothing was changed.")
        }
        "exists" | "out-of-range" | "wrong-type" | "overflow" => {
            (failure.exit, "The path doesn't fit this document; nothing was changed.")
        }
        _ => return failure,
    };
    Failure { exit, advice: advice.to_owned(), ..failure }
}

/// JSON on the command line: as it stands, `@FILE`, or `-` for standard input.
pub(crate) fn json_argument(text: &str) -> Result<Value, Failure> {
    let bytes = match text.strip_prefix('@') {
        Some(file) => read_bounded(file)?,
        None if text == "-" => read_bounded("-")?,
        None => text.as_bytes().to_vec(),
    };
    parse_value(&bytes, VALUE_DEPTH_MAX).map_err(|error| {
        Failure::usage(
            format!("JSON: {error}"),
            "Texts need their quotes: '\"text\"'. @FILE reads a file, - standard input.",
        )
    })
}

fn read_bounded(file: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::local(format!("{file}: {error}"), "Name a file that can be read, or - for standard input.")
    };
    let input: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::fs::File::open(Path::new(file)).map_err(unreadable)?),
    };
    let mut bytes = Vec::new();
    input.take(ARGUMENTS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() {
        len if len > ARGUMENTS_BYTES_MAX => {
            let message = format!("{file} has over {ARGUMENTS_BYTES_MAX} bytes");
            Err(Failure::usage(message, "A document of that size has to be split."))
        }
        _ => Ok(bytes),
    }
}
