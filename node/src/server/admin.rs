//! The admin port: `/metrics`, `/livez`, `/readyz` and `/stats` over HTTP, for machines inside of the fence.
//!
//! It has a bound of connections and of the time that a request's head may take, so that nobody can hold it up.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::telemetry::metrics::Exposition;
use crate::telemetry::{Metrics, StatsSource};

/// A request's head has to be here within this time; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A whole connection lives this long at most, so that a slow reader can't keep its place.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of a request's head, at most.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After an error of accepting (no descriptors left), the next try waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers under way may take at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Why the admin port can't be opened.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address can't be had.
    #[error("tcp {address}: {source}; set listen.admin to another address, or to \"\" to turn it off")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether the node is ready for requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Namespaces are being opened; says how far it is.
    Opening(String),
    /// Requests are served.
    Ready,
    /// The node shuts down.
    Draining,
}

/// Where the node puts its [`Readiness`].
#[derive(Debug, Clone)]
pub struct ReadinessCell(Arc<ArcSwap<Readiness>>);

impl Default for ReadinessCell {
    fn default() -> Self {
        ReadinessCell(Arc::new(ArcSwap::from_pointee(Readiness::Opening("starting".to_owned()))))
    }
}

impl ReadinessCell {
    /// Changes it.
    pub fn set(&self, readiness: Readiness) {
        self.0.store(Arc::new(readiness));
    }

    /// What it is.
    pub fn get(&self) -> Readiness {
        Readiness::clone(&self.0.load())
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Readiness::Opening(what) => write!(f, "opening: {what}"),
            Readiness::Ready => f.write_str("ready"),
            Readiness::Draining => f.write_str("draining"),
        }
    }
}

struct Shared {
    metrics: Arc<Metrics>,
    stats: Arc<dyn StatsSource>,
    readiness: ReadinessCell,
}

/// The running admin port.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Admin {
    /// Opens the port and serves it on the current tokio runtime.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn start(
        address: SocketAddr,
        connections_max: u32,
        metrics: Arc<Metrics>,
        stats: Arc<dyn StatsSource>,
        readiness: ReadinessCell,
    ) -> Result<Admin, AdminError> {
        let failed = |source| AdminError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/metrics", get(serve_metrics))
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(serve_readiness))
            .route("/stats", get(serve_stats))
            .fallback(|| async { (StatusCode::NOT_FOUND, "here are /metrics, /livez, /readyz and /stats\n") })
            .with_state(Arc::new(Shared { metrics, stats, readiness }));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(listen(listener, router, connections_max as usize, stopped));
        Ok(Admin { address: bound, stop, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port; answers under way have two seconds.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(SHUTDOWN_GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn listen(listener: TcpListener, router: Router, connections_max: usize, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
            // Ended connections are forgotten as they end.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            // One too many is closed at once: waiting would only move the queue into the kernel.
            Ok((stream, _)) => {
                if let Ok(place) = places.clone().try_acquire_owned() {
                    connections.spawn(serve(stream, router.clone(), place, stopped.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, router: Router, place: OwnedSemaphorePermit, mut stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let deadline = tokio::time::sleep(CONNECTION_TIMEOUT);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = deadline => return,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an admin connection ended badly");
    }
    drop(place);
}

async fn serve_metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let exposition = Exposition::of_accept(accept);
    match shared.metrics.render(shared.stats.snapshot(), exposition) {
        Ok(text) => ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn serve_readiness(State(shared): State<Arc<Shared>>) -> Response {
    let readiness = shared.readiness.get();
    match shared.stats.trouble() {
        Some(trouble) if readiness == Readiness::Ready => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response()
        }
        _ => {
            let status = if readiness == Readiness::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, format!("{readiness}\n")).into_response()
        }
    }
}

async fn serve_stats(State(shared): State<Arc<Shared>>) -> Response {
    match serde_json::to_vec(&shared.stats.snapshot()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::telemetry::NodeStats;

    #[derive(Default)]
    struct Source {
        poisoned: AtomicBool,
    }

    impl StatsSource for Source {
        fn snapshot(&self) -> NodeStats {
            NodeStats { node_id: "abc".to_owned(), ..NodeStats::default() }
        }

        fn trouble(&self) -> Option<String> {
            let poisoned = self.poisoned.load(Ordering::SeqCst);
            poisoned.then(|| "namespace shop: its device failed".to_owned())
        }
    }

    async fn start(connections_max: u32) -> (Admin, ReadinessCell, Arc<Source>) {
        let (readiness, source) = (ReadinessCell::default(), Arc::new(Source::default()));
        let address = ([127, 0, 0, 1], 0).into();
        let admin = Admin::start(address, connections_max, Metrics::new(1), source.clone(), readiness.clone());
        (admin.await.expect("loopback has free ports"), readiness, source)
    }

    /// Status line and body of one request.
    async fn ask(address: SocketAddr, path: &str, more: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        (status, answer)
    }

    #[tokio::test]
    async fn readiness_follows_the_node() {
        let (admin, readiness, source) = start(8).await;
        let at = admin.address();
        assert_eq!(ask(at, "/livez", "").await.0, 200);
        readiness.set(Readiness::Opening("namespace shop, 40%".to_owned()));
        let (status, answer) = ask(at, "/readyz", "").await;
        assert!(status == 503 && answer.contains("shop, 40%"), "{answer}");
        readiness.set(Readiness::Ready);
        assert_eq!(ask(at, "/readyz", "").await.0, 200);
        source.poisoned.store(true, Ordering::SeqCst);
        let (status, answer) = ask(at, "/readyz", "").await;
        assert!(status == 503 && answer.contains("device failed"), "{answer}");
        readiness.set(Readiness::Draining);
        let (status, answer) = ask(at, "/readyz", "").await;
        assert!(status == 503 && answer.contains("draining"), "{answer}");
        admin.shutdown().await;
        assert!(TcpStream::connect(at).await.is_err(), "the port is closed");
    }

    #[tokio::test]
    async fn formats_and_unknown_paths() {
        let (admin, ..) = start(8).await;
        let at = admin.address();
        let (status, text) = ask(at, "/metrics", "").await;
        assert!(status == 200 && text.contains("version=0.0.4") && text.contains("outcrop_requests_total{"), "{text}");
        let (_, text) = ask(at, "/metrics", "accept: application/openmetrics-text;version=1.0.0,*/*\r\n").await;
        assert!(text.contains("application/openmetrics-text") && text.contains("# EOF"), "{text}");
        let (_, json) = ask(at, "/stats", "").await;
        assert!(json.contains("application/json") && json.contains("\"node_id\":\"abc\""), "{json}");
        assert_eq!(ask(at, "/none", "").await.0, 404);
        let long = format!("x: {}\r\n", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(ask(at, "/livez", &long).await.0, 431);
        admin.shutdown().await;
    }

    #[tokio::test]
    async fn silent_connections_beyond_the_limit_are_closed_and_places_come_back() {
        let (admin, ..) = start(2).await;
        let at = admin.address();
        let first = TcpStream::connect(at).await.expect("it listens");
        let second = TcpStream::connect(at).await.expect("it listens");
        let mut third = TcpStream::connect(at).await.expect("the kernel accepts");
        let mut nothing = [0; 1];
        // The two before it were accepted first: connections are taken up in order.
        assert!(matches!(third.read(&mut nothing).await, Ok(0) | Err(_)), "it is closed without an answer");
        drop((first, second));
        loop {
            let mut stream = TcpStream::connect(at).await.expect("it listens");
            let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
            // Until the ends of the first two are seen, it may still be full.
            if asked.is_ok() && matches!(stream.read(&mut nothing).await, Ok(1)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        admin.shutdown().await;
    }
}
