//! `outcrop put`: write a record from text, a JSON document or a file.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use outcrop_client::{Bins, Code, Key, PutMode, PutOptions, Ttl};
use outcrop_wire::limits::RECORD_BYTES_CEILING;

use super::{failed, print_written};
use crate::args::KEY_HELP;
use crate::failure::{Exit, Failure};
use crate::json::parse_document;
use crate::keys::parse_key;
use crate::rows::ROW_BYTES_MAX;
use crate::target::Target;
use crate::ttl::parse_ttl;

const EXAMPLES: &str = "\
Examples:
  outcrop put test/users/42 --json '{\"name\":\"Ada\",\"born\":1815}'
  outcrop put test/users/42 --json '{\"city\":\"London\"}' --merge
  outcrop put test/sessions/alice --value hello --ttl 30m --create-only
  outcrop put test/users/42 --json - --if-generation 3 < ada.json
  outcrop put 'test/pages/a path/with slashes' --file page.html

Exit codes: 0 written, 1 --update-only and there is none, 2 the document can't be held exactly, 4 --create-only or
--if-generation refused, 6 unknown whether it was written.";

/// Write a record.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{KEY_HELP}"), group = ArgGroup::new("content").required(true))]
pub struct PutArgs {
    /// NAMESPACE/SET/KEY
    #[arg(value_parser = parse_key)]
    pub key: Key,
    /// Text, for the unnamed bin
    #[arg(long, group = "content", value_name = "TEXT", allow_hyphen_values = true)]
    pub value: Option<String>,
    /// A document: the fields of an object become bins, anything else the unnamed bin (-: from standard input)
    #[arg(long, group = "content", value_name = "JSON", allow_hyphen_values = true)]
    pub json: Option<String>,
    /// A file's bytes, for the unnamed bin (-: from standard input)
    #[arg(long, group = "content", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Time to live: 60s, 15m, 12h, 30d, never, keep (what the record has) or default (the namespace's)
    #[arg(long, value_name = "TTL", default_value = "default", value_parser = parse_ttl, allow_hyphen_values = true)]
    pub ttl: Ttl,
    /// Only if the record has this generation
    #[arg(long, value_name = "N", conflicts_with = "create_only")]
    pub if_generation: Option<u32>,
    /// Only if the record isn't there
    #[arg(long, conflicts_with_all = ["update_only", "merge"])]
    pub create_only: bool,
    /// Only if the record is there
    #[arg(long)]
    pub update_only: bool,
    /// Keep the bins that aren't named; without it, the record becomes what is given
    #[arg(long)]
    pub merge: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

impl PutArgs {
    fn mode(&self) -> PutMode {
        match (self.create_only, self.update_only, self.merge) {
            (true, _, _) => PutMode::CreateOnly,
            (false, true, true) => PutMode::UpdateOnly,
            (false, true, false) => PutMode::ReplaceOnly,
            (false, false, true) => PutMode::Upsert,
            (false, false, false) => PutMode::Replace,
        }
    }

    fn bins(&self) -> Result<Bins, Failure> {
        if let Some(text) = &self.value {
            return Ok(Bins::unnamed(text.as_str()));
        }
        if let Some(file) = &self.file {
            let bytes = read_bounded(file, RECORD_BYTES_CEILING)?;
            return Ok(Bins::unnamed(bytes));
        }
        let text = match self.json.as_deref() {
            Some("-") => read_bounded(Path::new("-"), ROW_BYTES_MAX)?,
            Some(text) => text.as_bytes().to_vec(),
            None => Vec::new(),
        };
        parse_document(&text).map_err(|error| Failure::usage(format!("--json: {error}"), "Change the document."))
    }
}

/// Writes the record.
pub async fn run(args: &PutArgs) -> Result<Exit, Failure> {
    let bins = args.bins()?;
    let mut options = PutOptions::default().mode(args.mode()).ttl(args.ttl);
    if let Some(generation) = args.if_generation {
        options = options.if_generation(generation);
    }
    let client = args.target.connect().await?;
    match client.put(&args.key, &bins, options).await {
        Ok(written) => {
            print_written(&args.key, &written, args.target.output)?;
            client.close().await;
            Ok(Exit::Ok)
        }
        Err(error) => Err(failed(&client, &args.key, error).await),
    }
}

/// Reads a file or standard input (`-`) of at most `bytes_max`.
fn read_bounded(file: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::local(format!("{}: {error}", file.display()), "Name a file that can be read, or - for standard input.")
    };
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    input.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        let message = format!("{} has over {bytes_max} bytes, more than any record", file.display());
        return Err(Failure::of_code(Code::RecordTooLarge, message));
    }
    Ok(bytes)
}
