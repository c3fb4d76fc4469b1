//! A real `outcrop dev` of a test's own, and its commands run as a person would run them.
#![allow(dead_code, missing_docs, reason = "each test binary uses some of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub const OUTCROP: &str = env!("CARGO_BIN_EXE_outcrop");

/// A node that ends with the test, and the directory where its certificate lies.
pub struct Dev {
    child: Child,
    pub url: String,
    admin_at: String,
    pub home: TempDir,
}

impl Dev {
    /// In memory.
    pub fn start() -> Dev {
        Dev::start_with(&[])
    }

    /// With further options.
    pub fn start_with(options: &[&str]) -> Dev {
        Dev::start_at("127.0.0.1:0", options)
    }

    /// At an address, such as that of a node that has just ended.
    pub fn start_at(listen: &str, options: &[&str]) -> Dev {
        let home = tempfile::tempdir().expect("temporary directory");
        let mut child = Command::new(OUTCROP)
            .args(["dev", "--listen", listen, "--workers", "1", "--output", "json", "--admin", "127.0.0.1:0"])
            .args(options)
            .env("XDG_STATE_HOME", home.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let text = |name: &str| ready[name].as_str().expect(name).to_owned();
        Dev { url: text("url"), admin_at: text("admin"), child, home }
    }

    /// What its admin port answers to a path: head and body.
    pub fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin_at).expect("the admin port is open");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("asked");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("answered");
        reply
    }

    /// Runs a command against it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command runs")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(OUTCROP);
        command.args(arguments).env("OUTCROP_URL", &self.url).env("XDG_STATE_HOME", self.home.path());
        command.env_remove("OUTCROP_CA").stdin(Stdio::null());
        command
    }

    /// Runs a command with something on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        let mut stdin = child.stdin.take().expect("piped");
        std::thread::scope(|scope| {
            // A command may stop reading early; that isn't the test's failure.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("ends")
        })
    }

    /// Has a module compiled before anything waits for it: on a busy machine an unoptimised compiler takes its time.
    #[allow(dead_code)]
    pub fn warm(&self, module: &str) {
        self.ok(&["udf", "describe", module, "--deadline", "10m"]);
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that has to fail with this exit code, and gives what it said.
    pub fn fails(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// What `--output json` gave.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let text = self.ok(&arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// Sends it a signal by name, such as `TERM`, and waits for its end.
    pub fn end(mut self, signal: &str) -> Option<i32> {
        signal_to(self.child.id(), signal);
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process of this test a signal.
pub fn signal_to(pid: u32, signal: &str) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero");
    let signal = match signal {
        "TERM" => rustix::process::Signal::TERM,
        "KILL" => rustix::process::Signal::KILL,
        other => panic!("no signal {other}"),
    };
    rustix::process::kill_process(pid, signal).expect("it runs");
}

/// Runs a command without a node.
pub fn outcrop(arguments: &[&str]) -> Output {
    let mut command = Command::new(OUTCROP);
    command.args(arguments).stdin(Stdio::null()).env_remove("OUTCROP_URL").output().expect("the command runs")
}

/// Writes a file and gives its path as text.
pub fn file(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("written");
    path.to_str().expect("text").to_owned()
}

/// The path of a file that isn't there yet.
pub fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().expect("text").to_owned()
}
