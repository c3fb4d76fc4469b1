//! Bytes that rot on the device: what is damaged is named, the rest is served, and no command takes it for everything.

mod support;

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};

use support::Dev;

/// Where a text stands in the first segments of a data file.
fn offset_of(file: &mut std::fs::File, text: &str) -> u64 {
    let mut begin = Vec::new();
    file.take(64 << 20).read_to_end(&mut begin).expect("it can be read");
    begin.windows(text.len()).position(|window| window == text.as_bytes()).expect("it was written") as u64
}

/// Catches: an export that left damaged records out and said that all are out.
#[test]
fn an_export_without_damaged_records_says_so() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let node = Dev::start_with(&["--data", &data.to_string_lossy()]);
    let rows: String = (0..300).map(|n| format!("{{\"id\":{n},\"name\":\"somebody of number {n:05}\"}}\n")).collect();
    let import = ["import", "-", "--format", "ndjson", "--into", "test/s", "--key", "id"];
    assert!(node.run_with_input(&import, rows.as_bytes()).status.success());
    assert_eq!(node.end("TERM"), Some(0));
    let log = data.join("test.log");
    let mut file = OpenOptions::new().read(true).write(true).open(&log).expect("the namespace's file");
    let place = offset_of(&mut file, "somebody of number 00123");
    file.seek(SeekFrom::Start(place)).expect("within the file");
    file.write_all(b"S").expect("written");
    drop(file);

    let node = Dev::start_with(&["--data", &data.to_string_lossy()]);
    for command in
        [&["export", "test/s"][..], &["export", "test/s", "--order", "key"], &["scan", "test/s", "-o", "json"]]
    {
        let output = node.run(command);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("NOT ALL records: 1 places"), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches("somebody of number").count(), 299, "the others are out");
        assert!(!text.contains("00123"));
    }
    node.warm("document");
    let counted = node.run(&["doc", "count", "test/s"]);
    assert_eq!(
        (counted.status.code(), String::from_utf8_lossy(&counted.stdout).trim()),
        (Some(3), "299"),
        "{counted:?}"
    );
    assert!(String::from_utf8_lossy(&counted.stderr).contains("NOT ALL records: 1 places"), "{counted:?}");
    assert!(node.fails(7, &["get", "test/s/123"]).contains("damaged"));
    assert_eq!(node.end("TERM"), Some(0));
}

/// Catches: a command that failed and ended without a goodbye, so that its connection (and a large request's stream) stayed
/// with the node until it had been silent for long, and a node that shut down waited for it.
#[test]
fn a_command_that_is_refused_says_goodbye() {
    let node = Dev::start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let large = support::file(directory.path(), "large.bin", vec![7_u8; 4 << 20]);
    for _ in 0..3 {
        assert!(node.fails(7, &["put", "test/s/large", "--file", &large]).contains("record_too_large"));
    }
    let connections = || node.json(&["stat"])["quic"]["connections"].as_i64().expect("a number");
    // Those of `stat` itself are there at any time. The others would stay for ten seconds.
    let own = Dev::start().json(&["stat"])["quic"]["connections"].as_i64().expect("a number");
    let looks = std::iter::repeat_with(connections).take(100);
    assert!(looks.into_iter().any(|now| now == own), "connections of commands that ended are still there");
}
