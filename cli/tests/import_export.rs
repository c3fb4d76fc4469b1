//! Import and export against a real node: what goes in comes out, and what can't go in is reported.

mod support;

use std::io::Write;

use support::{Dev, file, path};

#[test]
fn documents_go_in_and_come_out() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let lines = [
        r#"{"id":1,"zip":"00555","price":1.0,"tags":["a","b"],"loc":{"lat":44.85466,"lon":-93.24565}}"#,
        r#"{"id":"1","z":null,"a":{"$bytes":"AP8="},"":"unnamed"}"#,
        r#"{"id":2,"deep":[[[[{"k":-0.0}]]]]}"#,
    ];
    let ndjson = lines.join("\n") + "\n";
    let array = file(directory.path(), "in.json", format!("[{}]", lines.join(" ,\n")));
    let report = node.json(&["import", &array, "--into", "test/docs", "--key", "id"]);
    assert_eq!((&report["imported"], &report["bad"], &report["complete"]), (&3.into(), &0.into(), &true.into()));
    let exported = node.ok(&["export", "test/docs", "--order", "key"]);
    let expected: String = [lines[0], lines[2], lines[1]].map(|line| format!("{line}\n")).concat();
    assert_eq!(exported, expected);

    // With their keys, into another set, without knowing the key's field; twice, through a file and through a pipe.
    let keyed = path(directory.path(), "keyed.ndjson");
    node.ok(&["export", "test/docs", "--with-key", "--out", &keyed]);
    node.ok(&["import", &keyed, "--into", "test/copy", "--key", "$key"]);
    assert_eq!(node.ok(&["export", "test/copy", "--order", "key"]), expected);
    let piped = ["import", "-", "--format", "ndjson", "--into", "test/piped", "--key", "id"];
    let output = node.run_with_input(&piped, ndjson.as_bytes());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.ok(&["export", "test/piped", "--order", "key"]), expected);

    // CSV holds each value exactly; only a bin that isn't there becomes null.
    let csv = path(directory.path(), "out.csv");
    node.ok(&["export", "test/docs", "--out", &csv, "--order", "key", "--bins", "id,zip,price,tags,loc"]);
    node.ok(&["import", &csv, "--into", "test/csv", "--key", "id"]);
    assert_eq!(node.ok(&["get", "test/csv/1", "-o", "json"]).trim_end(), lines[0]);
    node.ok(&["get", "test/csv/text:\"1\""]);
}

#[test]
fn csv_comes_out_byte_for_byte() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let text =
        "id,name,\"a \"\"quoted\"\" one\",n\n1,plain,\"x,y\",007\n2,\"line\nbreak\",,1.50\n3,\"\"\"5\"\"\",{},-0.5\n";
    let csv = file(directory.path(), "in.csv", text);
    node.ok(&["import", &csv, "--into", "test/csv", "--key", "id"]);
    assert_eq!(node.ok(&["export", "test/csv", "--format", "csv", "--order", "key"]), text);
    let crlf = node.ok(&["export", "test/csv", "--format", "csv", "--order", "key", "--line-ending", "crlf"]);
    assert!(crlf.starts_with("id,name,\"a \"\"quoted\"\" one\",n\r\n1,plain"));
}

#[test]
fn bad_rows_are_reported_and_the_good_ones_are_in() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let text = "{\"id\":1}\n{\"id\":2,\"id\":3}\n{\"id\":\"\\ud800\"}\n{\"x\":1}\n{\"id\":4,\"n\":1e999}\n{\"id\":1}\n{\"id\":5}\n";
    let input = file(directory.path(), "in.ndjson", text);
    let bad = path(directory.path(), "bad.ndjson");
    let arguments = ["import", &input, "--into", "test/s", "--key", "id", "--bad-rows", &bad, "-o", "json"];
    let output = node.run(&arguments);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["imported"], &report["bad"]), (&2.into(), &5.into()));
    let kept = std::fs::read_to_string(&bad).expect("there");
    let rows: Vec<u64> = kept
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["row"].as_u64().expect("a number"))
        .collect();
    assert_eq!(rows, [2, 3, 4, 5, 6]);
    assert!(kept.contains("row 1 has the same key 1") && kept.contains("surrogate") && kept.contains("twice"));
    assert_eq!(node.json(&["stat", "test"])["records"], 2);

    // The same file with its last rows winning, and only new records, and with no patience.
    let last = ["import", &input, "--into", "test/last", "--key", "id", "--duplicates", "last", "-o", "json"];
    let report: serde_json::Value = serde_json::from_slice(&node.run(&last).stdout).expect("JSON");
    assert_eq!(report["imported"], 3);
    let create = ["import", &input, "--into", "test/s", "--key", "id", "--create-only", "-o", "json"];
    let report: serde_json::Value = serde_json::from_slice(&node.run(&create).stdout).expect("JSON");
    assert_eq!((&report["imported"], &report["bad"]), (&0.into(), &7.into()));
    let output = node.run(&["import", &input, "--into", "test/none", "--key", "id", "--max-bad", "1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped after 2 bad rows"));
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let import = |name: &str, content: &[u8]| {
        let input = file(directory.path(), name, content);
        node.run(&["import", &input, "--into", "test/s", "--key", "id"])
    };
    assert_eq!(import("a.csv", b"").status.code(), Some(2));
    assert_eq!(import("b.csv", b"x,y\n1,2\n").status.code(), Some(2));
    assert_eq!(import("c.json", b"{}").status.code(), Some(2));
    assert_eq!(import("d.txt", b"[]").status.code(), Some(2));
    assert_eq!(import("e.json", b"[]").status.code(), Some(0));
    let ragged = import("f.csv", b"id,n\n1,2\n3\n4,5,6\n7,8\n");
    assert_eq!(ragged.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ragged.stdout).contains("it has 1 fields, the header has 2"));
    let broken = import("g.json", b"[{\"id\":10},{\"id\":11},{\"id\"");
    assert_eq!(broken.status.code(), Some(3), "{broken:?}");
    assert!(String::from_utf8_lossy(&broken.stderr).contains("ends inside a value"));
    assert_eq!(node.json(&["stat", "test"])["records"], 4);
    let missing = node.run(&["import", "/nonexistent.json", "--into", "test/s", "--key", "id"]);
    assert_eq!(missing.status.code(), Some(8));
    assert_eq!(node.run(&["export", "test", "--format", "csv"]).status.code(), Some(2));
}

/// A second row of a key must not overtake the first one, however many writes are under way.
#[test]
fn the_last_row_of_a_key_stays() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let rows: String = (0..5_000).map(|n| format!("{{\"id\":{},\"n\":{n}}}\n", n % 7)).collect();
    let input = file(directory.path(), "in.ndjson", rows);
    node.ok(&["import", &input, "--into", "test/s", "--key", "id", "--duplicates", "last"]);
    for id in 0..7_u64 {
        let last = (0..5_000).rev().find(|n| n % 7 == id).expect("one of them");
        assert_eq!(node.json(&["get", &format!("test/s/{id}")])["n"], last);
    }
}

/// Rows of megabytes go through the same memory budget as small ones.
#[test]
fn large_rows_go_in_and_out() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let rows: String = (0..60)
        .map(|n| format!("{{\"id\":{n},\"v\":\"{}\"}}\n", char::from(b'a' + n % 26).to_string().repeat(3 << 20)))
        .collect();
    let input = file(directory.path(), "in.ndjson", &rows);
    let out = path(directory.path(), "out.ndjson");
    node.ok(&["import", &input, "--into", "test/s", "--key", "id"]);
    node.ok(&["export", "test/s", "--out", &out, "--order", "key"]);
    assert!(std::fs::read_to_string(out).expect("there") == rows);
}

/// A node that is killed and comes back while rows go in costs the import time, not rows.
#[test]
fn an_import_outlives_the_node() {
    const ROWS: usize = 6_000;
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = path(directory.path(), "data");
    let node = Dev::start_with(&["--data", &data]);
    let address = node.url.trim_start_matches("outcrop://").to_owned();
    let arguments =
        ["import", "-", "--format", "ndjson", "--into", "test/s", "--key", "id", "--deadline", "30s", "-o", "json"];
    let mut child = node
        .command(&arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    let mut stdin = child.stdin.take().expect("piped");
    let feed = |stdin: &mut std::process::ChildStdin, numbers: std::ops::Range<usize>| {
        let rows: String = numbers.map(|n| format!("{{\"id\":{n},\"n\":{}}}\n", n * 3)).collect();
        stdin.write_all(rows.as_bytes()).expect("taken");
    };
    feed(&mut stdin, 0..ROWS / 2);
    while node.json(&["stat", "test"])["records"].as_u64() < Some(1) {
        std::thread::yield_now();
    }
    node.end("KILL");
    // From here on no row can be in before there is a node again; what the pipe doesn't hold waits for it, too.
    let feeder = std::thread::spawn(move || feed(&mut stdin, ROWS / 2..ROWS));
    let node = Dev::start_at(&address, &["--data", &data]);
    feeder.join().expect("all rows are taken");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["imported"], &report["bad"]), (&ROWS.into(), &0.into()));
    let exported = node.ok(&["export", "test/s", "--order", "key"]);
    let expected: String = (0..ROWS).map(|n| format!("{{\"id\":{n},\"n\":{}}}\n", n * 3)).collect();
    assert!(exported == expected);
}
