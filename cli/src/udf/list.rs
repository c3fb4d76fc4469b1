//! `outcrop udf list`: modules, their versions, which is active.

use clap::Args;
use outcrop_client::{ModuleSummary, Value, VersionInfo};

use crate::failure::{Exit, Failure};
use crate::output::{Out, OutputFormat, bytes_text, count, grouped, object, table, utc};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop udf list
  outcrop udf list --output json | jq -r 'select(.active != null) | .name + \"@\" + .active'";

/// List modules.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ListArgs {
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Asks and prints.
pub async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let modules = client.modules().list().await?;
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => modules.iter().try_for_each(|module| out.json(&to_json(module)))?,
        OutputFormat::Table => print(&mut out, &modules)?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

fn print(out: &mut Out, modules: &[ModuleSummary]) -> Result<(), Failure> {
    if modules.is_empty() {
        return out.line("no modules; `outcrop udf new NAME` makes a project");
    }
    let mut rows = table(["module", "version", "state", "size", "uploaded", "calls", "failed", "hash"]);
    for module in modules {
        for (place, version) in module.versions.iter().enumerate() {
            let first = |text: String| if place == 0 { text } else { String::new() };
            rows.add_row([
                first(module.name.clone()),
                version.version.clone(),
                state(module, version).to_owned(),
                bytes_text(version.bytes),
                if version.built_in { "with the node".to_owned() } else { utc(version.uploaded_ms / 1_000) },
                first(grouped(module.calls)),
                first(grouped(module.failures)),
                version.hash.chars().take(12).collect(),
            ]);
        }
    }
    out.table(&rows)
}

/// What a version is at the moment.
fn state(module: &ModuleSummary, version: &VersionInfo) -> &'static str {
    let is = |name: &Option<String>| name.as_deref() == Some(version.version.as_str());
    match (is(&module.active), module.paused) {
        (true, true) => "paused",
        (true, false) => "active",
        (false, _) if is(&module.before) => "before",
        _ => "",
    }
}

fn to_json(module: &ModuleSummary) -> Value {
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    let versions = module.versions.iter().map(version_json).collect();
    object([
        ("name", module.name.as_str().into()),
        ("active", text(&module.active)),
        ("before", text(&module.before)),
        ("paused", module.paused.into()),
        ("calls", count(module.calls)),
        ("failures", count(module.failures)),
        ("versions", Value::List(versions)),
    ])
}

/// A version as a JSON object.
pub fn version_json(version: &VersionInfo) -> Value {
    object([
        ("version", version.version.as_str().into()),
        ("hash", version.hash.as_str().into()),
        ("bytes", count(version.bytes)),
        ("uploaded_ms", count(version.uploaded_ms)),
        ("built_in", version.built_in.into()),
        ("signers", Value::List(version.signers.iter().map(|key| key.as_str().into()).collect())),
    ])
}
