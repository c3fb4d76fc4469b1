//! `outcrop bench --embedded` as a person runs it: one command, two processes, a report; nothing left behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What isn't seen in so long is taken for never to come.
const PATIENCE: Duration = Duration::from_secs(120);

fn command(line: &str, temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
    command.arg("bench").args(line.split_whitespace()).env("TMPDIR", temporary).env_remove("OUTCROP_URL");
    command
}

fn bench(line: &str, temporary: &Path) -> Output {
    command(line, temporary).output().expect("the command runs")
}

/// Whether the embedded node has a directory yet, and in it this file.
fn has_begun(temporary: &Path, file: &str) -> bool {
    let directories = std::fs::read_dir(temporary).expect("the directory");
    directories.filter_map(Result::ok).any(|directory| directory.path().join(file).exists())
}

fn report(output: &Output) -> serde_json::Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

#[test]
fn one_command_starts_a_node_measures_it_and_leaves_nothing() {
    let temporary = tempfile::tempdir().expect("a directory");
    let line = "--embedded --values flash --commit memory --records 2000 --value-bytes 500 --workload a --ops 3000 \
                --verify --in-flight 16 --quiet --output json";
    let output = bench(line, temporary.path());
    let report = report(&output);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((report["embedded"].as_bool(), report["plan"]["seed"].as_u64()), (Some(true), Some(42)));
    let [load, run] = &report["phases"].as_array().expect("phases")[..] else { panic!("load and run: {report}") };
    assert_eq!(load["operations"][0]["ops"], 2_000);
    assert_eq!(load["node"]["records"], 2_000);
    assert_eq!(load["node"]["values"], "flash");
    assert!(load["node"]["live_bytes_per_record"].as_f64().expect("a number") > 500.0);
    let all = run["operations"].as_array().and_then(|rows| rows.last()).expect("rows");
    assert_eq!((&all["operation"], &all["ops"], &all["failures"]), (&"all".into(), &3_000.into(), &0.into()));
    assert!(run["generator"]["cpu_secs"].as_f64().expect("a number") > 0.0);
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("the directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn data_of_an_embedded_node_is_kept_where_it_is_asked_for_and_read_again() {
    let temporary = tempfile::tempdir().expect("a directory");
    let data = temporary.path().join("data");
    let node = format!("--embedded --values flash --data {} --quiet --output json --records 1000", data.display());
    let loaded = report(&bench(&format!("{node} --load"), temporary.path()));
    assert_eq!(loaded["phases"].as_array().map(Vec::len), Some(1));
    let scanned = report(&bench(&format!("{node} --skip-load --scan-all 2 --verify"), temporary.path()));
    let records = scanned["phases"][0]["operations"][0]["records"].as_u64().expect("a count");
    // The segment that was open when the node closed is mostly empty, so that defrag moves what it holds at once: a scan
    // may give a record again where it has gone, and must not leave any out.
    assert!(records >= 2_000, "{records} records");
    let wrong = bench(&format!("{node} --skip-load --verify --seed 7 --ops 100"), temporary.path());
    assert_eq!(wrong.status.code(), Some(3), "values of another seed are no success");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("something else than was written"));
}

#[test]
fn wrong_options_and_nodes_that_cannot_start_say_so() {
    let temporary = tempfile::tempdir().expect("a directory");
    let wrong = bench("--value-bytes 9MiB", temporary.path());
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("at most"));
    let file = temporary.path().join("file");
    std::fs::write(&file, b"in the way").expect("a file");
    let blocked = bench(&format!("--embedded --values flash --data {} --quiet", file.display()), temporary.path());
    assert_eq!(blocked.status.code(), Some(8), "{}", String::from_utf8_lossy(&blocked.stderr));
    let nobody = bench("--url outcrop://127.0.0.1:9 --ca /dev/null --quiet", temporary.path());
    assert!(!nobody.status.success() && nobody.stdout.is_empty());
}

#[test]
fn a_signal_ends_the_node_too_and_leaves_nothing() {
    // While the node starts, and while it is at work: then it has a certificate.
    for (signal, file) in [(Signal::TERM, ""), (Signal::INT, "certificate.pem"), (Signal::TERM, "certificate.pem")] {
        let temporary = tempfile::tempdir().expect("a directory");
        let mut command = command("--embedded --values flash --duration 1h --quiet", temporary.path());
        let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
        let began = Instant::now();
        while !has_begun(temporary.path(), file) {
            assert!(began.elapsed() < PATIENCE && matches!(running.try_wait(), Ok(None)), "no node is started");
            std::thread::sleep(Duration::from_millis(2));
        }
        let pid = i32::try_from(running.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
        kill_process(pid, signal).expect("it runs");
        // The pipes are the node's as well: they end when both have.
        let output = running.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code != 0), "{signal:?}: {}: {stderr}", output.status);
        assert!(output.stdout.is_empty() && stderr.contains("interrupted"), "{signal:?}: {stderr}");
        let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("the directory").collect();
        assert!(left.is_empty(), "{signal:?}: {left:?}");
    }
}
