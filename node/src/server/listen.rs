//! The QUIC listener of one worker: takes connections in, within the node's limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outcrop_wire::WorkerPlace;
use tokio::sync::watch;

use super::busy_poll::PollPlace;
use super::connection;
use super::io::CloseCode;
use super::session::Session;
use super::transport::{WindowBudget, record_connection};
use crate::command::Context;
use crate::options::LimitOptions;
use crate::telemetry::metrics::{Counter, Gauge};
use crate::telemetry::{WorkerMetrics, WorkerTracer};
use crate::world::Clock;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the listeners of a node share.
pub struct Shared {
    /// What the verbs need.
    pub context: Arc<Context>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The node's identity.
    pub node_id: u64,
    /// Bounds of connections and streams.
    pub limits: Arc<LimitOptions>,
    /// Connections now, on all workers.
    pub connections: AtomicUsize,
    /// Handshakes now, on all workers.
    pub handshakes: AtomicUsize,
    /// Memory for the windows of connections.
    pub windows: Arc<WindowBudget>,
    /// Turns true when the node's connections have to end.
    pub closing: watch::Receiver<bool>,
}

/// Counts one while it lives.
struct Counted(Arc<Shared>, fn(&Shared) -> &AtomicUsize);

impl Counted {
    fn new(shared: &Arc<Shared>, counter: fn(&Shared) -> &AtomicUsize) -> Self {
        counter(shared).fetch_add(1, Ordering::AcqRel);
        Counted(shared.clone(), counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1(&self.0).fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes connections in until the node closes.
pub async fn serve(shared: Arc<Shared>, endpoint: quinn::Endpoint, share: WorkerShare) {
    let mut closing = shared.closing.clone();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        let Some(incoming) = incoming else { break };
        admit(&shared, incoming, &share);
    }
    endpoint.close(CloseCode::Draining.code(), b"the node is shutting down");
    endpoint.wait_idle().await;
}

/// What a worker gives each of its connections.
#[derive(Clone)]
pub struct WorkerShare {
    metrics: WorkerMetrics,
    tracer: Arc<WorkerTracer>,
    place: WorkerPlace,
    poll_place: PollPlace,
}

impl WorkerShare {
    /// Of worker `number` among `count`.
    pub fn new(metrics: WorkerMetrics, tracer: Arc<WorkerTracer>, number: usize, count: usize) -> Self {
        let told = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let place = WorkerPlace { number: told(number), count: told(count) };
        WorkerShare { metrics, tracer, place, poll_place: PollPlace::default() }
    }
}

/// Refuses, asks for proof of address, or takes a connection in.
fn admit(shared: &Arc<Shared>, incoming: quinn::Incoming, share: &WorkerShare) {
    let metrics = &share.metrics;
    let handshakes = shared.handshakes.load(Ordering::Acquire);
    let full = shared.connections.load(Ordering::Acquire) + handshakes >= shared.limits.connections_max as usize;
    if full || handshakes >= shared.limits.handshakes_max as usize || shared.context.is_draining() {
        metrics.count(Counter::ConnectionsRefused);
        return incoming.refuse();
    }
    if handshakes >= shared.limits.handshakes_retry_above as usize
        && !incoming.remote_address_validated()
        && incoming.may_retry()
    {
        metrics.count(Counter::Retries);
        if let Err(error) = incoming.retry() {
            tracing::debug!(%error, "a retry could not be sent");
        }
        return;
    }
    let handshake = Counted::new(shared, |shared| &shared.handshakes);
    let (shared, share) = (shared.clone(), share.clone());
    tokio::spawn(async move {
        let peer = incoming.remote_address();
        match shake_hands(incoming).await {
            Ok(connection) => {
                drop(handshake);
                serve_connection(shared, connection, peer, share).await;
            }
            Err(error) => {
                share.metrics.count(Counter::HandshakesFailed);
                tracing::debug!(%peer, error, "a handshake failed");
            }
        }
    });
}

async fn shake_hands(incoming: quinn::Incoming) -> Result<quinn::Connection, String> {
    let connecting = incoming.accept().map_err(|error| error.to_string())?;
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!("not done after {} s", HANDSHAKE_TIMEOUT.as_secs())),
    }
}

async fn serve_connection(shared: Arc<Shared>, connection: quinn::Connection, peer: SocketAddr, share: WorkerShare) {
    let WorkerShare { metrics, tracer, place, poll_place } = share;
    let _connected = Counted::new(&shared, |shared| &shared.connections);
    let _gauge = metrics.hold(Gauge::Connections, 1);
    metrics.count(Counter::ConnectionsAccepted);
    let windows = shared.windows.grant();
    windows.apply(&connection);
    let session = Session {
        context: shared.context.clone(),
        metrics: metrics.clone(),
        tracer,
        limits: shared.limits.clone(),
        clock: shared.clock.clone(),
        poll_place,
        worker: place,
        peer,
    };
    connection::serve(Arc::new(session), connection.clone(), shared.node_id).await;
    record_connection(&metrics, &connection);
}
