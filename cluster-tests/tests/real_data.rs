//! Real documents and series: they go in, survive kill -9, and come out equal. Skipped, loudly, where they aren't there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use outcrop_cluster_tests::binary::outcrop;
use outcrop_cluster_tests::{NodeProcess, Settings, real_data, size};
use serde_json::Value;

/// Runs a data command against the node; its standard output.
fn run(node: &NodeProcess, arguments: &[&str]) -> String {
    let mut command = Command::new(outcrop());
    let output = command.args(arguments).args(["--url", &node.url()]).env("NO_COLOR", "1").output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "outcrop {arguments:?} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Documents by the text of their key.
fn by_key(documents: Vec<Value>, field: &str) -> BTreeMap<String, Value> {
    let count = documents.len();
    let map: BTreeMap<String, Value> =
        documents.into_iter().map(|document| (document[field].to_string(), document)).collect();
    assert_eq!(map.len(), count, "`{field}` is unique in the source");
    map
}

fn ndjson(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a document")).collect()
}

fn set_of(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().replace(['.', ' '], "-")
}

#[test]
fn documents_survive_kill_9_and_come_out_equal() {
    let Some(folder) = real_data::folder() else {
        size::skipped("the real data isn't beside this repository");
        return;
    };
    let files = real_data::files(&folder.join("documents"), "json");
    assert!(!files.is_empty());
    let node = NodeProcess::start(Settings::flash("256MiB"));
    for path in &files {
        let into = format!("test/{}", set_of(path));
        run(&node, &["import", &path.to_string_lossy(), "--into", &into, "--key", "id"]);
    }
    let node = NodeProcess::start(node.kill());
    for path in &files {
        let text = std::fs::read_to_string(path).expect("read");
        let original: Vec<Value> = serde_json::from_str(&text).expect("an array of documents");
        let exported = ndjson(&run(&node, &["export", &format!("test/{}", set_of(path)), "--format", "ndjson"]));
        // Numbers are compared as they are written: this reads them with arbitrary precision.
        let (original, exported) = (by_key(original, "id"), by_key(exported, "id"));
        assert_eq!(original.len(), exported.len(), "{}", path.display());
        for (key, document) in &original {
            assert_eq!(exported.get(key), Some(document), "{}: {key}", path.display());
        }
    }
}

#[test]
fn series_survive_kill_9_and_come_out_equal() {
    let Some(folder) = real_data::folder() else {
        size::skipped("the real data isn't beside this repository");
        return;
    };
    let files = real_data::files(&folder.join("timeseries"), "csv");
    assert!(!files.is_empty());
    let node = NodeProcess::start(Settings::flash("256MiB"));
    for path in &files {
        // By the row's number: where a clock was set back, a timestamp is there twice.
        let into = format!("test/{}", set_of(path));
        run(&node, &["import", &path.to_string_lossy(), "--into", &into, "--key", "-"]);
    }
    let node = NodeProcess::start(node.kill());
    for path in &files {
        let original = std::fs::read_to_string(path).expect("read");
        let place = format!("test/{}", set_of(path));
        let exported = run(&node, &["export", &place, "--format", "csv", "--order", "key"]);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&exported), lines(&original), "{}", path.display());
    }
}
