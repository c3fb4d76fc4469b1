//! QUIC's settings, all explicit, each with what it can cost; and the UDP sockets that workers share.
//!
//! Worst-case memory, with the defaults and 10,000 connections (`docs/configuration.md` has the table): receive and send
//! windows 10,000 x 128 KiB + 512 MiB each way, whatever strangers do; idle connections hold none of it.

use std::io;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, ValidationTokenConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::options::{LimitOptions, MTU_CEILING};
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::Counter;
use crate::world::{Clock, Entropy};

/// Bytes of a handshake that is waiting to be taken up, at most: a client's hello with room to spare.
const INCOMING_BYTES_MAX: u64 = 16 << 10;
/// The same for all of a worker's waiting handshakes: 8 MiB a worker.
const INCOMING_BYTES_TOTAL_MAX: u64 = 8 << 20;
/// Packets that a peer may hold back an acknowledgement for; measured best together with large packets.
const ACK_THRESHOLD: u32 = 20;
/// A client has this long to come back with the token of a Retry.
const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);
/// First guess of the round trip; 333 ms by the standard, far too careful inside of a data centre.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// Handshake bytes that may arrive out of order: 16 KiB a connection.
const CRYPTO_BUFFER_BYTES: usize = 16 << 10;
/// Payload of the smallest packet that every path carries.
const MTU_INITIAL: u16 = 1_200;

const _: () = {
    assert!(MTU_INITIAL < MTU_CEILING);
    assert!(INCOMING_BYTES_MAX <= INCOMING_BYTES_TOTAL_MAX);
};

/// Why the transport can't be set up.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The TLS settings lack what QUIC needs.
    #[error("QUIC can't use the TLS settings: {0}")]
    Tls(String),
    /// A setting is out of what QUIC can express.
    #[error("limits.{key} is out of range for QUIC")]
    Range {
        /// The key.
        key: &'static str,
    },
    /// The socket can't be had.
    #[error("udp {address}: {source}; {advice}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
}

/// Secrets of the endpoint, from one seed. With the same seed after a restart, the node can tell clients of its earlier
/// life at once that their connections are gone (a stateless reset); otherwise they wait until they time out.
#[derive(Clone)]
pub struct EndpointSeed([u8; 32]);

impl EndpointSeed {
    /// A seed that is kept with the node's identity, or drawn anew if nothing is kept.
    pub fn new(seed: [u8; 32]) -> Self {
        EndpointSeed(seed)
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.0)
    }
}

struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Comparing two `Hash`es takes the same time wherever they differ.
        let signature = blake3::Hash::from_slice(signature).map_err(|_| CryptoError)?;
        if blake3::keyed_hash(&self.0, data) == signature { Ok(()) } else { Err(CryptoError) }
    }
}

/// Settings of an endpoint; every worker of a node gets the same, except for the seed of its random numbers.
pub fn endpoint_config(seed: &EndpointSeed, entropy: &dyn Entropy) -> EndpointConfig {
    let reset_key = seed.derive("outcrop 2026 quic stateless reset");
    let mut config = EndpointConfig::new(Arc::new(ResetKey(reset_key)));
    let ids = seed.derive("outcrop 2026 quic connection ids");
    let ids_key = u64::from_le_bytes(*ids.first_chunk().expect("eight of 32 bytes"));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids_key)));
    // What we receive is bounded by what we tell peers here; loopback and jumbo frames carry more than 1,472.
    config.max_udp_payload_size(MTU_CEILING).expect("between 1,200 and 65,527");
    config.rng_seed(Some(draw(entropy)));
    config
}

fn draw(entropy: &dyn Entropy) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.chunks_mut(16).for_each(|half| half.copy_from_slice(&entropy.next_id()));
    bytes
}

/// One worker's endpoint, on its socket. Has to be called on that worker.
///
/// # Errors
/// The socket can't be given to the runtime.
pub fn endpoint(
    config: EndpointConfig,
    server_config: quinn::ServerConfig,
    socket: UdpSocket,
) -> io::Result<quinn::Endpoint> {
    quinn::Endpoint::new(config, Some(server_config), socket, Arc::new(quinn::TokioRuntime))
}

/// Settings of incoming connections, shared by all workers.
///
/// # Errors
/// TLS settings that QUIC can't use, or limits beyond what QUIC can express.
pub fn server_config(
    tls: Arc<rustls::ServerConfig>,
    limits: &LimitOptions,
    clock: Arc<dyn Clock>,
) -> Result<quinn::ServerConfig, TransportError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| TransportError::Tls(error.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport_config(limits)?))
        .max_incoming(limits.handshakes_max as usize)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX)
        .retry_token_lifetime(RETRY_TOKEN_LIFETIME)
        // A worker gets packets by the client's address: a migrated connection would land at another worker.
        .migration(false)
        .time_source(Arc::new(ClockTime(clock)));
    // Tokens for later connections would be remembered in a table for each endpoint; one round trip isn't worth it.
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    config.validation_token_config(tokens);
    Ok(config)
}

/// Settings of each connection.
fn transport_config(limits: &LimitOptions) -> Result<TransportConfig, TransportError> {
    let mut config = TransportConfig::default();
    // One stream for the session, and what the limits allow. About 0.5 KiB of state for each open one.
    let streams = 1 + u32::from(limits.lanes_max) + u32::from(limits.large_streams_max) + u32::from(limits.scans_max);
    config.max_concurrent_bidi_streams(streams.into());
    // Only the node opens unidirectional streams, for large replies.
    config.max_concurrent_uni_streams(0_u32.into());
    // What a connection may make us hold before it got more from the budget: see `WindowBudget`.
    config.receive_window(limits.connection_window_bytes_min.into());
    config.send_window(limits.connection_window_bytes_min.into());
    // Bounded by the connection's window as well: more streams don't mean more memory.
    config.stream_receive_window(limits.stream_window_bytes.into());
    let idle = IdleTimeout::try_from(limits.idle_timeout);
    config.max_idle_timeout(Some(idle.map_err(|_| TransportError::Range { key: "idle_timeout_ms" })?));
    // Clients keep alive what they want kept: a node that pinged would keep the silent ones for ever.
    config.keep_alive_interval(None);
    config.datagram_receive_buffer_size(None).datagram_send_buffer_size(0);
    config.crypto_buffer_size(CRYPTO_BUFFER_BYTES);
    config.initial_rtt(INITIAL_RTT);
    // A batch of ten packets has to fit one IP datagram, else offload fails and the path's MTU collapses.
    config.initial_mtu(MTU_INITIAL).min_mtu(MTU_INITIAL).enable_segmentation_offload(true);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(limits.mtu_max.min(MTU_CEILING));
    config.mtu_discovery_config((limits.mtu_max > MTU_INITIAL).then_some(discovery));
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(ACK_THRESHOLD.into());
    config.ack_frequency_config(Some(acks));
    Ok(config)
}

/// The node's clock as quinn wants it, for the age of Retry tokens.
struct ClockTime(Arc<dyn Clock>);

impl quinn::TimeSource for ClockTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.now_ms())
    }
}

/// Memory for windows, shared out as connections come: an early one gets all that it may use, a late one among
/// thousands the minimum. The sum never exceeds `connections x minimum + budget`, each way.
#[derive(Debug)]
pub struct WindowBudget {
    left: AtomicU64,
    min: u32,
    max: u32,
}

/// No connection takes more than this part of what is left.
const WINDOW_SHARE: u64 = 16;

impl WindowBudget {
    /// A budget by these limits.
    pub fn new(limits: &LimitOptions) -> Arc<WindowBudget> {
        Arc::new(WindowBudget {
            left: AtomicU64::new(limits.windows_bytes_max),
            min: limits.connection_window_bytes_min,
            max: limits.connection_window_bytes_max,
        })
    }

    /// A connection's share; give it back by dropping it.
    pub fn grant(self: &Arc<Self>) -> WindowGrant {
        let most = u64::from(self.max - self.min);
        let share = |left: u64| (left / WINDOW_SHARE).min(most);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - share(left)));
        let above = share(taken.unwrap_or_else(|left| left));
        WindowGrant { budget: self.clone(), above }
    }
}

/// What one connection may have unread, and as much again unsent.
#[derive(Debug)]
pub struct WindowGrant {
    budget: Arc<WindowBudget>,
    above: u64,
}

impl WindowGrant {
    /// Bytes, each way.
    pub fn bytes(&self) -> u64 {
        u64::from(self.budget.min) + self.above
    }

    /// Sets a connection's windows to it.
    pub fn apply(&self, connection: &quinn::Connection) {
        connection.set_receive_window(VarInt::from_u64(self.bytes()).unwrap_or(VarInt::MAX));
        connection.set_send_window(self.bytes());
    }
}

impl Drop for WindowGrant {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.above, Ordering::Relaxed);
    }
}

/// Counts what a connection sent and lost, and whether it ended by silence; call it once, when it has ended.
pub fn record_connection(metrics: &WorkerMetrics, connection: &quinn::Connection) {
    let stats = connection.stats();
    metrics.count_by(Counter::DatagramsSent, stats.udp_tx.datagrams);
    metrics.count_by(Counter::DatagramsReceived, stats.udp_rx.datagrams);
    metrics.count_by(Counter::PacketsLost, stats.path.lost_packets);
    metrics.count_by(Counter::CongestionEvents, stats.path.congestion_events);
    if matches!(connection.close_reason(), Some(quinn::ConnectionError::TimedOut)) {
        metrics.count(Counter::IdleTimeouts);
    }
}

/// One socket for each worker, all on the same port; the kernel spreads clients over them by their addresses.
///
/// # Errors
/// The address can't be had, for example because something (another node, too) uses it.
pub fn bind(address: SocketAddr, workers: usize, buffer_bytes: u32) -> Result<Vec<UdpSocket>, TransportError> {
    // Sharing a port is a matter of consent: a second node of the same user would silently take half of the clients.
    // Asking for it alone first finds any other user.
    drop(bind_one(address, false, buffer_bytes)?);
    let first = bind_one(address, true, buffer_bytes)?;
    let failed = |source| bind_error(address, source);
    // Port 0 has become a number by now.
    let bound = first.local_addr().map_err(failed)?;
    warn_of_small_buffers(&first, buffer_bytes);
    let mut sockets = vec![first];
    while sockets.len() < workers.max(1) {
        sockets.push(bind_one(bound, true, buffer_bytes)?);
    }
    Ok(sockets.into_iter().map(UdpSocket::from).collect())
}

fn bind_one(address: SocketAddr, shared: bool, buffer_bytes: u32) -> Result<UdpSocketOf, TransportError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // `[::]` serves both families, whatever the machine's default.
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        // The kernel cuts these to its maximum without an error.
        socket.set_recv_buffer_size(buffer_bytes as usize)?;
        socket.set_send_buffer_size(buffer_bytes as usize)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    open().map(UdpSocketOf).map_err(|source| bind_error(address, source))
}

/// A bound socket that still can be asked about its buffers.
#[derive(Debug)]
struct UdpSocketOf(Socket);

impl UdpSocketOf {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))
    }
}

impl From<UdpSocketOf> for UdpSocket {
    fn from(socket: UdpSocketOf) -> UdpSocket {
        socket.0.into()
    }
}

fn bind_error(address: SocketAddr, source: io::Error) -> TransportError {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "something uses this port already (`ss -ulpn` tells what): stop it, or set listen.data"
        }
        io::ErrorKind::AddrNotAvailable => "this machine doesn't have this address: set listen.data to one that it has",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): set listen.data higher"
        }
        _ => "set listen.data to an address that can be used",
    };
    TransportError::Bind { address, source, advice }
}

fn warn_of_small_buffers(socket: &UdpSocketOf, wanted: u32) {
    // Linux tells twice what was asked for: it counts its own bookkeeping.
    let told = |size: io::Result<usize>| size.unwrap_or(0) / 2;
    let (receive, send) = (told(socket.0.recv_buffer_size()), told(socket.0.send_buffer_size()));
    if receive.min(send) < wanted as usize {
        tracing::warn!(
            wanted_bytes = wanted,
            receive_bytes = receive,
            send_bytes = send,
            "the kernel gives smaller UDP buffers than asked for; bulk transfers will lose packets: \
             raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn workers_share_a_port_and_nobody_else_gets_it() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 3, 256 << 10).expect("loopback has free ports");
        let address = sockets[0].local_addr().expect("it is bound");
        assert_ne!(address.port(), 0);
        assert!(sockets.iter().all(|socket| socket.local_addr().expect("it is bound") == address));
        let error = bind(address, 1, 256 << 10).expect_err("it is taken, even for one that would share");
        let told = error.to_string();
        assert!(told.contains(&address.to_string()) && told.contains("listen.data"), "{told}");
        drop(sockets);
        bind(address, 2, 256 << 10).expect("it is free again");
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = bind(([192, 0, 2, 1], 0).into(), 1, 256 << 10).expect_err("a documentation address");
        assert!(error.to_string().contains("doesn't have this address"), "{error}");
    }

    #[test]
    fn reset_tokens_are_the_same_after_a_restart_and_other_for_another_node() {
        let sign = |seed: u8| {
            let key = ResetKey(EndpointSeed::new([seed; 32]).derive("outcrop 2026 quic stateless reset"));
            let mut token = [0; 32];
            key.sign(b"connection", &mut token);
            key.verify(b"connection", &token).expect("its own signature");
            assert!(key.verify(b"another", &token).is_err());
            assert!(key.verify(b"connection", &token[..16]).is_err());
            token
        };
        assert_eq!(sign(1), sign(1));
        assert_ne!(sign(1), sign(2));
    }

    proptest! {
        #[test]
        fn windows_stay_within_their_budget(budget in 0_u64..1 << 34, closes in proptest::collection::vec(any::<bool>(), 1..400)) {
            let limits = LimitOptions { windows_bytes_max: budget, ..LimitOptions::default() };
            let shared = WindowBudget::new(&limits);
            let mut open = Vec::new();
            for close in closes {
                if close { open.pop(); } else { open.push(shared.grant()); }
                let held: u64 = open.iter().map(WindowGrant::bytes).sum();
                prop_assert!(held <= budget + open.len() as u64 * u64::from(limits.connection_window_bytes_min));
                prop_assert!(open.iter().all(|grant| grant.bytes() <= u64::from(limits.connection_window_bytes_max)));
                prop_assert!(open.iter().all(|grant| grant.bytes() >= u64::from(limits.connection_window_bytes_min)));
            }
            drop(open);
            prop_assert_eq!(shared.left.load(Ordering::Relaxed), budget);
        }
    }
}
