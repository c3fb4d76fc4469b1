//! `outcrop jobs` as a person uses it: started, watched, paused, cancelled, waited for; what went wrong is told.

mod support;

use serde_json::Value;
use support::Dev;

/// Records `0..count` of a set, with these fields.
fn import(dev: &Dev, set: &str, count: usize, fields: &str) {
    let rows: String = (0..count).map(|id| format!("{{\"id\":{id},{fields}}}\n")).collect();
    let into = format!("test/{set}");
    let done =
        dev.run_with_input(&["import", "-", "--format", "ndjson", "--into", &into, "--key", "id"], rows.as_bytes());
    assert!(done.status.success(), "{done:?}");
}

/// Looks at a job until it is as wanted.
fn until(dev: &Dev, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let job = dev.json(&["jobs", "status", id]);
        if wanted(&job) {
            return job;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("it never came to that: {}", dev.json(&["jobs", "status", id]));
}

#[test]
fn a_job_is_started_watched_and_ended() {
    let dev = Dev::start();
    dev.warm("document");
    import(&dev, "products", 300, "\"n\": 1");
    assert_eq!(dev.ok(&["jobs", "list"]), "no jobs\n");
    let arguments = r#"{"path": "$.n", "by": 2}"#;
    let shown = dev.ok(&["jobs", "start", "test/products", "document.increment", arguments, "--wait"]);
    assert!(shown.contains("done") && shown.contains("100%") && shown.contains("test/products"), "{shown}");
    assert_eq!(dev.json(&["get", "test/products/77"])["n"], 3);
    let job = dev.json(&["jobs", "status", "1"]);
    assert_eq!(
        (&job["records_seen"], &job["records_changed"], &job["failures"]),
        (&300.into(), &300.into(), &0.into())
    );
    assert_eq!((&job["state"], &job["progress"], &job["kept"]), (&"done".into(), &1.0.into(), &false.into()));

    let slow = ["jobs", "start", "test/products", "document.increment", arguments, "--rate", "20", "--parallel", "2"];
    let started = dev.json(&slow);
    assert_eq!((&started["id"], &started["records_per_sec"], &started["parallel"]), (&2.into(), &20.into(), &2.into()));
    until(&dev, "2", |job| job["records_seen"].as_u64().is_some_and(|seen| seen > 2));
    let paused = dev.ok(&["jobs", "pause", "2"]);
    assert!(paused.contains("paused") && paused.contains("ends with the node"), "{paused}");
    assert!(dev.fails(7, &["jobs", "remove", "2"]).contains("job_state"));
    assert_eq!(dev.json(&["jobs", "resume", "2"])["state"], "running");
    dev.ok(&["udf", "pause", "document"]);
    until(&dev, "2", |job| job["message"].as_str().is_some_and(|why| why.contains("paused")));
    assert!(dev.ok(&["jobs", "list"]).contains("job 2: waits: document is paused"));
    dev.ok(&["udf", "resume", "document"]);
    assert_eq!(dev.json(&["jobs", "cancel", "2"])["state"], "cancelled");
    let waited = dev.run(&["jobs", "wait", "2"]);
    assert_eq!(waited.status.code(), Some(3), "what was cancelled isn't all done: {waited:?}");
    dev.ok(&["jobs", "remove", "2"]);
    let listed = dev.json(&["jobs", "list"]);
    assert_eq!(listed["id"], 1, "the other one is there still");
}

#[test]
fn what_a_job_could_not_do_is_told() {
    let dev = Dev::start();
    dev.warm("document");
    import(&dev, "words", 40, "\"n\": \"text\"");
    let start = ["jobs", "start", "test/words", "document.increment", r#"{"path": "$.n"}"#, "--wait"];
    let partial = dev.run(&start);
    assert_eq!(partial.status.code(), Some(3), "{partial:?}");
    let (shown, said) = (String::from_utf8_lossy(&partial.stdout), String::from_utf8_lossy(&partial.stderr));
    assert!(shown.contains("function_failed") && shown.contains("words/"), "{shown}");
    assert!(said.contains("40 of 40 records failed"), "{said}");
    let gave_up = dev.run(&[&start[..], &["--max-failures", "3", "--parallel", "1"]].concat());
    assert_eq!(gave_up.status.code(), Some(3), "{gave_up:?}");
    assert!(String::from_utf8_lossy(&gave_up.stderr).contains("job 2 is failed: more than 3 records failed"));
    assert_eq!(dev.json(&["jobs", "status", "2"])["failures"], 4);
    assert!(dev.fails(7, &["jobs", "status", "99"]).contains("job_unknown"));
    let wrong = dev.fails(7, &["jobs", "start", "test/words", "document.count"]);
    assert!(wrong.contains("function_kind_mismatch"), "{wrong}");
    dev.fails(2, &["jobs", "start", "test/words", "document.increment", "--parallel", "33"]);
}
