//! Settled options: one plain struct for each floor, in final units, checked by `config` before anyone sees them.
//!
//! Architecture invariant: nothing here reads a file, an environment variable or a clock, and nothing here can be half
//! set. `config` (the top floor) makes these; every other floor only takes its own struct.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outcrop_wire::limits;

/// The process: where it lives, how many workers it has.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOptions {
    /// Identity and the certificate of `outcrop dev`, and the home of devices that have no path; `None`: nothing is kept.
    pub data_dir: Option<PathBuf>,
    /// Worker threads; 0: one for each core.
    pub workers: usize,
    /// How long a shutdown waits for requests under way.
    pub drain: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions { data_dir: Some("/var/lib/outcrop".into()), workers: 0, drain: Duration::from_secs(10) }
    }
}

/// Sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// QUIC, on UDP. Port 0: any free one.
    pub data: SocketAddr,
    /// Metrics and health, on TCP; `None`: off.
    pub admin: Option<SocketAddr>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { data: ([0, 0, 0, 0], 7420).into(), admin: Some(([127, 0, 0, 1], 7421).into()) }
    }
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsOptions {
    /// PEM files.
    Files {
        /// The chain, the node's own certificate first.
        certificate: PathBuf,
        /// The key of the first certificate.
        private_key: PathBuf,
    },
    /// The node makes one for `localhost` and this machine's name, and keeps it in the data directory if there is one.
    SelfSigned,
}

/// Bounds of connections, streams, windows and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOptions {
    /// Connections open at once; more are refused.
    pub connections_max: u32,
    /// Handshakes waiting to be taken up, for each worker; more are refused.
    pub handshakes_max: u32,
    /// From this many handshakes under way on, for each worker, a client has to prove its address (a QUIC Retry).
    pub handshakes_retry_above: u32,
    /// Lanes of one connection.
    pub lanes_max: u16,
    /// Streams for one large request each, of one connection.
    pub large_streams_max: u16,
    /// Scans of one connection.
    pub scans_max: u16,
    /// Requests of one lane under way at once; the node stops reading the lane at this many.
    pub lane_inflight_max: u32,
    /// Unread bytes that one stream may hold.
    pub stream_window_bytes: u32,
    /// Unread (and, as many again, unsent) bytes that any connection may hold.
    pub connection_window_bytes_min: u32,
    /// The same, for a connection that gets all it may use.
    pub connection_window_bytes_max: u32,
    /// What all connections together get above their minimum; shared out as they come.
    pub windows_bytes_max: u64,
    /// Memory for requests and replies that travel on streams of their own, all connections together.
    pub large_bytes_max: u64,
    /// Deadline of a request that names none.
    pub request_deadline: Duration,
    /// A connection silent for this long is closed.
    pub idle_timeout: Duration,
    /// A connection has to finish its handshake and say hello within this time.
    pub hello_timeout: Duration,
    /// Kernel buffer of each UDP socket, each way.
    pub socket_buffer_bytes: u32,
    /// Largest UDP payload that path discovery tries.
    pub mtu_max: u16,
    /// Connections of the admin port.
    pub admin_connections_max: u32,
    /// How long a worker looks for the next frame of a busy lane before it sleeps; zero: it sleeps at once.
    pub busy_poll: Duration,
}

impl Default for LimitOptions {
    fn default() -> Self {
        LimitOptions {
            connections_max: 10_000,
            handshakes_max: 1_024,
            handshakes_retry_above: 128,
            lanes_max: limits::LANES_MAX as u16,
            large_streams_max: 16,
            scans_max: 8,
            lane_inflight_max: limits::LANE_INFLIGHT_MAX as u32,
            stream_window_bytes: 1 << 20,
            connection_window_bytes_min: 128 << 10,
            connection_window_bytes_max: 8 << 20,
            windows_bytes_max: 512 << 20,
            large_bytes_max: 256 << 20,
            request_deadline: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(30),
            hello_timeout: Duration::from_secs(5),
            socket_buffer_bytes: 4 << 20,
            mtu_max: 6_000,
            admin_connections_max: 32,
            busy_poll: Duration::from_micros(50),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryOptions {
    /// Where spans go, as `http://host:4317` (gRPC) or `http://host:4318/v1/traces` (HTTP); `None`: nowhere.
    pub otlp: Option<String>,
    /// Of requests whose caller didn't decide, how many are traced: 0 to 100.
    pub sample_percent: f64,
    /// A filter as `tracing` takes it: `info`, or `warn,outcrop_node::store=debug`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        TelemetryOptions { otlp: None, sample_percent: 1.0, log: "info".to_owned(), log_format: LogFormat::Text }
    }
}

/// Where a namespace's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Values {
    /// On flash, with a cache of bounded size.
    #[default]
    Flash,
    /// On flash, and all of them in memory as well.
    FlashCached,
    /// In memory only; gone after a restart.
    Ram,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Commit {
    /// When it is synced to the device.
    #[default]
    Flash,
    /// When it is in memory; it reaches the device within `flush`.
    Memory,
}

/// How the device is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Engine {
    /// io_uring if the kernel allows it, else pread.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// A pool of threads with pread and pwrite.
    Pread,
}

/// One namespace's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceOptions {
    /// Its name.
    pub name: String,
    /// File or block device; `None` exactly if `values` is [`Values::Ram`].
    pub device: Option<PathBuf>,
    /// Bytes of the device or of memory that it may use, at least eight segments.
    pub size_bytes: u64,
    /// Where values are.
    pub values: Values,
    /// When a write is acknowledged.
    pub commit: Commit,
    /// With [`Commit::Memory`]: how long a write may stay in memory only.
    pub flush: Duration,
    /// Time to live of a write that names none; `None`: it never expires.
    pub default_ttl_secs: Option<u32>,
    /// Archived bytes of a record, at most.
    pub record_bytes_max: u32,
    /// Budget of the cache: half for recent segments, half for hot records; [`u64::MAX`] with [`Values::FlashCached`]
    /// and [`Values::Ram`].
    pub cache_bytes: u64,
    /// Bytes accepted but not yet written to the device; beyond it writers wait.
    pub write_buffer_bytes: u64,
    /// Eviction by nearest expiry begins when the device is this full; 0: never.
    pub high_water_percent: u8,
    /// Segments with less live data than this are evacuated.
    pub defrag_live_percent: u8,
    /// Bytes that evacuation may read and write each second.
    pub defrag_bytes_per_sec: u64,
    /// How the device is read and written.
    pub engine: Engine,
}

impl NamespaceOptions {
    /// A namespace of this name and size with every other option at its default: values on flash at
    /// `/var/lib/outcrop/NAME.log`.
    pub fn new(name: &str, size_bytes: u64) -> Self {
        NamespaceOptions {
            name: name.to_owned(),
            device: Some(format!("/var/lib/outcrop/{name}.log").into()),
            size_bytes,
            values: Values::Flash,
            commit: Commit::Flash,
            flush: Duration::from_millis(100),
            default_ttl_secs: None,
            record_bytes_max: limits::RECORD_BYTES_DEFAULT as u32,
            cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            high_water_percent: 90,
            defrag_live_percent: 50,
            defrag_bytes_per_sec: 64 << 20,
            engine: Engine::Auto,
        }
    }

    /// A namespace in memory only.
    pub fn ram(name: &str, size_bytes: u64) -> Self {
        NamespaceOptions {
            device: None,
            values: Values::Ram,
            commit: Commit::Memory,
            cache_bytes: u64::MAX,
            ..NamespaceOptions::new(name, size_bytes)
        }
    }
}

const _: () = {
    // Quinn sends up to ten packets at once; a batch beyond one IP datagram's 65,535 bytes collapses the path's MTU.
    assert!(MTU_CEILING as usize * 10 <= 65_535);
    assert!(limits::RECORD_BYTES_CEILING <= u32::MAX as usize);
};

/// The highest `mtu_max` that segmentation offload can carry.
pub const MTU_CEILING: u16 = 6_000;
