//! The node's TLS and QUIC settings between real endpoints: who gets in, with what, and what a restart tells clients.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use outcrop_node::options::{LimitOptions, TlsOptions};
use outcrop_node::server::tls::Identity;
use outcrop_node::server::transport::{self, EndpointSeed, WindowBudget};
use outcrop_node::world::{SeededEntropy, SystemClock};
use outcrop_wire::hello::ALPN_CLIENT;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, TokioRuntime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

fn limits() -> LimitOptions {
    LimitOptions { socket_buffer_bytes: 256 << 10, ..LimitOptions::default() }
}

/// An endpoint as a worker of the node has it.
fn server(socket: UdpSocket, identity: &Identity, seed: u8) -> Endpoint {
    let clock = Arc::new(SystemClock);
    let tls = identity.server_config(clock.clone()).expect("settings that rustls takes");
    let config = transport::server_config(tls, &limits(), clock).expect("settings that quinn takes");
    let endpoint = transport::endpoint_config(&EndpointSeed::new([seed; 32]), &SeededEntropy::new(seed.into()));
    Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime)).expect("a bound socket")
}

fn identity() -> Identity {
    Identity::load(&TlsOptions::SelfSigned, None, &SystemClock).expect("a certificate can be made")
}

fn client(identity: &Identity, alpn: &[u8], idle_timeout_ms: u32) -> Endpoint {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes()).expect("PEM");
    roots.add(certificate).expect("a certificate that can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.enable_early_data = true;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(quinn::VarInt::from_u32(idle_timeout_ms).into()));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
    endpoint.set_default_client_config(config);
    endpoint
}

fn bind() -> (UdpSocket, SocketAddr) {
    let mut sockets = transport::bind(([127, 0, 0, 1], 0).into(), 1, 256 << 10).expect("loopback has free ports");
    let socket = sockets.pop().expect("one worker, one socket");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

/// Takes connections and sends back what each stream says.
async fn echo(server: Endpoint) {
    let budget = WindowBudget::new(&limits());
    while let Some(incoming) = server.accept().await {
        let grant = budget.grant();
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            grant.apply(&connection);
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let said = receive.read_to_end(16 << 20).await.unwrap_or_default();
                    let _ = send.write_all(&said).await;
                    let _ = send.finish();
                });
            }
        });
    }
}

async fn say(connection: &quinn::Connection, what: &[u8]) -> Result<Vec<u8>, ConnectionError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(what).await.map_err(|_| ConnectionError::LocallyClosed)?;
    send.finish().map_err(|_| ConnectionError::LocallyClosed)?;
    match receive.read_to_end(16 << 20).await {
        Ok(answer) => Ok(answer),
        Err(_) => Err(connection.closed().await),
    }
}

#[tokio::test]
async fn clients_get_in_with_the_protocol_and_the_certificate() {
    let (socket, address) = bind();
    let identity = identity();
    tokio::spawn(echo(server(socket, &identity, 1)));

    let ours = client(&identity, ALPN_CLIENT, 30_000);
    for name in ["localhost", "127.0.0.1"] {
        let connection = ours.connect(address, name).expect("it begins").await.expect("both are in the certificate");
        // Larger than every window of one connection: it has to flow.
        let large = vec![7; 12 << 20];
        assert_eq!(say(&connection, &large).await.expect("it is served"), large);
        assert!(connection.max_datagram_size().is_none(), "datagrams are off");
        let mut uni = Box::pin(connection.open_uni());
        assert!(futures_util::poll!(uni.as_mut()).is_pending(), "clients have no unidirectional streams");
    }
    // A ticket of the first connection doesn't let data in before the handshake is done.
    let early = ours.connect(address, "localhost").expect("it begins").into_0rtt();
    assert!(early.is_err(), "0-RTT is off");

    let other_name = ours.connect(address, "example.com").expect("it begins").await;
    assert!(matches!(other_name, Err(ConnectionError::TransportError(_))), "{other_name:?}");
    let other_protocol = client(&identity, b"h3", 30_000).connect(address, "localhost").expect("it begins").await;
    let refused = other_protocol.expect_err("no protocol in common").to_string();
    assert!(refused.contains("any known protocol"), "{refused}");
    let other_trust = client(&self::identity(), ALPN_CLIENT, 30_000).connect(address, "localhost").expect("it begins");
    assert!(other_trust.await.is_err(), "another node's certificate isn't trusted");
}

#[tokio::test]
async fn streams_beyond_the_limit_wait() {
    let (socket, address) = bind();
    let identity = identity();
    tokio::spawn(echo(server(socket, &identity, 2)));
    let client = client(&identity, ALPN_CLIENT, 30_000);
    let connection = client.connect(address, "localhost").expect("it begins").await.expect("it is served");
    let limits = limits();
    let allowed = 1 + limits.lanes_max + limits.large_streams_max + limits.scans_max;
    let mut streams = Vec::new();
    for _ in 0..allowed {
        streams.push(connection.open_bi().await.expect("within the limit"));
    }
    let mut one_more = Box::pin(connection.open_bi());
    assert!(futures_util::poll!(one_more.as_mut()).is_pending());
    // Places are given back some at a time, to spare packets.
    for (mut send, mut receive) in streams.drain(..usize::from(allowed) / 2) {
        send.write_all(b"x").await.expect("it is open");
        send.finish().expect("it is open");
        assert_eq!(receive.read_to_end(10).await.expect("it answers"), b"x");
    }
    one_more.await.expect("places came back");
}

/// A killed node can't say goodbye. Started again with the same seed it tells clients at once that their connections are
/// gone; with another seed it doesn't know them, and they would wait for their idle timeout.
#[test]
fn a_restarted_node_ends_connections_of_its_former_life() {
    let identity = identity();
    let (socket, address) = bind();
    let first = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let guard = first.enter();
    first.spawn(echo(server(socket, &identity, 3)));
    drop(guard);
    let ours = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    ours.block_on(async {
        let client = client(&identity, ALPN_CLIENT, 3_600_000);
        let connection = client.connect(address, "localhost").expect("it begins").await.expect("it is served");
        assert_eq!(say(&connection, b"hello").await.expect("it is served"), b"hello");
        // The runtime's tasks are dropped where they stand; nothing is sent any more.
        first.shutdown_background();
        let socket = loop {
            match transport::bind(address, 1, 256 << 10) {
                Ok(mut sockets) => break sockets.pop().expect("one"),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        tokio::spawn(echo(server(socket, &identity, 3)));
        let ended = say(&connection, b"are you there?").await;
        assert!(matches!(ended, Err(ConnectionError::Reset)), "{ended:?}");
    });
}
