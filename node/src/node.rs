//! A node, put together: workers, namespaces, listeners, admin; and taken apart again, without losing a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outcrop_wire::NamespaceId;
use thiserror::Error;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use crate::command::Context;
use crate::command::functions::Functions;
use crate::config::Config;
use crate::identity::{self, DataDirLock};
use crate::options::{LimitOptions, NamespaceOptions};
use crate::platform::{Equipment, Platform, PlatformError};
use crate::server::admin::{Admin, Readiness, ReadinessCell};
use crate::server::listen::{self, Shared, WorkerShare};
use crate::server::tls;
use crate::server::transport::{self, EndpointSeed, WindowBudget};
use crate::server::worker::{Worker, WorkerError, worker_count};
use crate::store::open::{OpenError, Tasks};
use crate::store::{Namespace, policy};
use crate::telemetry::otlp::Identity;
use crate::telemetry::stats::{NodeStats, ProcessStats};
use crate::telemetry::{Metrics, StatsSource, Tracing};
use crate::world::{Clock, Entropy, SystemClock, SystemEntropy};

/// Data that QUIC has taken gets this long to reach its reader when the node closes.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// Why a node can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A namespace.
    #[error(transparent)]
    Namespace(#[from] OpenError),
    /// The certificate.
    #[error("{0}")]
    Tls(String),
    /// A socket.
    #[error("{0}")]
    Listen(String),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] identity::DataDirError),
    /// Functions.
    #[error(transparent)]
    Functions(#[from] PlatformError),
    /// Export of traces.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// A part of the node ended while it started.
    #[error("a worker ended while the node started")]
    Ended,
}

/// Why a node did not close cleanly; what was acknowledged is safe all the same.
#[derive(Debug, Error)]
pub enum ShutdownError {
    /// Requests were cut off.
    #[error("{0} requests were still under way after the drain time; their callers are told nothing")]
    CutOff(usize),
    /// A namespace could not be closed.
    #[error(transparent)]
    Namespace(#[from] OpenError),
    /// A worker ended early.
    #[error("a worker ended while the node closed")]
    Ended,
}

/// The parts of the world that a node runs on.
#[derive(Clone)]
pub struct World {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The compiler of functions, and modules that come along.
    pub equipment: Equipment,
}

impl Default for World {
    fn default() -> Self {
        World { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), equipment: Equipment::default() }
    }
}

/// A running node. Several may run in one process.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use outcrop_node::{Node, config::Config};
/// let node = Node::start(Config::dev(None, "test")).await?;
/// println!("serving on {}", node.data_addr());
/// node.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub struct Node {
    workers: Vec<Worker>,
    namespaces: Vec<(Arc<Namespace>, Tasks)>,
    context: Arc<Context>,
    /// Threads of functions.
    platform: Option<Platform>,
    admin: Option<Admin>,
    readiness: ReadinessCell,
    stats: Arc<Stats>,
    tracing: Option<Tracing>,
    /// The thread that exports spans.
    exporting: Option<Worker>,
    certificate: tls::Identity,
    data_addr: SocketAddr,
    closing: watch::Sender<bool>,
    listeners: Vec<tokio::task::JoinHandle<()>>,
    drain: Duration,
    _data_dir: Option<DataDirLock>,
}

impl Node {
    /// Starts a node: opens its namespaces (which may replay their logs), then listens.
    pub async fn start(config: Config) -> Result<Node, StartError> {
        Node::start_in(config, World::default()).await
    }

    /// Starts a node in a world of the caller's.
    pub async fn start_in(config: Config, world: World) -> Result<Node, StartError> {
        let count = worker_count(config.node.workers);
        let data_dir = config.node.data_dir.as_deref();
        let lock = identity::take(data_dir)?;
        let kept = identity::load(data_dir, &*world.entropy)?;
        let node_id = kept.node_id;
        let seed = EndpointSeed::new(kept.secret);
        let certificate = tls::Identity::load(&config.tls, data_dir, &*world.clock)
            .map_err(|error| StartError::Tls(error.to_string()))?;
        // Sockets first: a port that is taken should say so before a log is replayed.
        let sockets = transport::bind(config.listen.data, count, config.limits.socket_buffer_bytes)
            .map_err(|error| StartError::Listen(error.to_string()))?;
        let data_addr = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(config.listen.data);
        let workers = (0..count).map(Worker::start).collect::<Result<Vec<_>, _>>()?;
        let metrics = Metrics::new(count);
        let stats = Arc::new(Stats {
            metrics: metrics.clone(),
            namespaces: OnceCell::new(),
            functions: OnceCell::new(),
            node_id,
            workers: count,
            started: Instant::now(),
            draining: AtomicBool::new(false),
        });
        let readiness = ReadinessCell::default();
        let admin = start_admin(&config, &workers[0], &metrics, &stats, &readiness).await?;
        let exporting = config.telemetry.otlp.as_ref().map(|_| Worker::start_aside("outcrop-spans")).transpose()?;
        let home = exporting.as_ref().unwrap_or(&workers[0]);
        let tracing = start_tracing(&config, home, node_id, data_addr.port(), &metrics, &world).await?;
        let namespaces = open_all(&config.namespaces, &workers, &world).await?;
        let opened: Vec<Arc<Namespace>> = namespaces.iter().map(|(namespace, _)| namespace.clone()).collect();
        let _ = stats.namespaces.set(opened.clone());
        let (context, platform) = start_context(&config, &world, opened, count, &stats).await?;
        let (closing, closed) = watch::channel(false);
        let shared = Arc::new(share(&config.limits, &context, &world.clock, node_id, closed));
        let tls_config =
            certificate.server_config(world.clock.clone()).map_err(|error| StartError::Tls(error.to_string()))?;
        let server_config = transport::server_config(tls_config, &config.limits, world.clock.clone())
            .map_err(|error| StartError::Tls(error.to_string()))?;
        let mut listeners = Vec::with_capacity(count);
        for (worker, socket) in workers.iter().zip(sockets) {
            let tracer = Arc::new(tracing.worker(worker.number()));
            let metrics = metrics.worker(worker.number());
            let share = WorkerShare::new(metrics, tracer, worker.number(), count);
            let (shared, server_config) = (shared.clone(), server_config.clone());
            let endpoint_config = transport::endpoint_config(&seed, &*world.entropy);
            let listening = worker.handle().spawn(async move {
                let endpoint = transport::endpoint(endpoint_config, server_config, socket);
                endpoint.map(|endpoint| tokio::spawn(listen::serve(shared, endpoint, share)))
            });
            let listening = listening.await.map_err(|_| StartError::Ended)?;
            listeners.push(listening.map_err(|error| StartError::Listen(format!("{data_addr}: {error}")))?);
        }
        if let Some(platform) = &platform {
            platform.functions.jobs.resume(&context);
        }
        readiness.set(Readiness::Ready);
        tracing::info!(%data_addr, admin = ?admin.as_ref().map(Admin::address), workers = count, "ready");
        Ok(Node {
            workers,
            namespaces,
            context,
            platform,
            admin,
            readiness,
            stats,
            tracing: Some(tracing),
            exporting,
            certificate,
            data_addr,
            closing,
            listeners,
            drain: config.node.drain,
            _data_dir: lock,
        })
    }

    /// Where it serves data (UDP).
    pub fn data_addr(&self) -> SocketAddr {
        self.data_addr
    }

    /// Where it serves metrics and health (TCP).
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The certificate chain that it serves, as PEM.
    pub fn certificate_pem(&self) -> &str {
        self.certificate.certificate_pem()
    }

    /// Its namespaces, for what lives in the same process.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.iter().map(|(namespace, _)| namespace)
    }

    /// Drains and closes: new requests are told so, those under way finish (up to the drain time), logs are
    /// checkpointed and synced.
    pub async fn shutdown(mut self) -> Result<(), ShutdownError> {
        self.readiness.set(Readiness::Draining);
        self.stats.draining.store(true, Ordering::Relaxed);
        self.context.drain();
        let deadline = Instant::now() + self.drain;
        if let Some(platform) = &self.platform {
            platform.functions.jobs.stop(self.drain).await;
        }
        while self.context.under_way() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cut_off = self.context.under_way();
        tokio::time::sleep(LAST_BYTES).await;
        // Fails only if every listener is gone already.
        let _ = self.closing.send(true);
        for listener in self.listeners.drain(..) {
            // A listener waits for its connections' last packets; that has a bound of QUIC's own, and this one.
            let _ = tokio::time::timeout(Duration::from_secs(2), listener).await;
        }
        let count = self.workers.len().max(1);
        for (place, (namespace, tasks)) in self.namespaces.drain(..).enumerate() {
            let closing = self.workers[place % count].handle().spawn(async move { namespace.close(tasks).await });
            closing.await.map_err(|_| ShutdownError::Ended)??;
        }
        if let Some(tracing) = self.tracing.take() {
            tracing.shutdown(Duration::from_secs(2)).await;
        }
        if let Some(admin) = self.admin.take() {
            admin.shutdown().await;
        }
        let mut workers = std::mem::take(&mut self.workers);
        workers.extend(self.exporting.take());
        workers.extend(self.platform.take().into_iter().flat_map(|platform| platform.pool));
        // Joining threads blocks, so it isn't done on a runtime's thread.
        let _ = tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::stop)).await;
        if cut_off > 0 { Err(ShutdownError::CutOff(cut_off)) } else { Ok(()) }
    }
}

/// What the verbs share, with functions and jobs if the node offers them. No job works yet.
async fn start_context(
    config: &Config,
    world: &World,
    namespaces: Vec<Arc<Namespace>>,
    workers: usize,
    stats: &Arc<Stats>,
) -> Result<(Arc<Context>, Option<Platform>), StartError> {
    let deadline_ms = config.limits.request_deadline.as_millis() as u32;
    let data_dir = config.node.data_dir.as_deref();
    let count_of = (workers, namespaces.len());
    let parts = (world.clock.clone(), world.entropy.clone());
    let platform = Platform::start(&config.functions, &world.equipment, data_dir, parts, count_of).await?;
    let mut context = Context::new(namespaces, deadline_ms, config.limits.large_bytes_max, stats.clone());
    if let Some(platform) = &platform {
        let _ = stats.functions.set(platform.functions.clone());
        context = context.with_functions(platform.functions.clone());
    }
    Ok((Arc::new(context), platform))
}

fn share(
    limits: &LimitOptions,
    context: &Arc<Context>,
    clock: &Arc<dyn Clock>,
    node_id: u64,
    closing: watch::Receiver<bool>,
) -> Shared {
    Shared {
        context: context.clone(),
        clock: clock.clone(),
        node_id,
        limits: Arc::new(limits.clone()),
        connections: AtomicUsize::new(0),
        handshakes: AtomicUsize::new(0),
        closing,
        windows: WindowBudget::new(limits),
    }
}

/// Opens the namespaces, each on a worker of its own while there are enough.
async fn open_all(
    options: &[NamespaceOptions],
    workers: &[Worker],
    world: &World,
) -> Result<Vec<(Arc<Namespace>, Tasks)>, StartError> {
    let mut opening = Vec::with_capacity(options.len());
    for (number, options) in options.iter().enumerate() {
        let policy = policy_of(options, &*world.entropy);
        let (id, clock) = (NamespaceId(number as u16), world.clock.clone());
        opening.push(workers[number % workers.len()].handle().spawn(async move {
            let opened = Namespace::open(id, policy, clock).await?;
            tracing::info!(
                namespace = %opened.namespace.policy.name,
                records = opened.namespace.index.len(),
                replayed = opened.replay.entries,
                unreadable = opened.replay.unreadable,
                report = ?opened.report,
                "namespace open"
            );
            let tasks = opened.namespace.start();
            Ok::<_, OpenError>((opened.namespace, tasks))
        }));
    }
    let mut namespaces = Vec::with_capacity(opening.len());
    let mut failed = None;
    for opening in opening {
        match opening.await {
            Ok(Ok(opened)) => namespaces.push(opened),
            Ok(Err(error)) => failed = Some(StartError::Namespace(error)),
            Err(_) => failed = Some(StartError::Ended),
        }
    }
    match failed {
        None => Ok(namespaces),
        Some(error) => Err(error),
    }
}

/// A namespace's options in the store's terms; a log that is made now gets an identity of `entropy`.
pub fn policy_of(options: &NamespaceOptions, entropy: &dyn Entropy) -> policy::Policy {
    use crate::options::{Commit, Engine, Values};
    policy::Policy {
        name: options.name.clone(),
        values: match (options.values, &options.device) {
            (Values::Flash | Values::FlashCached, Some(device)) => policy::Values::Flash {
                device: device.clone(),
                bytes: options.size_bytes,
                cached: options.values == Values::FlashCached,
            },
            _ => policy::Values::Ram { bytes: options.size_bytes },
        },
        commit: match options.commit {
            Commit::Flash => policy::Commit::Flash,
            Commit::Memory => policy::Commit::Memory,
        },
        flush_ms: options.flush.as_millis() as u64,
        default_ttl_secs: options.default_ttl_secs,
        record_bytes_max: options.record_bytes_max as usize,
        cache_bytes: options.cache_bytes,
        write_buffer_bytes: options.write_buffer_bytes,
        high_water_percent: options.high_water_percent,
        defrag_live_percent: options.defrag_live_percent,
        defrag_bytes_per_sec: options.defrag_bytes_per_sec,
        log_identity_if_new: entropy.next_id(),
        engine: match options.engine {
            Engine::Auto => policy::Engine::Auto,
            Engine::IoUring => policy::Engine::IoUring,
            Engine::Pread => policy::Engine::Pread,
        },
        checkpoint_secs: 120,
    }
}

async fn start_admin(
    config: &Config,
    worker: &Worker,
    metrics: &Arc<Metrics>,
    stats: &Arc<Stats>,
    readiness: &ReadinessCell,
) -> Result<Option<Admin>, StartError> {
    let Some(addr) = config.listen.admin else { return Ok(None) };
    let (metrics, stats, readiness) = (metrics.clone(), stats.clone(), readiness.clone());
    let connections_max = config.limits.admin_connections_max;
    let started = worker
        .handle()
        .spawn(async move { Admin::start(addr, connections_max, metrics, stats, readiness).await })
        .await
        .map_err(|_| StartError::Ended)?;
    started.map(Some).map_err(|error| StartError::Listen(error.to_string()))
}

async fn start_tracing(
    config: &Config,
    worker: &Worker,
    node_id: u64,
    port: u16,
    metrics: &Arc<Metrics>,
    world: &World,
) -> Result<Tracing, StartError> {
    let identity = Identity { node_id: format!("{node_id:016x}"), version: env!("CARGO_PKG_VERSION").to_owned() };
    let (options, metrics, world) = (config.telemetry.clone(), metrics.clone(), world.clone());
    let started = worker
        .handle()
        .spawn(async move { Tracing::start(&options, &identity, port, &metrics, world.clock, world.entropy) })
        .await
        .map_err(|_| StartError::Ended)?;
    started.map_err(|error| StartError::Telemetry(error.to_string()))
}

/// The node in numbers.
struct Stats {
    metrics: Arc<Metrics>,
    namespaces: OnceCell<Vec<Arc<Namespace>>>,
    /// Set once, as the namespaces are, when the node starts.
    functions: OnceCell<Arc<Functions>>,
    node_id: u64,
    workers: usize,
    started: Instant,
    draining: AtomicBool,
}

impl StatsSource for Stats {
    fn snapshot(&self) -> NodeStats {
        let namespaces = self.namespaces.get().map(Vec::as_slice).unwrap_or_default();
        NodeStats {
            node_id: format!("{:016x}", self.node_id),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_secs: self.started.elapsed().as_secs(),
            workers: self.workers as u32,
            draining: self.draining.load(Ordering::Relaxed),
            namespaces: namespaces.iter().map(|namespace| namespace.stats()).collect(),
            jobs: self.functions.get().map(|functions| functions.jobs.stats()).unwrap_or_default(),
            requests: self.metrics.verb_stats(),
            quic: self.metrics.quic_stats(),
            process: ProcessStats::of_this_process(),
            functions: self.functions.get().map(|functions| functions.registry.host_stats()),
        }
    }

    fn trouble(&self) -> Option<String> {
        let namespaces = self.namespaces.get()?;
        namespaces.iter().find_map(|namespace| namespace.trouble())
    }
}
