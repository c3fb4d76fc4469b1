//! Documents, series and queries over real data, against what plain Python makes of the same files.
//!
//! `models_real_data.py` says what to load, what to ask and what the answers are; a real node answers through the command
//! line, as a user would. Skipped, loudly, where the data or `python3` isn't there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use outcrop_cluster_tests::binary::outcrop;
use outcrop_cluster_tests::{NodeProcess, Settings, real_data, size};
use serde_json::Value;

/// Bytes of a point of nyc_taxi.csv, timestamps included, at most.
const POINT_BYTES_MAX: f64 = 3.0;
/// Bytes of a point as it is: time and value.
const RAW_POINT_BYTES: f64 = 16.0;

/// Runs a command against the node; its standard output.
fn run(node: &NodeProcess, step: &Value) -> String {
    let words = step["command"].as_array().expect("a step has a command");
    let mut command = Command::new(outcrop());
    command.args(words.iter().map(|word| word.as_str().expect("a text")));
    // A first call waits until its module is compiled, by an unoptimised compiler on a busy machine.
    command.args(["--url", &node.url(), "--output", "json", "--deadline", "5m"]).env("NO_COLOR", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("outcrop runs");
    let input = step["stdin"].as_str().unwrap_or_default();
    child.stdin.take().expect("it was piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words:?} ended with {}: {errors}", step["name"], output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Where an answer differs from what it should be; numbers but for what rounding may do to the last digits.
fn difference(wanted: &Value, found: &Value) -> Option<String> {
    let differs = || Some(format!("{found} instead of {wanted}"));
    match (wanted, found) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => {
                if a == b {
                    None
                } else {
                    differs()
                }
            }
            _ => {
                let (a, b) = (a.as_f64()?, b.as_f64()?);
                if (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3) { None } else { differs() }
            }
        },
        (Value::Object(members), Value::Number(number)) if members.contains_key("$between") => {
            let bound = |at: usize| wanted["$between"][at].as_f64().expect("a number");
            let number = number.as_f64().expect("a number");
            if (bound(0)..=bound(1)).contains(&number) { None } else { differs() }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let each = |(at, (a, b))| difference(a, b).map(|difference| format!("[{at}]: {difference}"));
            a.iter().zip(b).enumerate().find_map(each)
        }
        (Value::Object(a), Value::Object(b)) => {
            // How a query was worked out may be told beside its answer.
            let extra = b.keys().find(|name| !a.contains_key(*name) && !name.starts_with("chunks_"));
            if let Some(extra) = extra {
                return Some(format!("{extra} is too much"));
            }
            a.iter().find_map(|(name, a)| match b.get(name) {
                Some(b) => difference(a, b).map(|difference| format!(".{name}{difference}")),
                None => Some(format!(".{name} is missing")),
            })
        }
        _ if wanted == found => None,
        _ => differs(),
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn by_key(rows: &mut [Value]) {
    rows.sort_by_key(|row| row["key"].to_string());
}

/// What Python says to do, step by step; none where there is no Python.
fn steps(folder: &Path) -> Option<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models_real_data.py");
    let output = match Command::new("python3").arg(script).arg(folder).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("python3 doesn't run: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text").lines().map(parse).collect())
}

#[test]
fn models_give_what_plain_python_gives() {
    let Some(folder) = real_data::folder() else {
        size::skipped("the real data isn't beside this repository");
        return;
    };
    let Some(steps) = steps(&folder) else {
        size::skipped("there is no python3, which works the answers out");
        return;
    };
    let node = NodeProcess::start(Settings::flash("256MiB"));
    let (mut wrong, mut compared) = (Vec::new(), 0);
    let mut sizes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for step in &steps {
        let said = run(&node, step);
        if let Some(series) = step["stored"].as_str() {
            let (info, size) = (parse(&said), sizes.entry(series.to_owned()).or_default());
            let number = |name: &str| info[name].as_u64().expect("a number");
            size.0 += number("points");
            size.1 += number("packed_bytes") + number("tail_bytes");
        }
        let Some(answer) = step.get("answer") else { continue };
        let (mut answer, found) = (
            answer.clone(),
            match step["rows"].as_bool() {
                Some(true) => {
                    let mut rows: Vec<Value> = said.lines().map(parse).collect();
                    by_key(&mut rows);
                    Value::Array(rows)
                }
                _ => parse(&said),
            },
        );
        if let (Some(true), Value::Array(rows)) = (step["rows"].as_bool(), &mut answer) {
            assert!(!rows.is_empty(), "{} asks for something", step["name"]);
            by_key(rows);
        }
        compared += 1;
        wrong.extend(difference(&answer, &found).map(|difference| format!("{}: {difference}", step["name"])));
    }
    assert!(wrong.is_empty(), "{} of {compared} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 80, "only {compared} answers were compared");
    for (series, (points, bytes)) in &sizes {
        let each = *bytes as f64 / *points as f64;
        println!("{series}: {points} points, {bytes} bytes, {each:.2} a point");
        assert!(each <= RAW_POINT_BYTES, "{series}: {each:.2} bytes a point");
    }
    let (points, bytes) = sizes["nyc_taxi"];
    assert_eq!(points, 10_320);
    assert!(bytes as f64 / points as f64 <= POINT_BYTES_MAX, "nyc_taxi takes {bytes} bytes for {points} points");
}

#[test]
fn differences_are_seen() {
    let differ = |wanted: &str, found: &str| difference(&parse(wanted), &parse(found)).is_some();
    let within = r#"{"a": [{"$between": [1, 2]}, 0.1]}"#;
    assert!(!differ(within, r#"{"a": [1.5, 0.10000000000001]}"#) && !differ("[1, 2.0]", "[1, 2]"));
    for wrong in [r#"{"a": [2.5, 0.1]}"#, r#"{"a": [1, 0.1001]}"#, r#"{"a": [1]}"#, r#"{"a": [1, 0.1], "b": 1}"#, "{}"]
    {
        assert!(differ(within, wrong), "{wrong}");
    }
    assert!(differ("9007199254740993", "9007199254740992") && differ("null", "0") && differ("\"1\"", "1"));
}
