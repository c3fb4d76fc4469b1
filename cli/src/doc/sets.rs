//! `outcrop doc query|count|distinct`: a whole set by a JSONPath filter, beside the data.

use clap::Args;
use outcrop_client::{ScanOptions, Target as Over, Value};

use super::{PATH_HELP, failed};
use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::output::{Out, OutputFormat, object, table, value_text};
use crate::target::{Target, is_damaged, suggest};
use crate::udf::rows::Printer;

const QUERY_EXAMPLES: &str = "\
Examples:
  outcrop doc query test/shop '@.price < 100'
  outcrop doc query test/shop '@.tags[?@ == \"sale\"]' --select '$.name' --output json
  outcrop doc query test/shop 'length(@.tags) > 2 || !@.price' --limit 10

Documents come as the node finds them, in no order.";

const COUNT_EXAMPLES: &str = "\
Examples:
  outcrop doc count test/shop
  outcrop doc count test/shop '@.price < 100'";

const DISTINCT_EXAMPLES: &str = "\
Examples:
  outcrop doc distinct test/shop '$.brand'
  outcrop doc distinct test/shop '$.tags[*]' --filter '@.price < 100' --limit 100

The most frequent value comes first.";

/// Find documents.
#[derive(Debug, Args)]
#[command(after_help = format!("{QUERY_EXAMPLES}\n\n{PATH_HELP}"))]
pub struct QueryArgs {
    /// NAMESPACE/SET
    #[arg(value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// Which documents; without it all of them
    pub filter: Option<String>,
    /// Only the parts that this path points at; documents without any are left out
    #[arg(long, value_name = "PATH")]
    pub select: Option<String>,
    /// Stop after so many documents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Count documents.
#[derive(Debug, Args)]
#[command(after_help = format!("{COUNT_EXAMPLES}\n\n{PATH_HELP}"))]
pub struct CountArgs {
    /// NAMESPACE/SET
    #[arg(value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// Which documents; without it all of them
    pub filter: Option<String>,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// List values.
#[derive(Debug, Args)]
#[command(after_help = format!("{DISTINCT_EXAMPLES}\n\n{PATH_HELP}"))]
pub struct DistinctArgs {
    /// NAMESPACE/SET
    #[arg(value_name = "NAMESPACE/SET", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// Where the values are
    pub path: String,
    /// Only in these documents
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Tell at most so many values apart, up to 10,000
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

/// Finds documents and prints them as they come.
pub async fn query(args: &QueryArgs) -> Result<Exit, Failure> {
    let client = args.target.connect().await?;
    let (namespace, set) = (args.place.0.as_str(), args.place.1.as_deref());
    let arguments =
        object([("filter", optional(args.filter.as_deref())), ("select", optional(args.select.as_deref()))]);
    let options = ScanOptions::default().limit(args.limit.unwrap_or(0));
    let mut rows = client.function("document.query").value(&arguments).rows(namespace, set, options);
    let mut printer = Printer::new(args.target.output);
    while let Some(row) = rows.next().await {
        match row {
            Ok(row) => printer.row(row)?,
            Err(error) => {
                printer.flush()?;
                return Err(suggest(&client, namespace, set, failed(error)).await);
            }
        }
    }
    printer.finish()?;
    client.close().await;
    Ok(if is_damaged(rows.damaged()) { Exit::Partial } else { Exit::Ok })
}

async fn aggregate(
    place: &(String, Option<String>),
    function: &str,
    arguments: &Value,
    target: &Target,
) -> Result<(Value, Exit), Failure> {
    let client = target.connect().await?;
    let (namespace, set) = (place.0.as_str(), place.1.as_deref());
    let over = set.map_or_else(|| Over::namespace(namespace), |set| Over::set(namespace, set));
    let result = match client.function(function).value(arguments).aggregate(&over).await {
        Ok(called) => (called.value()?, if is_damaged(called.damaged()?) { Exit::Partial } else { Exit::Ok }),
        Err(error) => return Err(suggest(&client, namespace, set, failed(error)).await),
    };
    client.close().await;
    Ok(result)
}

/// Counts and prints.
pub async fn count(args: &CountArgs) -> Result<Exit, Failure> {
    let arguments = object([("filter", optional(args.filter.as_deref()))]);
    let (counted, exit) = aggregate(&args.place, "document.count", &arguments, &args.target).await?;
    let mut out = Out::new();
    out.json(&counted)?;
    out.flush()?;
    Ok(exit)
}

/// Lists values with how often each is there.
pub async fn distinct(args: &DistinctArgs) -> Result<Exit, Failure> {
    let arguments = object([
        ("path", args.path.as_str().into()),
        ("filter", optional(args.filter.as_deref())),
        ("limit", i64::from(args.limit).into()),
    ]);
    let (found, exit) = aggregate(&args.place, "document.distinct", &arguments, &args.target).await?;
    let mut out = Out::new();
    if args.target.output == OutputFormat::Json {
        out.json(&found)?;
        out.flush()?;
        return Ok(exit);
    }
    let mut rows = table(["value", "count"]);
    if let Some(Value::List(values)) = found.get(&"values".into()) {
        for found in values {
            let field = |name: &str| found.get(&name.into()).map_or_else(String::new, value_text);
            rows.add_row([field("value"), field("count")]);
        }
    }
    out.table(&rows)?;
    if found.get(&"complete".into()) == Some(&Value::Bool(false)) {
        out.line("there are more values; --limit tells more of them apart")?;
    }
    out.flush()?;
    Ok(exit)
}
