//! The data commands against a real node: what they do, what they print, how they fail.

mod support;

use support::{Dev, file, outcrop, path};

#[test]
fn a_record_from_put_to_delete() {
    let node = Dev::start();
    let key = "test/users/42";
    let written = node.json(&["put", key, "--json", r#"{"name":"Ada","born":1815}"#, "--create-only"]);
    assert_eq!(written.to_string(), r#"{"key":"test/users/42","generation":1,"expiry_secs":null}"#);
    assert_eq!(node.ok(&["get", key, "-o", "json"]), "{\"name\":\"Ada\",\"born\":1815}\n");
    assert_eq!(node.ok(&["get", key, "-o", "json", "--bins", "born"]), "{\"born\":1815}\n");
    assert!(node.ok(&["get", key]).contains("Ada"));
    assert!(node.fails(4, &["put", key, "--value", "x", "--create-only"]).contains("already_exists"));
    assert!(node.fails(4, &["put", key, "--value", "x", "--if-generation", "7"]).contains("generation_mismatch"));
    node.ok(&["put", key, "--json", r#"{"city":"London"}"#, "--merge", "--if-generation", "1"]);
    assert_eq!(node.ok(&["get", key, "-o", "json"]), "{\"name\":\"Ada\",\"born\":1815,\"city\":\"London\"}\n");
    node.ok(&["put", key, "--json", r#"{"city":"Paris"}"#]);
    assert_eq!(node.ok(&["get", key, "-o", "json"]), "{\"city\":\"Paris\"}\n");
    assert_eq!(node.json(&["exists", key])["generation"], 3);
    let touched = node.json(&["touch", key, "--ttl", "1h"]);
    assert!(touched["expiry_secs"].as_u64().expect("a time") > 1_700_000_000);
    let meta = node.json(&["get", key, "--meta"]);
    assert_eq!(meta["expiry_secs"], touched["expiry_secs"]);
    assert_eq!(meta["bins"].to_string(), r#"{"city":"Paris"}"#);
    node.fails(4, &["delete", key, "--if-generation", "1"]);
    assert_eq!(node.json(&["delete", key])["deleted"], true);
    node.fails(1, &["delete", key]);
    node.fails(1, &["get", key]);
    node.fails(1, &["touch", key, "--ttl", "1h"]);
    node.fails(1, &["put", key, "--value", "x", "--update-only"]);
    assert_eq!(node.run(&["exists", key]).status.code(), Some(1));
}

#[test]
fn an_integer_key_is_not_the_text_of_its_digits() {
    let node = Dev::start();
    node.ok(&["put", "test/s/42", "--value", "integer"]);
    node.ok(&["put", "test/s/text:42", "--value", "text"]);
    node.ok(&["put", "test/s/hex:00ff", "--value", "bytes"]);
    node.ok(&["put", "test/s/a b/c/ü 🦀", "--value", "unicode"]);
    node.ok(&["put", "test/s/text:int:1", "--value", "prefixed"]);
    let raw = |key: &str| node.ok(&["get", key, "--raw"]);
    assert_eq!(raw("test/s/int:42"), "integer");
    assert_eq!(raw("test/s/text:42"), "text");
    assert_eq!(raw("test/s/base64:AP8="), "bytes");
    assert_eq!(raw("test/s/a b/c/ü 🦀"), "unicode");
    let scanned = node.ok(&["scan", "test/s", "-o", "json"]);
    let mut keys: Vec<String> = scanned
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["key"].as_str().map(str::to_owned)
        })
        .collect();
    keys.sort();
    let expected = ["test/s/42", "test/s/a b/c/ü 🦀", "test/s/hex:00ff", "test/s/text:42", "test/s/text:int:1"];
    assert_eq!(keys, expected);
    for key in keys {
        node.ok(&["delete", &key]);
    }
    let hint = node.fails(1, &["get", "test/s/7"]);
    assert!(hint.contains("test/s/text:7") || hint.contains("empty") || hint.contains("no set"), "{hint}");
}

#[test]
fn values_of_every_kind_come_back() {
    let node = Dev::start();
    let documents = [
        r#"{"b":1,"a":[1.0,0.1,-0.0,1e22,null,true],"":{},"z":"\"\\ü😀"}"#,
        r#"{"$bytes":"AP8="}"#,
        r#"{"f":{"$float":"NaN"},"m":{"$int:42":{"$bytes":""}}}"#,
        r#"[1,[2,[3]]]"#,
        r#""text""#,
        "-9223372036854775808",
        "null",
        "{}",
    ];
    for document in documents {
        node.ok(&["put", "test/s/d", "--json", document]);
        assert_eq!(node.ok(&["get", "test/s/d", "-o", "json"]).trim_end(), document);
    }
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n * 7) as u8).collect();
    let directory = tempfile::tempdir().expect("temporary directory");
    let from = file(directory.path(), "in", &bytes);
    let to = path(directory.path(), "out");
    node.ok(&["put", "test/s/file", "--file", &from]);
    node.ok(&["get", "test/s/file", "--raw", "--out", &to]);
    assert!(std::fs::read(to).expect("there") == bytes);
    let output = node.run_with_input(&["put", "test/s/piped", "--json", "-"], b"{\"a\":1}");
    assert!(output.status.success());
    assert_eq!(node.ok(&["get", "test/s/piped", "-o", "json"]), "{\"a\":1}\n");
}

#[test]
fn steps_are_all_or_nothing() {
    let node = Dev::start();
    let key = "test/s/1";
    let result = node.json(&["operate", key, "--op", "add n 5", "--op", "list-append l \"a\"", "--op", "read n"]);
    assert_eq!(result["results"].to_string(), "[5,1,5]");
    let error = node.fails(7, &["operate", key, "--op", "add n 1", "--op", "add l 1"]);
    assert!(error.contains("type_mismatch"), "{error}");
    assert_eq!(node.json(&["operate", key, "--op", "read n"])["results"].to_string(), "[5]");
    node.fails(2, &["operate", key, "--op", "fly"]);
}

#[test]
fn scans_stop_and_go_on() {
    let node = Dev::start();
    for number in 0..25 {
        node.ok(&["put", &format!("test/s/{number}"), "--json", &format!("{{\"n\":{number},\"x\":0}}")]);
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut arguments = vec!["scan", "test/s", "--limit", "10", "--bins", "n", "-o", "json"];
        if let Some(cursor) = &cursor {
            arguments.extend(["--cursor", cursor]);
        }
        let text = node.ok(&arguments);
        let mut lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let end = lines.pop().expect("a last line");
        assert_eq!(end["records"], lines.len());
        seen.extend(lines.iter().map(|line| line["bins"]["n"].as_i64().expect("a number")));
        assert!(lines.iter().all(|line| line["bins"].as_object().is_some_and(|bins| bins.len() == 1)));
        match end["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    let table = node.ok(&["scan", "test/s", "--limit", "3"]);
    assert!(table.contains("3 records") && table.contains("--cursor"), "{table}");
    assert_eq!(node.json(&["truncate", "test/s", "--yes"])["removed"], 25);
    assert!(node.ok(&["scan", "test/s"]).contains("0 records"));
    node.fails(2, &["truncate", "test/s"]);
}

#[test]
fn mistakes_are_explained() {
    let node = Dev::start();
    node.ok(&["put", "test/products/1", "--value", "x"]);
    let stderr = node.fails(1, &["get", "test/prodcuts/1"]);
    assert!(stderr.contains("did you mean \"products\""), "{stderr}");
    let stderr = node.run(&["scan", "test/prodcuts"]).stderr;
    assert!(String::from_utf8_lossy(&stderr).contains("did you mean \"products\""));
    let stderr = node.fails(7, &["get", "tset/products/1"]);
    assert!(stderr.contains("namespace test"), "{stderr}");
    let stderr = node.fails(1, &["get", "test/products/2", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&stderr).expect("JSON");
    assert_eq!(error["error"]["code"], 300);
    assert_eq!(error["error"]["name"], "not_found");
    assert_eq!(error["error"]["retry"], "never");
    assert!(node.ok(&["stat"]).contains("test"));
    assert!(node.ok(&["stat", "test"]).contains("products"));
    assert_eq!(node.json(&["stat"])["namespaces"][0]["records"], 1);
    node.fails(7, &["stat", "nothing"]);
}

#[test]
fn bad_input_is_refused_before_it_does_harm() {
    let node = Dev::start();
    let put = |document: &str| node.fails(2, &["put", "test/s/1", "--json", document]);
    assert!(put("12345678901234567890123").contains("fits neither"));
    assert!(put(r#"{"a":{"x":1,"x":2}}"#).contains("twice"));
    assert!(put(r#""\ud800""#).contains("surrogate"));
    assert!(put(&"[".repeat(10_000)).contains("nest"));
    assert!(put(&format!("{{\"{}\":1}}", "b".repeat(256))).contains("255"));
    for ttl in ["-1", "-1s", "0s", "9223372036854775808s", "9223372036854775808"] {
        node.fails(2, &["put", "test/s/1", "--value", "x", "--ttl", ttl]);
    }
    node.fails(2, &["put", "test/s/", "--value", "x"]);
    node.fails(2, &["put", &format!("test/s/{}", "k".repeat(100_000)), "--value", "x"]);
    node.fails(2, &["put", "test/s", "--value", "x"]);
    node.fails(2, &["put", "test/s/1"]);
    node.fails(2, &["put", "test/s/1", "--value", "x", "--json", "1"]);
    node.fails(8, &["put", "test/s/1", "--file", "/nonexistent/file"]);
    let directory = tempfile::tempdir().expect("temporary directory");
    let huge = file(directory.path(), "huge", vec![0_u8; 9 << 20]);
    assert!(node.fails(7, &["put", "test/s/1", "--file", &huge]).contains("bytes"));
    let large = file(directory.path(), "large", vec![0_u8; 5 << 20]);
    assert!(node.fails(7, &["put", "test/s/1", "--file", &large]).contains("record_too_large"));
    assert_eq!(node.run(&["exists", "test/s/1"]).status.code(), Some(1));
}

#[test]
fn commands_that_need_no_node() {
    assert!(outcrop(&["--help"]).status.success());
    let codes = outcrop(&["codes", "302", "--output", "json"]);
    let code: serde_json::Value = serde_json::from_slice(&codes.stdout).expect("JSON");
    assert_eq!((&code["name"], &code["exit"]), (&"generation_mismatch".into(), &4.into()));
    assert_eq!(outcrop(&["codes", "nope"]).status.code(), Some(2));
    for shell in ["bash", "zsh", "fish"] {
        let script = outcrop(&["completions", shell]);
        assert!(script.status.success() && String::from_utf8_lossy(&script.stdout).contains("truncate"));
    }
    let mistyped = outcrop(&["exprot", "test/s"]);
    assert_eq!(mistyped.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&mistyped.stderr).contains("'export'"));
    let unknown = outcrop(&["get", "test/s/1", "--outptu", "json", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_slice(&unknown.stderr).expect("JSON");
    assert_eq!(error["error"]["name"], "usage");
}

#[test]
fn a_node_that_is_not_there() {
    // A port that was free a moment ago, and a certificate, so that it is the node that is missing.
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let node = Dev::start();
    let certificate = std::fs::read_dir(node.home.path().join("outcrop")).expect("listed").next().expect("one");
    let certificate = certificate.expect("readable").path();
    let url = format!("outcrop://127.0.0.1:{free}");
    let certificate = certificate.to_str().expect("text");
    let arguments = ["get", "test/s/1", "--url", &url, "--ca", certificate, "--deadline", "500ms", "-o", "json"];
    let output = outcrop(&arguments);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"]["retry"], "backoff");
    assert_eq!(outcrop(&["get", "test/s/1", "--url", "http://localhost"]).status.code(), Some(2));
}
