//! `outcrop doc get`: a document, or what a path points at.

use clap::Args;
use outcrop_client::{Key, Value};

use super::{PATH_HELP, failed};
use crate::args::KEY_HELP;
use crate::failure::{Exit, Failure};
use crate::json::to_text;
use crate::keys::parse_key;
use crate::output::{Out, OutputFormat, object};
use crate::target::{Target, suggest};

const EXAMPLES: &str = "\
Examples:
  outcrop doc get test/shop/lamp
  outcrop doc get test/shop/lamp '$.tags[*]'                 one match a line, as JSON
  outcrop doc get test/shop/lamp '$..price' --paths          where the matches are
  outcrop doc get test/shop/lamp '$.price' --output json     all matches as one list

Exit codes: 0 the document is there (even if nothing matches), 1 no such document, 2 no such path can be.";

/// Read a document.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{PATH_HELP}\n\n{KEY_HELP}"))]
pub struct GetArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// A JSONPath; without it the whole document
    pub path: Option<String>,
    /// Print where the matches are, as normalized paths
    #[arg(long, requires = "path")]
    pub paths: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Reads and prints.
pub async fn run(args: &GetArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let path = args.path.as_deref().unwrap_or("$");
    let function = client.function(if args.paths { "document.locate" } else { "document.get" }).read_only(true);
    let found = function.value(&object([("path", path.into())])).call(&args.key).await;
    let found = match found {
        Ok(called) => called.value()?,
        Err(error) => return Err(suggest(&client, &args.key.namespace, None, failed(error)).await),
    };
    let Value::List(matches) = found else {
        return Err(Failure::local(
            "the module's answer is no list",
            "Which `document` module is active? outcrop udf list",
        ));
    };
    let mut out = Out::new();
    match (args.target.output, args.path.is_none()) {
        // Without a path there is one match, the document.
        (_, true) => matches.iter().try_for_each(|document| out.json(document))?,
        (OutputFormat::Json, false) => out.json(&Value::List(matches))?,
        (OutputFormat::Table, false) => matches.iter().try_for_each(|found| match found {
            Value::Text(place) if args.paths => out.line(place),
            found => out.line(&to_text(found)),
        })?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}
