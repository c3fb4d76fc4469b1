//! The configuration of a node under test, as the file that a person would write.

use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// One node's folder, ports and configuration; kept over its restarts.
#[derive(Debug)]
pub struct Settings {
    folder: tempfile::TempDir,
    /// UDP port for data.
    pub data_port: u16,
    /// TCP port for health and metrics.
    pub admin_port: u16,
    /// Lines of `[limits]`.
    pub limits: String,
    /// Lines of `[telemetry]`.
    pub telemetry: String,
    /// Lines of the namespace `test`, behind its name and device.
    pub namespace: String,
    /// Where the namespace's device is; in the node's folder unless a test puts it elsewhere.
    pub device: PathBuf,
    /// Where the node keeps its identity; in its folder unless a test puts it elsewhere.
    pub data_dir: PathBuf,
}

impl Settings {
    /// A namespace `test` of `size` on flash, every write synced before it is acknowledged.
    ///
    /// # Panics
    /// If this machine has no room for a folder or no free port.
    pub fn flash(size: &str) -> Settings {
        let folder = tempfile::Builder::new().prefix("outcrop-").tempdir().expect("room for the test's files");
        let (data_port, admin_port) = free_ports();
        let (device, data_dir) = (folder.path().join("test.log"), folder.path().join("data"));
        crate::certificate::write(folder.path());
        Settings {
            data_port,
            admin_port,
            limits: String::new(),
            telemetry: String::new(),
            namespace: format!("size = \"{size}\"\nvalues = \"flash\"\ncommit = \"flash\"\ncache = \"32MiB\""),
            device,
            data_dir,
            folder,
        }
    }

    /// The node's folder; gone with this value.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        format!("outcrop://127.0.0.1:{}?ca={}", self.data_port, self.folder().join("cert.pem").display())
    }

    /// Takes other ports, for when somebody else was faster.
    pub fn change_ports(&mut self) {
        (self.data_port, self.admin_port) = free_ports();
    }

    /// Writes the configuration's file and says where it is.
    ///
    /// # Panics
    /// If the folder can't be written.
    pub fn write(&self) -> PathBuf {
        let path = self.folder().join("outcrop.toml");
        std::fs::write(&path, self.text()).expect("the test's folder can be written");
        path
    }

    fn text(&self) -> String {
        let folder = self.folder();
        let mut text = String::new();
        // Writing to a text can't fail.
        let _ = writeln!(text, "[node]\ndata_dir = {:?}\nworkers = 2", self.data_dir);
        let (data, admin) = (self.data_port, self.admin_port);
        let _ = writeln!(text, "[listen]\ndata = \"127.0.0.1:{data}\"\nadmin = \"127.0.0.1:{admin}\"");
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let _ = writeln!(text, "[tls]\ncertificate = {certificate:?}\nprivate_key = {key:?}");
        let _ = writeln!(text, "[limits]\n{}", self.limits);
        let _ = writeln!(text, "[telemetry]\n{}", self.telemetry);
        let _ = writeln!(text, "[[namespace]]\nname = \"test\"\ndevice = {:?}\n{}", self.device, self.namespace);
        text
    }
}

/// A UDP and a TCP port that nobody has at this moment.
fn free_ports() -> (u16, u16) {
    let data = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free UDP port");
    let admin = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free TCP port");
    (data.port(), admin.port())
}
