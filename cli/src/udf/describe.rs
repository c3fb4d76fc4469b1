//! `outcrop udf describe`: what a module is for, its functions with arguments and results, its limits.

use clap::Args;
use outcrop_client::{FunctionInfo, ModuleDescription, Value};

use super::list::version_json;
use crate::failure::{Exit, Failure};
use crate::json::parse_value;
use crate::output::{Out, OutputFormat, bytes_text, count, object, utc, value_text};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop udf describe shop                    the active version
  outcrop udf describe shop 0.1.0
  outcrop udf describe shop --output json | jq '.functions[].name'";

/// Describe a module.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DescribeArgs {
    /// The module
    pub module: String,
    /// The version [default: the active one]
    pub version: Option<String>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Asks and prints.
pub async fn run(args: &DescribeArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let module = client.modules().describe(&args.module, args.version.as_deref()).await?;
    let mut out = Out::new();
    match args.target.output {
        OutputFormat::Json => out.json(&to_json(&module))?,
        OutputFormat::Table => print(&mut out, &module)?,
    }
    out.flush()?;
    client.close().await;
    Ok(Exit::Ok)
}

fn print(out: &mut Out, module: &ModuleDescription) -> Result<(), Failure> {
    let version = &module.version;
    let state = match (module.active, module.paused) {
        (true, true) => ", active, paused",
        (true, false) => ", active",
        (false, _) => "",
    };
    out.line(&format!("{}@{}{state}", module.name, version.version))?;
    text(out, "  ", &module.doc)?;
    let uploaded = if version.built_in { "with the node".to_owned() } else { utc(version.uploaded_ms / 1_000) };
    let sizes = format!("{}, compiled {}", bytes_text(version.bytes), bytes_text(module.artifact_bytes));
    out.line(&format!("  {sizes}, uploaded {uploaded}, hash {}", version.hash))?;
    for signer in &version.signers {
        out.line(&format!("  signed by {signer}"))?;
    }
    if !matches!(module.limits_json.as_str(), "" | "{}") {
        out.line(&format!("  limits {}", module.limits_json))?;
    }
    for function in &module.functions {
        out.line("")?;
        print_function(out, &module.name, function)?;
    }
    Ok(())
}

fn print_function(out: &mut Out, module: &str, function: &FunctionInfo) -> Result<(), Failure> {
    let read_only = if function.read_only && function.kind == "record" { ", reads only" } else { "" };
    out.line(&format!("{module}.{}  ({}{read_only})", function.name, function.kind))?;
    text(out, "  ", &function.doc)?;
    shape(out, "arguments", &function.arguments)?;
    shape(out, "returns", &function.returns)
}

/// What an author wrote, line by line, harmless on a terminal.
fn text(out: &mut Out, indent: &str, text: &str) -> Result<(), Failure> {
    for line in text.lines().filter(|line| !line.is_empty()) {
        out.line(&format!("{indent}{}", value_text(&line.into())))?;
    }
    Ok(())
}

/// A shape: the fields of an object each on a line, anything else as it stands.
fn shape(out: &mut Out, name: &str, shape: &str) -> Result<(), Failure> {
    const DEPTH_MAX: usize = 32;
    if shape.is_empty() {
        return Ok(());
    }
    let parsed = parse_value(shape.as_bytes(), DEPTH_MAX).ok();
    let Some(schema) = parsed else {
        return out.line(&format!("  {name}: {}", value_text(&shape.into())));
    };
    let Some(Value::Map(fields)) = schema.get(&"properties".into()) else {
        return out.line(&format!("  {name}: {}", type_text(&schema)));
    };
    let required = match schema.get(&"required".into()) {
        Some(Value::List(names)) => names.clone(),
        _ => Vec::new(),
    };
    if fields.is_empty() {
        return out.line(&format!("  {name}: none"));
    }
    out.line(&format!("  {name}:"))?;
    for (field, schema) in fields {
        let outcrop_client::MapKey::Text(field) = field else { continue };
        let optional = if required.contains(&field.as_str().into()) { "" } else { ", optional" };
        let doc = match schema.get(&"description".into()) {
            Some(Value::Text(doc)) => format!("  {}", value_text(&doc.as_str().into())),
            _ => String::new(),
        };
        out.line(&format!("    {field}: {}{optional}{doc}", type_text(schema)))?;
    }
    Ok(())
}

/// A schema in a few words.
fn type_text(schema: &Value) -> String {
    let field = |name: &str| schema.get(&name.into());
    match field("type") {
        Some(Value::Text(kind)) if kind == "array" => match field("items") {
            Some(items) => format!("list of {}", type_text(items)),
            None => "list".to_owned(),
        },
        Some(Value::Text(kind)) if kind == "object" && field("properties").is_some() => value_text(schema),
        Some(Value::Text(kind)) => match field("enum") {
            Some(Value::List(names)) => names.iter().map(value_text).collect::<Vec<_>>().join(" | "),
            _ => kind.clone(),
        },
        _ => match field("description") {
            Some(Value::Text(text)) => value_text(&text.as_str().into()),
            _ => "anything".to_owned(),
        },
    }
}

fn to_json(module: &ModuleDescription) -> Value {
    let functions = module.functions.iter().map(|function| {
        object([
            ("name", function.name.as_str().into()),
            ("kind", function.kind.as_str().into()),
            ("doc", function.doc.as_str().into()),
            ("arguments", function.arguments.as_str().into()),
            ("returns", function.returns.as_str().into()),
            ("encoding", function.encoding.as_str().into()),
            ("read_only", function.read_only.into()),
        ])
    });
    object([
        ("name", module.name.as_str().into()),
        ("version", version_json(&module.version)),
        ("active", module.active.into()),
        ("paused", module.paused.into()),
        ("doc", module.doc.as_str().into()),
        ("limits", parse_value(module.limits_json.as_bytes(), 8).unwrap_or(Value::Null)),
        ("artifact_bytes", count(module.artifact_bytes)),
        ("functions", Value::List(functions.collect())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_read_as_words() {
        let text = |schema: &str| type_text(&parse_value(schema.as_bytes(), 8).unwrap());
        assert_eq!(text(r#"{"type":"array","items":{"type":"number"}}"#), "list of number");
        assert_eq!(text(r#"{"type":"string","enum":["up","down"]}"#), "up | down");
        assert_eq!(text("{}"), "anything");
        assert_eq!(text(r#"{"description":"shop::Order"}"#), "shop::Order");
    }
}
