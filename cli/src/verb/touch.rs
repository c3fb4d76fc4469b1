//! `outcrop touch`: give a record a new time to live without writing it anew.

use clap::Args;
use outcrop_client::{Key, Ttl};

use super::{failed, print_written};
use crate::failure::{Exit, Failure};
use crate::keys::parse_key;
use crate::target::{Target, not_found};
use crate::ttl::parse_ttl;

const HELP: &str = "\
Examples:
  outcrop touch test/sessions/alice --ttl 30m
  outcrop touch test/sessions/alice --ttl never

Exit codes: 0 done, 1 no such record.";

/// Give a record a new time to live.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TouchArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// Time to live from now on: 60s, 15m, 12h, 30d, never or default (the namespace's)
    #[arg(long, value_name = "TTL", value_parser = parse_ttl, allow_hyphen_values = true)]
    pub ttl: Ttl,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Touches the record.
pub async fn run(args: &TouchArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    match client.touch(&args.key, args.ttl).await {
        Ok(Some(written)) => print_written(&args.key, &written, args.target.output)?,
        Ok(None) => return Err(not_found(&client, &args.key).await),
        Err(error) => return Err(failed(&client, &args.key, error).await),
    }
    client.close().await;
    Ok(Exit::Ok)
}
