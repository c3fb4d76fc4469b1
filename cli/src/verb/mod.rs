//! The data commands: one verb, one file.

pub mod codes;
pub mod completions;
pub mod delete;
pub mod exists;
pub mod export;
pub mod get;
pub mod import;
pub mod operate;
pub mod put;
pub mod scan;
pub mod stat;
pub mod touch;
pub mod truncate;

use outcrop_client::{Client, Key, Written};

use crate::failure::Failure;
use crate::keys::print_key;
use crate::output::{Out, OutputFormat, expiry_json, expiry_text, object};
use crate::target::suggest;

/// A key as it is printed.
fn shown(key: &Key) -> String {
    print_key(&key.namespace, &key.set, key.user_key.borrow())
}

/// Prints what a write did.
fn print_written(key: &Key, written: &Written, output: OutputFormat) -> Result<(), Failure> {
    let mut out = Out::new();
    match output {
        OutputFormat::Json => out.json(&object([
            ("key", shown(key).into()),
            ("generation", i64::from(written.generation).into()),
            ("expiry_secs", expiry_json(written.expiry_secs)),
        ]))?,
        OutputFormat::Table => {
            let (generation, expiry) = (written.generation, expiry_text(written.expiry_secs));
            out.line(&format!("{}  generation {generation}, expires {expiry}", shown(key)))?;
        }
    }
    out.flush()
}

/// A client's error as a failure, with the key in the message and a hint where the node has nearly what was asked for.
async fn failed(client: &Client, key: &Key, error: outcrop_client::ClientError) -> Failure {
    let mut failure = suggest(client, &key.namespace, Some(&key.set), error.into()).await;
    failure.message = format!("{}: {}", shown(key), failure.message);
    failure
}
