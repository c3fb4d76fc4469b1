//! A node as a child process: started, watched, killed, stopped, and always gone at the end of its test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use outcrop_client::{Client, ClientError};
use rustix::process::{Pid, Signal, kill_process};

use crate::Settings;
use crate::binary::outcrop;

/// Beyond this a node that neither serves nor ends is taken for hung.
const PATIENCE: Duration = Duration::from_secs(120);
/// Another test's process may take a port between its choice and its use; a third time is a bug.
const PORT_ATTEMPTS: usize = 3;

/// A running node.
pub struct NodeProcess {
    running: Running,
    settings: Settings,
}

/// The child itself; killed when it goes out of scope, its last lines shown if the test fails.
struct Running {
    child: Child,
    log: PathBuf,
}

/// How a node ended that should not have served.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it said.
    pub said: String,
}

impl NodeProcess {
    /// Starts a node and waits until it serves.
    ///
    /// # Panics
    /// If it ends or doesn't become ready, with what it said.
    pub fn start(mut settings: Settings) -> NodeProcess {
        for _ in 1..PORT_ATTEMPTS {
            match Self::try_start(settings) {
                Ok(node) => return node,
                Err(refused) if refused.1.said.to_lowercase().contains("address already in use") => {
                    settings = refused.0;
                    settings.change_ports();
                }
                Err(refused) => panic!("the node ended with {}:\n{}", refused.1.status, refused.1.said),
            }
        }
        Self::try_start(settings).unwrap_or_else(|refused| panic!("no port to be had:\n{}", refused.1.said))
    }

    /// Starts a node; gives back the settings and what it said if it ends before it serves.
    ///
    /// # Panics
    /// If it neither serves nor ends.
    pub fn try_start(settings: Settings) -> Result<NodeProcess, Box<(Settings, Refusal)>> {
        let before = std::fs::metadata(log_path(&settings)).map_or(0, |metadata| metadata.len());
        let mut node = NodeProcess { running: spawn(&settings), settings };
        let started = Instant::now();
        loop {
            if let Some(status) = node.running.child.try_wait().expect("a child can be waited for") {
                let said = node.said().split_off(before as usize);
                return Err(Box::new((node.settings, Refusal { status, said })));
            }
            if node.http("/readyz").is_some_and(|reply| reply.starts_with("HTTP/1.1 200")) {
                return Ok(node);
            }
            assert!(started.elapsed() < PATIENCE, "neither ready nor ended:\n{}", node.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a node that must not come to serve; what it said and its exit status.
    ///
    /// # Panics
    /// If it serves.
    pub fn refused(settings: Settings) -> (Settings, Refusal) {
        match Self::try_start(settings) {
            Ok(node) => panic!("the node serves where it must refuse:\n{}", node.said()),
            Err(refused) => *refused,
        }
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        self.settings.url()
    }

    /// The node's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A client with patience: on a busy machine a slow answer is not what these tests look for.
    pub async fn client(&self) -> Result<Client, ClientError> {
        Client::builder(&self.url()).deadline(Duration::from_secs(60)).connect().await
    }

    /// kill -9, and a wait until it is gone.
    pub fn kill(mut self) -> Settings {
        self.signal(Signal::KILL);
        self.running.child.wait().expect("a child can be waited for");
        self.settings
    }

    /// SIGTERM, and a wait for its end.
    ///
    /// # Panics
    /// If it doesn't end.
    pub fn terminate(mut self) -> (Settings, ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = self.ended();
        let said = self.said();
        (self.settings, status, said)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it doesn't end.
    pub fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.running.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it doesn't end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.running.child.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
        // It may have ended by itself, which the tests find out by other means.
        let _ = kill_process(pid, signal);
    }

    /// SIGSTOP, and a wait until none of its threads runs any more: a signal takes effect some time after it was sent.
    ///
    /// # Panics
    /// If it goes on.
    pub fn stand_still(&self) {
        self.signal(Signal::STOP);
        let started = Instant::now();
        while !self.stands_still() {
            assert!(started.elapsed() < PATIENCE, "it doesn't stop:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stands_still(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.running.child.id())).expect("the node runs");
        // The state stands behind the name, which is in parentheses and may hold anything.
        let stopped = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        tasks
            .filter_map(Result::ok)
            .all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(|s| stopped(&s)))
    }

    /// Memory that it holds, in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.running.child.id())).expect("the node runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a running process has memory");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number of KiB");
        kib * 1_024
    }

    /// One GET of the admin port; none if nobody answers.
    pub fn http(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.settings.admin_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some(reply)
    }

    /// All that it wrote to its standard output and error, over all of its starts.
    pub fn said(&self) -> String {
        std::fs::read_to_string(log_path(&self.settings)).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("--- the node's last lines ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        // A stopped process doesn't act on anything but this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(settings: &Settings) -> PathBuf {
    settings.folder().join("node.log")
}

fn spawn(settings: &Settings) -> Running {
    let config = settings.write();
    let log = File::options().create(true).append(true).open(log_path(settings)).expect("the folder can be written");
    let errors = log.try_clone().expect("a file can be opened twice");
    let mut command = Command::new(outcrop());
    command.arg("node").arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(log).stderr(errors).env("NO_COLOR", "1");
    let child = command.spawn().expect("the outcrop binary can be started");
    Running { child, log: log_path(settings) }
}
