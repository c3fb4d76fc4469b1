//! `outcrop exists`: whether a record is there, without reading it.

use clap::Args;
use outcrop_client::Key;

use super::{failed, shown};
use crate::failure::{Exit, Failure};
use crate::keys::parse_key;
use crate::output::{Out, OutputFormat, expiry_json, expiry_text, object};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop exists test/users/42
  outcrop exists test/users/42 && echo it is there

Exit codes: 0 it is there, 1 it isn't.";

/// Whether a record is there.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExistsArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Looks and prints what is there.
pub async fn run(args: &ExistsArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let meta = match client.exists(&args.key).await {
        Ok(meta) => meta,
        Err(error) => return Err(failed(&client, &args.key, error).await),
    };
    let key = shown(&args.key);
    let mut out = Out::new();
    match (args.target.output, &meta) {
        (OutputFormat::Json, Some(meta)) => out.json(&object([
            ("key", key.into()),
            ("exists", true.into()),
            ("generation", i64::from(meta.generation).into()),
            ("expiry_secs", expiry_json(meta.expiry_secs)),
        ]))?,
        (OutputFormat::Json, None) => out.json(&object([("key", key.into()), ("exists", false.into())]))?,
        (OutputFormat::Table, Some(meta)) => {
            let (generation, expiry) = (meta.generation, expiry_text(meta.expiry_secs));
            out.line(&format!("{key}  is there, generation {generation}, expires {expiry}"))?;
        }
        (OutputFormat::Table, None) => out.line(&format!("{key}  isn't there"))?,
    }
    out.flush()?;
    client.close().await;
    Ok(if meta.is_some() { Exit::Ok } else { Exit::NotFound })
}
