//! What quinn and rustls are told: every window, count and timeout is said here, none is left to a default.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use outcrop_wire::hello::ALPN_CLIENT;
use outcrop_wire::limits::FRAME_BYTES_MAX;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{AckFrequencyConfig, ClientConfig, EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::crypto::ring;

use super::ConnectFailure;

/// Path MTU discovery goes no further: above it a batch of segments passes 65,535 bytes and is lost.
const MTU_MAX: u16 = 6_000;
/// Bytes of one stream that may be on their way unread: a frame's most, so that one frame never waits for a window.
const STREAM_WINDOW_BYTES: u32 = FRAME_BYTES_MAX as u32 + 4_096;
/// Bytes of one connection that may be on their way unread.
const CONNECTION_WINDOW_BYTES: u32 = 4 * FRAME_BYTES_MAX as u32;
/// Bytes that wait for acknowledgement before writers are held back.
const SEND_WINDOW_BYTES: u64 = 2 * FRAME_BYTES_MAX as u64;
/// Large replies that may be under way at once, each on a stream that the node opens.
pub(crate) const LARGE_REPLIES_MAX: u32 = 64;
/// A peer that is silent for this long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Well below the idle timeout, so that a quiet connection stays.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Packets that the node may receive before it has to acknowledge; measured at 1,400 and 6,000 bytes of MTU.
const ACK_THRESHOLD: u32 = 20;
/// Bulk data overflows the kernel's default of 208 KiB.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

const _: () = {
    assert!(STREAM_WINDOW_BYTES as usize > FRAME_BYTES_MAX);
    assert!(CONNECTION_WINDOW_BYTES > STREAM_WINDOW_BYTES);
};

/// What all connections of a client share.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig, ConnectFailure> {
    let failure = |message: String| ConnectFailure { address: "the node".to_owned(), message, code: None };
    let mut provider = ring::default_provider();
    // AES-128-GCM is the fastest on every CPU with AES instructions; ChaCha costs 1.7 times as much.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failure(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    // A request in early data could be replayed by a stranger, and some requests write.
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| failure(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport_config()));
    Ok(config)
}

fn transport_config() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    let mut ack = AckFrequencyConfig::default();
    ack.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(LARGE_REPLIES_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(ack))
        .enable_segmentation_offload(true);
    transport
}

/// An endpoint of its own for one connection: the node spreads connections over its workers by the source port.
pub(crate) fn endpoint(remote: SocketAddr) -> std::io::Result<quinn::Endpoint> {
    let local: SocketAddr =
        if remote.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local)?;
    let sized = socket2::SockRef::from(&socket);
    // The kernel gives what its own limit allows; less is slower, not wrong.
    let _ = sized.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = sized.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MTU_MAX).map_err(std::io::Error::other)?;
    quinn::Endpoint::new(config, None, socket, Arc::new(quinn::TokioRuntime))
}
