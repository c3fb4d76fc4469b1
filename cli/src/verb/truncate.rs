//! `outcrop truncate`: remove all records of a set, once it is sure that this is meant.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::output::{Out, OutputFormat, count, grouped, object};
use crate::target::{Target, other_set, suggest};

const HELP: &str = "\
Examples:
  outcrop truncate test/sessions
  outcrop truncate test/sessions --yes          don't ask (for scripts)";

/// Remove all records of a set.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TruncateArgs {
    /// NAMESPACE/SET
    #[arg(value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// Don't ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Asks unless told not to, then truncates.
pub async fn run(args: &TruncateArgs) -> Result<Exit, Failure> {
    let (namespace, set) = match &args.place {
        (namespace, Some(set)) => (namespace, set),
        (namespace, None) => {
            let advice = format!("Write {namespace}/SET; a whole namespace can't be truncated at once.");
            return Err(Failure::usage(format!("{namespace:?} names no set"), advice));
        }
    };
    let client = args.target.connect().await?;
    if !args.yes {
        confirm(namespace, set)?;
    }
    let hint = other_set(&client, namespace, set).await;
    let removed = match client.truncate(namespace, set).await {
        Ok(removed) => removed,
        Err(error) => return Err(suggest(&client, namespace, None, error.into()).await),
    };
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&object([("set", set.as_str().into()), ("removed", count(removed))]))?,
        OutputFormat::Table => out.line(&format!("{} records of {namespace}/{set} removed", grouped(removed)))?,
    }
    out.flush()?;
    if let (0, Some(hint), OutputFormat::Table) = (removed, hint, args.target.output) {
        eprintln!("{hint}");
    }
    client.close().await;
    Ok(Exit::Ok)
}

fn confirm(namespace: &str, set: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message = format!("removing all records of {namespace}/{set} needs a yes");
        return Err(Failure::usage(message, "Say --yes where nobody can be asked."));
    }
    eprint!("Remove all records of {namespace}/{set}? Type the set's name to go on: ");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == set => Ok(()),
        _ => Err(Failure::usage("nothing was removed", "Type the set's name, or say --yes.")),
    }
}
