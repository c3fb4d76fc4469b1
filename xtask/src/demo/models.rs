//! Functions, documents, time series and queries: what of the demonstration runs beside the data.

use std::time::Instant;

use super::node::DemoNode;
use super::{quoted, say, show};
use crate::workspace;

/// Runs a command and shows it with its time.
fn step(node: &DemoNode, arguments: &[&str]) -> Result<(), String> {
    let started = Instant::now();
    let printed = node.outcrop(arguments)?;
    show(&quoted(arguments), &printed);
    println!("    ({:.1} ms)", started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn steps(node: &DemoNode, steps: &[&[&str]]) -> Result<(), String> {
    steps.iter().try_for_each(|arguments| step(node, arguments))
}

/// The models that come along. A node compiles each when it is first called, hence the deadlines.
pub fn models(node: &DemoNode) -> Result<(), String> {
    say("Documents: JSONPath, patches and filters, worked out beside the data");
    steps(
        node,
        &[
            &[
                "doc",
                "set",
                "test/carts/7",
                r#"{"user":"Ada","items":[{"sku":"GR-000001","count":1}]}"#,
                "--deadline",
                "2m",
            ],
            &["doc", "append", "test/carts/7", "$.items", r#"{"sku":"KE-000002","count":2}"#],
            &["doc", "increment", "test/carts/7", "$.items[?@.sku == 'GR-000001'].count"],
            &[
                "doc",
                "patch",
                "test/carts/7",
                r#"[{"op":"test","path":"/user","value":"Ada"},{"op":"remove","path":"/items/1"}]"#,
            ],
            &["doc", "get", "test/carts/7"],
            &["doc", "count", "test/products", "@.discontinued == true"],
            &[
                "doc",
                "query",
                "test/products",
                "@.discontinued == true && @.reviews.count > 100",
                "--select",
                "$.name",
                "--limit",
                "3",
            ],
        ],
    )?;
    say("Time series: compressed blocks, windows merged beside them");
    steps(
        node,
        &[
            &[
                "ts",
                "import",
                "exchange-1-cpc.csv",
                "--into",
                "test/ads/cpc",
                "--tag",
                "exchange=1",
                "--quiet",
                "--deadline",
                "2m",
            ],
            &["ts", "last", "test/ads/cpc", "--tag", "exchange=1", "--count", "2"],
            &["ts", "agg", "test/ads/cpc", "--tag", "exchange=1", "--every", "4w", "--fn", "avg,max,p99"],
        ],
    )?;
    say("Queries: groups, orders and expressions over all products");
    steps(
        node,
        &[
            &[
                "aggregate",
                "test/products",
                "scan.aggregate",
                r#"{"where":"not discontinued","group_by":{"department":"category.path[0].name"},"aggregates":{"products":"count()","grams":"avg(weight_grams)","reviews_p95":"percentile(reviews.count, 95)"},"order":"products desc"}"#,
            ],
            &[
                "rows",
                "test/products",
                "scan.select",
                r#"{"where":"reviews.mean >= 4.9 and weight_grams < 500","project":{"name":"name","grams":"weight_grams"}}"#,
                "--limit",
                "3",
            ],
        ],
    )
}

/// The example module: built, deployed, called, run over a whole set, looked at.
pub fn functions(node: &DemoNode) -> Result<(), String> {
    say("Functions of your own: udfs/examples/shop, from source to a call");
    let project = workspace::root().join("udfs/examples/shop");
    let started = Instant::now();
    let printed = node.outcrop(&["udf", "deploy", &project.to_string_lossy()])?;
    show("udf deploy udfs/examples/shop", &printed);
    println!("    ({:.1} s, most of it the compiler)", started.elapsed().as_secs_f64());
    steps(
        node,
        &[
            &["put", "test/shop/lamp", "--json", r#"{"name":"lamp","price":80.0,"stock":3}"#],
            &["call", "test/shop/lamp", "shop.discount", r#"{"percent":25}"#, "--logs"],
            &["aggregate", "test/shop", "shop.revenue"],
            &["jobs", "start", "test/products", "shop.visit", r#"{"by":1}"#, "--wait"],
            &["jobs", "list"],
            &["udf", "stats", "shop"],
        ],
    )?;
    node.ends_with(&["call", "test/shop/sofa", "shop.discount", "25"], 7)?;
    println!("  a product without a price is refused by the function, and nothing is changed (exit code 7)");
    steps(node, &[&["udf", "logs", "shop"], &["udf", "list"]])
}
