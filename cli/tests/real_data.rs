//! The real data: every document and every row goes in, survives kill -9, and comes out equal.
//!
//! It lies beside the repository (`../shared/data`) where there is one; without it these tests say so and pass.

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Dev, path};

fn files(kind: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(kind);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        eprintln!("SKIPPED: there is no {}", directory.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    assert!(!files.is_empty(), "no {extension} in {}", directory.display());
    files
}

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|stem| stem.to_str()).expect("a name")
}

#[test]
fn documents_survive_kill_9_and_come_out_equal() {
    let files = files("documents", "json");
    if files.is_empty() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = path(directory.path(), "data");
    let node = Dev::start_with(&["--data", &data]);
    for file in &files {
        let into = format!("test/{}", stem(file));
        node.ok(&["import", file.to_str().expect("text"), "--into", &into, "--key", "id"]);
    }
    node.end("KILL");
    let node = Dev::start_with(&["--data", &data]);
    for file in &files {
        let text = std::fs::read_to_string(file).expect("readable");
        let originals: Vec<Value> = serde_json::from_str(&text).expect("an array");
        let out = path(directory.path(), "out.json");
        node.ok(&["export", &format!("test/{}", stem(file)), "--out", &out]);
        let text = std::fs::read_to_string(&out).expect("there");
        let exported: Vec<Value> = serde_json::from_str(&text).expect("an array");
        assert_eq!(exported.len(), originals.len());
        // As text: numbers as they were written, keys in their order.
        let by_id: HashMap<String, String> =
            exported.iter().map(|document| (document["id"].to_string(), document.to_string())).collect();
        for original in &originals {
            assert_eq!(by_id.get(&original["id"].to_string()), Some(&original.to_string()));
        }
    }
}

#[test]
fn series_come_out_byte_for_byte() {
    let files = files("timeseries", "csv");
    if files.is_empty() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = path(directory.path(), "data");
    let node = Dev::start_with(&["--data", &data]);
    let mut by_number = Vec::new();
    for file in &files {
        let (name, into) = (file.to_str().expect("text"), format!("test/{}", stem(file)));
        let output = node.run(&["import", name, "--into", &into, "--key", "timestamp", "-o", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if report["bad"] != 0 {
            // Two of the files have a timestamp twice: the second row is reported, never lost without a word. With the
            // row's number as its key every row goes in.
            assert_eq!((output.status.code(), &report["bad"]), (Some(3), &1.into()), "{name}");
            let reason = report["bad_rows"][0]["reason"].as_str().expect("a reason");
            assert!(reason.contains("the same key"), "{reason}");
            node.ok(&["truncate", &into, "--yes"]);
            node.ok(&["import", name, "--into", &into, "--key", "-"]);
            by_number.push(stem(file).to_owned());
        } else {
            assert!(output.status.success(), "{name}: {output:?}");
        }
    }
    assert_eq!(by_number, ["exchange-2_cpc_results", "exchange-2_cpm_results"]);
    node.end("KILL");
    let node = Dev::start_with(&["--data", &data]);
    for file in &files {
        let original = std::fs::read_to_string(file).expect("readable");
        let ending = if original.contains("\r\n") { "crlf" } else { "lf" };
        let set = format!("test/{}", stem(file));
        let exported = node.ok(&["export", &set, "--format", "csv", "--order", "key", "--line-ending", ending]);
        // One file ends without a line ending; an export always has one.
        let newline = if ending == "crlf" { "\r\n" } else { "\n" };
        let original = if original.ends_with(newline) { original } else { original + newline };
        assert!(exported == original, "{} differs", file.display());
    }
}
