//! A node of the bench's own, so that one command measures: a process of its own, since node and generator must not
//! share a runtime, an allocator or a CPU clock.
//!
//! The child is this same program with a hidden option. It prints one line of JSON when it serves and closes when its
//! standard input ends, so that it never outlives the bench, however that ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use outcrop_node::Node;
use outcrop_node::config::{Commit, Config, Engine, NamespaceOptions, Values};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::args::BenchArgs;
use super::plan::Plan;
use super::sizes::{SizeError, parse_bytes};

/// Replay of a large log takes its time.
const START_MAX: Duration = Duration::from_secs(300);
/// A process that was killed is gone as soon as the kernel comes to it; its files can go only then.
const KILL_POLL: Duration = Duration::from_millis(5);
const KILL_POLLS_MAX: u32 = 2_000;
/// Drain, checkpoint, sync.
const STOP_MAX: Duration = Duration::from_secs(60);
const SIZE_BYTES_MIN: u64 = 1 << 30;
/// A record's header, key and archive beside its value, generously.
const OVERHEAD_BYTES: f64 = 256.0;

/// Where the embedded node's values live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ValuesArg {
    /// In memory only.
    Ram,
    /// On flash, with a cache.
    Flash,
    /// On flash, all of them in memory as well.
    FlashCached,
}

/// When the embedded node acknowledges a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CommitArg {
    /// When it is synced.
    Flash,
    /// When it is in memory.
    Memory,
}

/// How the embedded node reads and writes its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineArg {
    /// io_uring if the kernel allows it, else pread.
    Auto,
    /// io_uring or nothing.
    #[value(name = "io_uring")]
    IoUring,
    /// A pool of threads.
    Pread,
}

/// Why there is no embedded node.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// A size can't be read.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A file, a directory, a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It ended before it served.
    #[error("the embedded node ended before it served ({0}); its own message stands above")]
    Ended(String),
    /// It takes too long.
    #[error("the embedded node wasn't ready within {} s", START_MAX.as_secs())]
    Slow,
    /// In the child: the node doesn't start.
    #[error(transparent)]
    Start(#[from] outcrop_node::node::StartError),
    /// In the child: the node doesn't close.
    #[error(transparent)]
    Shutdown(#[from] outcrop_node::node::ShutdownError),
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> EmbeddedError {
    move |source| EmbeddedError::Io { what, source }
}

/// The child's first line.
#[derive(Debug, Serialize, Deserialize)]
struct Serving {
    data: std::net::SocketAddr,
    certificate_pem: String,
}

/// The child, from outside.
#[derive(Debug)]
pub struct Embedded {
    child: Child,
    url: String,
    /// Certificate and, unless `--data` names another, the data; removed when this goes.
    directory: tempfile::TempDir,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        for _ in 0..KILL_POLLS_MAX {
            // It may have ended already; then there is nobody to kill.
            let _ = self.child.start_kill();
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(KILL_POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

/// Bytes of the embedded node's device: room for every record three times, since an overwritten one takes its place
/// until defrag comes by.
fn default_size_bytes(plan: &Plan) -> u64 {
    let records = plan.records as f64 * (plan.value_bytes.mean() + OVERHEAD_BYTES + 64.0 * f64::from(plan.bins));
    ((records * 3.0) as u64).max(SIZE_BYTES_MIN)
}

impl Embedded {
    /// Starts it; returns when it serves.
    pub async fn start(args: &BenchArgs, plan: &Plan) -> Result<Embedded, EmbeddedError> {
        for text in [&args.size, &args.cache, &args.defrag_rate].into_iter().flatten() {
            parse_bytes(text)?;
        }
        let directory =
            tempfile::Builder::new().prefix("outcrop-bench-").tempdir().map_err(io("temporary directory"))?;
        let program = std::env::current_exe().map_err(io("path of this program"))?;
        let mut command = Command::new(program);
        command.args(["bench", "--serve-child", "--embedded", "--namespace", &plan.namespace]);
        let data = args.data.clone().unwrap_or_else(|| directory.path().to_path_buf());
        command.arg("--data").arg(data);
        let size = args.size.clone().unwrap_or_else(|| default_size_bytes(plan).to_string());
        command.args(["--size", &size]);
        let mut pass = |option: &str, value: Option<String>| {
            if let Some(value) = value {
                command.arg(format!("--{option}={value}"));
            }
        };
        pass("cache", args.cache.clone());
        pass("defrag-rate", args.defrag_rate.clone());
        pass("workers", args.workers.map(|workers| workers.to_string()));
        pass("values", args.values.map(name));
        pass("commit", args.commit.map(name));
        pass("engine", args.engine.map(name));
        // A ctrl-c of the terminal reaches the whole group: this one hears of it from the bench, and closes in order.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let child = command.spawn().map_err(io("starting the embedded node"))?;
        let mut node = Embedded { child, url: String::new(), directory };
        let serving = match tokio::time::timeout(START_MAX, first_line(&mut node.child)).await {
            Ok(line) => line?,
            Err(_) => return Err(EmbeddedError::Slow),
        };
        let certificate = node.directory.path().join("certificate.pem");
        std::fs::write(&certificate, &serving.certificate_pem).map_err(io("the embedded node's certificate"))?;
        node.url = with_ca(&format!("outcrop://{}", serving.data), Some(&certificate));
        Ok(node)
    }

    /// Where it serves, with the certificate to trust.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets it close in order.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        drop(self.child.stdin.take());
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(status) => match status.map_err(io("the embedded node"))? {
                status if status.success() => Ok(()),
                status => Err(EmbeddedError::Ended(describe(status))),
            },
            Err(_) => Err(EmbeddedError::Ended("it didn't close in time and was killed".to_owned())),
        }
    }
}

fn name<T: clap::ValueEnum>(value: T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn describe(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

async fn first_line(child: &mut Child) -> Result<Serving, EmbeddedError> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        BufReader::new(stdout).read_line(&mut line).await.map_err(io("the embedded node's first line"))?;
    }
    match serde_json::from_str(&line) {
        Ok(serving) => Ok(serving),
        Err(_) => {
            let status = child.wait().await.map_err(io("the embedded node"))?;
            Err(EmbeddedError::Ended(describe(status)))
        }
    }
}

/// A node's URL with the certificate to trust as its parameter.
pub fn with_ca(url: &str, ca: Option<&Path>) -> String {
    let Some(ca) = ca else { return url.to_owned() };
    let mut out = format!("{url}{}ca=", if url.contains('?') { '&' } else { '?' });
    for byte in ca.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => out.push(char::from(*byte)),
            other => out += &format!("%{other:02x}"),
        }
    }
    out
}

/// The configuration of the child.
fn config(args: &BenchArgs) -> Result<Config, SizeError> {
    let bytes = |text: &Option<String>| text.as_deref().map(parse_bytes).transpose();
    let values = args.values.unwrap_or(ValuesArg::Ram);
    let dir: Option<PathBuf> = args.data.clone();
    let size_bytes = bytes(&args.size)?.unwrap_or(SIZE_BYTES_MIN);
    let mut options = match (values, &dir) {
        (ValuesArg::Ram, _) | (_, None) => NamespaceOptions::ram(&args.namespace, size_bytes),
        (_, Some(dir)) => NamespaceOptions {
            device: Some(dir.join(format!("{}.log", args.namespace))),
            ..NamespaceOptions::new(&args.namespace, size_bytes)
        },
    };
    if values == ValuesArg::FlashCached {
        options.values = Values::FlashCached;
        options.cache_bytes = u64::MAX;
    }
    options.commit = match args.commit {
        Some(CommitArg::Flash) => Commit::Flash,
        Some(CommitArg::Memory) => Commit::Memory,
        None => options.commit,
    };
    if let Some(cache_bytes) = bytes(&args.cache)? {
        options.cache_bytes = cache_bytes;
    }
    if let Some(rate) = bytes(&args.defrag_rate)? {
        options.defrag_bytes_per_sec = rate;
    }
    options.engine = match args.engine {
        Some(EngineArg::IoUring) => Engine::IoUring,
        Some(EngineArg::Pread) => Engine::Pread,
        Some(EngineArg::Auto) | None => Engine::Auto,
    };
    let mut config = Config::dev(dir.as_deref(), &args.namespace);
    config.listen.data = ([127, 0, 0, 1], 0).into();
    config.listen.admin = None;
    config.node.workers = args.workers.unwrap_or(0) as usize;
    config.namespaces = vec![options];
    Ok(config)
}

/// Is the node: serves until standard input ends.
pub async fn serve(args: &BenchArgs) -> Result<(), EmbeddedError> {
    let node = Node::start_in(config(args)?, crate::serve::world()).await?;
    let serving = Serving { data: node.data_addr(), certificate_pem: node.certificate_pem().to_owned() };
    let line = serde_json::to_string(&serving).map_err(|error| io("the first line")(error.into()))?;
    {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(io("standard output"))?;
    }
    // Ends with its standard input; an error is an end as well: whoever held the other side is gone.
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())).await;
    node.shutdown().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_a_url() {
        assert_eq!(with_ca("outcrop://a", None), "outcrop://a");
        assert_eq!(with_ca("outcrop://a", Some(Path::new("/tmp/x y&z.pem"))), "outcrop://a?ca=/tmp/x%20y%26z.pem");
        assert_eq!(with_ca("outcrop://a?lanes=1", Some(Path::new("/b"))), "outcrop://a?lanes=1&ca=/b");
    }

    #[test]
    fn options_become_the_nodes_configuration() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: BenchArgs,
        }
        let parse = |line: &str| {
            let words = std::iter::once("bench").chain(line.split_whitespace());
            <Line as clap::Parser>::try_parse_from(words).expect("options").args
        };
        let line = "--embedded --data /d --values flash --commit memory --cache 0 --size 2GiB --engine io_uring";
        let config_of = |line: &str| config(&parse(line)).expect("a configuration");
        let options = &config_of(line).namespaces[0];
        assert_eq!((options.commit, options.engine, options.values), (Commit::Memory, Engine::IoUring, Values::Flash));
        assert_eq!((options.cache_bytes, options.size_bytes), (0, 2 << 30));
        assert_eq!(options.device.as_deref(), Some(Path::new("/d/test.log")));
        let ram = &config_of("--embedded --data /d --namespace x").namespaces[0];
        assert_eq!((ram.values, ram.commit, ram.name.as_str()), (Values::Ram, Commit::Memory, "x"));
        let cached = &config_of("--embedded --data /d --values flash-cached").namespaces[0];
        assert_eq!((cached.values, cached.cache_bytes), (Values::FlashCached, u64::MAX));
        assert_eq!(config_of("--embedded").listen.data.port(), 0);
        let plan = parse("--records 10M").settle().expect("a plan");
        assert!(default_size_bytes(&plan) > 30 << 30);
    }
}
