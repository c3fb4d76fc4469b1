//! The demonstration's node: `outcrop dev` as a child process, with a folder of its own that is gone afterwards.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process;

/// Beyond this a node that doesn't answer is taken for broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// No command of the demonstration takes a tenth of this.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// A node and the way to speak to it.
pub struct DemoNode {
    binary: PathBuf,
    folder: tempfile::TempDir,
    data_port: u16,
    admin_port: u16,
    child: Option<Child>,
}

impl DemoNode {
    /// A node that doesn't run yet.
    pub fn new(binary: &Path) -> Result<DemoNode, String> {
        let folder = tempfile::Builder::new().prefix("outcrop-demo-").tempdir().map_err(|error| error.to_string())?;
        let data = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let admin = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        Ok(DemoNode {
            binary: binary.to_path_buf(),
            folder,
            data_port: data.map_err(|error| error.to_string())?.port(),
            admin_port: admin.map_err(|error| error.to_string())?.port(),
            child: None,
        })
    }

    /// Where the demonstration's files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it serves; how long that took.
    pub fn start(&mut self) -> Result<Duration, String> {
        let started = Instant::now();
        let log = std::fs::File::options().create(true).append(true).open(self.log()).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = self.command(&["dev", "--data"]);
        command.arg(self.folder().join("data")).stdin(Stdio::null()).stdout(log).stderr(errors);
        command.args(["--listen", &format!("127.0.0.1:{}", self.data_port)]);
        command.args(["--admin", &format!("127.0.0.1:{}", self.admin_port)]);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.binary.display()))?;
        while !self.ready() {
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the node doesn't serve:\n{}", self.said()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        Ok(started.elapsed())
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<(), String> {
        let mut child = self.child.take().ok_or("it doesn't run")?;
        child.kill().and_then(|()| child.wait()).map(|_| ()).map_err(|error| error.to_string())
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> Result<Duration, String> {
        let mut child = self.child.take().ok_or("it doesn't run")?;
        let asked = Instant::now();
        process::signal(&child, Signal::TERM);
        match process::wait_at_most(&mut child, PATIENCE).map_err(|error| error.to_string())? {
            Some(status) if status.success() => Ok(asked.elapsed()),
            Some(status) => Err(format!("it ended with {status}:\n{}", self.said())),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("it didn't end:\n{}", self.said()))
            }
        }
    }

    /// Runs a command of the command line against the node; what it printed.
    pub fn outcrop(&self, arguments: &[&str]) -> Result<String, String> {
        process::output(&mut self.command(arguments), COMMAND_LIMIT).map_err(|error| error.to_string())
    }

    /// Whether a command ends with this exit code.
    pub fn ends_with(&self, arguments: &[&str], code: i32) -> Result<(), String> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().map_err(|error| error.to_string())?;
        let got = status.code();
        if got == Some(code) { Ok(()) } else { Err(format!("{arguments:?} ended with {status}, not {code}")) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder());
        command.env("OUTCROP_URL", format!("outcrop://127.0.0.1:{}", self.data_port));
        // The node's certificate and the clients' look-up of it stay in the demonstration's folder.
        command.env("XDG_STATE_HOME", self.folder().join("state")).env_remove("OUTCROP_CA");
        command
    }

    fn ready(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.admin_port)) else { return false };
        let mut reply = String::new();
        let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let bounded = stream.set_read_timeout(Some(PATIENCE));
        asked.and(bounded).and_then(|()| stream.read_to_string(&mut reply)).is_ok() && reply.starts_with("HTTP/1.1 200")
    }

    fn log(&self) -> PathBuf {
        self.folder().join("node.log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
