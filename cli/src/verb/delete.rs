//! `outcrop delete`: delete a record.

use clap::Args;
use outcrop_client::{DeleteOptions, Key};

use super::{failed, shown};
use crate::failure::{Exit, Failure};
use crate::keys::parse_key;
use crate::output::{Out, OutputFormat, object};
use crate::target::{Target, not_found};

const HELP: &str = "\
Examples:
  outcrop delete test/users/42
  outcrop delete test/users/42 --if-generation 3

Exit codes: 0 deleted, 1 there was none, 4 it has another generation.";

/// Delete a record.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DeleteArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// Only if the record has this generation
    #[arg(long, value_name = "N")]
    pub if_generation: Option<u32>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Deletes the record.
pub async fn run(args: &DeleteArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let mut options = DeleteOptions::default();
    if let Some(generation) = args.if_generation {
        options = options.if_generation(generation);
    }
    match client.delete(&args.key, options).await {
        Ok(true) => {}
        Ok(false) => return Err(not_found(&client, &args.key).await),
        Err(error) => return Err(failed(&client, &args.key, error).await),
    }
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&object([("key", shown(&args.key).into()), ("deleted", true.into())]))?,
        OutputFormat::Table => out.line(&format!("{}  deleted", shown(&args.key)))?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}
