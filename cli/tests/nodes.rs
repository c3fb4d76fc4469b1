//! Nodes as processes: what they say at their start, how they end, and what they refuse.

mod support;

use support::{Dev, OUTCROP, file, outcrop, path};

#[test]
fn a_drained_node_keeps_its_records() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = path(directory.path(), "data");
    let node = Dev::start_with(&["--data", &data]);
    node.ok(&["put", "test/s/1", "--json", r#"{"a":1}"#]);
    node.ok(&["put", "test/s/2", "--value", "gone"]);
    node.ok(&["delete", "test/s/2"]);
    assert_eq!(node.end("TERM"), Some(0));
    let node = Dev::start_with(&["--data", &data]);
    assert_eq!(node.ok(&["get", "test/s/1", "-o", "json"]), "{\"a\":1}\n");
    node.fails(1, &["get", "test/s/2"]);
    node.ok(&["put", "test/s/3", "--value", "acknowledged"]);
    node.end("KILL");
    let node = Dev::start_with(&["--data", &data]);
    assert_eq!(node.ok(&["get", "test/s/3", "--raw"]), "acknowledged");
}

#[test]
fn a_data_directory_serves_one_node() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = path(directory.path(), "data");
    let _node = Dev::start_with(&["--data", &data]);
    let second = outcrop(&["dev", "--data", &data, "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(8), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("can't start"));
    let in_file = file(directory.path(), "file", "x");
    let output = outcrop(&["dev", "--data", &in_file, "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
}

#[test]
fn a_taken_port_is_named() {
    let node = Dev::start();
    let address = node.url.trim_start_matches("outcrop://");
    let second = node.command(&["dev", "--listen", address]).output().expect("runs");
    assert_eq!(second.status.code(), Some(8), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains(address), "{second:?}");
    node.ok(&["stat"]);
}

#[test]
fn metrics_and_health_are_served() {
    let node = Dev::start();
    node.ok(&["put", "test/s/1", "--value", "x"]);
    for (path, expected) in
        [("/livez", "200"), ("/readyz", "200"), ("/metrics", "outcrop_set_records{namespace=\"test\",set=\"s\"} 1")]
    {
        let answer = node.admin(path);
        assert!(answer.contains(expected), "{path}: {answer}");
    }
}

#[test]
fn configurations_are_checked() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let check = |content: &str| {
        let config = file(directory.path(), "outcrop.toml", content);
        outcrop(&["node", "--config", &config, "--check"])
    };
    let right = check(
        "[[namespace]]\nname = \"shop\"\nvalues = \"ram\"\nsize = \"1GiB\"\n[tls]\ncertificate = \"c.pem\"\nprivate_key = \"k.pem\"\n",
    );
    assert!(right.status.success(), "{right:?}");
    assert!(String::from_utf8_lossy(&right.stdout).contains("shop"));
    let warnings = String::from_utf8_lossy(&right.stderr).matches("warning").count();
    assert!(warnings == 1 && String::from_utf8_lossy(&right.stderr).contains("c.pem"), "only the files: {right:?}");
    let small = check(
        "[[namespace]]\nname = \"shop\"\nvalues = \"ram\"\nsize = \"64MiB\"\n[tls]\ncertificate = \"c.pem\"\nprivate_key = \"k.pem\"\n",
    );
    assert!(small.status.success(), "{small:?}");
    assert!(String::from_utf8_lossy(&small.stderr).contains("records can take 24MiB"), "{small:?}");
    let typo = check("[[namespace]]\nname = \"shop\"\nvalues = \"ram\"\nsize = \"1GiB\"\ndefault_tll = \"30d\"\n");
    assert_eq!(typo.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typo.stderr).contains("default_ttl"), "{typo:?}");
    let folder = directory.path().to_str().expect("text");
    let output = outcrop(&["node", "--config", folder]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("directory"));
    assert_eq!(outcrop(&["node", "--config", "/nonexistent.toml"]).status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let node = Dev::start();
    for number in 0..50 {
        node.ok(&["put", &format!("test/s/{number}"), "--value", &"x".repeat(100_000)]);
    }
    let mut child = node
        .command(&["export", "test/s"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_binary_is_the_one_under_test() {
    let version = outcrop(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("outcrop {}\n", env!("CARGO_PKG_VERSION")));
    assert!(std::path::Path::new(OUTCROP).is_absolute());
}

/// Catches: a deadline of milliseconds under which a command waited seconds for a node that isn't there.
#[test]
fn a_deadline_bounds_connecting_too() {
    // Bound, and silent: it takes packets and never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let url = format!("outcrop://{}", silent.local_addr().expect("bound"));
    let output = outcrop(&["get", "test/s/1", "--url", &url, "--deadline", "150ms"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no answer within 150 ms"), "{output:?}");
}

/// Catches: a command that ctrl-c ended without a word to the node, which went on with its request until the connection had
/// been silent for long.
#[test]
fn an_interrupted_command_says_goodbye() {
    let node = Dev::start();
    for number in 0..50 {
        node.ok(&["put", &format!("test/s/{number}"), "--value", "x"]);
    }
    let mut command = node.command(&["scan", "test/s", "--rate", "1", "--output", "json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a record");
    let connected = |text: &str| text.lines().any(|line| line == "outcrop_connections 1");
    assert!(connected(&node.admin("/metrics")), "{}", node.admin("/metrics"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    while connected(&node.admin("/metrics")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
