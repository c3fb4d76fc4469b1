//! A client of a real node without any of the client's manners: streams and frames as bytes.

use std::sync::Arc;

use outcrop_node::Node;
use outcrop_node::config::Config;
use outcrop_wire::frame::FrameSplitter;
use outcrop_wire::hello::{ALPN_CLIENT, STREAM_HELLO};
use outcrop_wire::limits::FRAME_BYTES_MAX;
use outcrop_wire::{Hello, Reply};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Answer;

/// A node on a file that goes with `directory`.
pub async fn start(directory: &std::path::Path) -> Node {
    let mut config = Config::dev(Some(directory), "test");
    config.listen.data.set_port(0);
    config.listen.admin = None;
    config.node.workers = 1;
    for namespace in &mut config.namespaces {
        namespace.size_bytes = 128 << 20;
    }
    Node::start(config).await.expect("a node")
}

/// A connection; the endpoint has to live as long.
pub async fn connect(node: &Node) -> (Endpoint, Connection) {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(node.certificate_pem().as_bytes()).expect("PEM");
    roots.add(certificate).expect("a certificate that can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
    let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
    endpoint.set_default_client_config(config);
    let connecting = endpoint.connect(node.data_addr(), "localhost").expect("an address");
    let connection = connecting.await.expect("the node is up");
    (endpoint, connection)
}

/// A frame with its length in front.
pub fn framed(content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes
}

/// Opens a stream of a kind with these bytes behind the kind's.
pub async fn open(connection: &Connection, kind: u8, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, receive) = connection.open_bi().await.expect("within the limits");
    send.write_all(&[kind]).await.expect("open");
    send.write_all(bytes).await.expect("open");
    (send, receive)
}

/// Says hello; the stream has to live as long as the session.
pub async fn hello(connection: &Connection, version: u8) -> (SendStream, RecvStream) {
    let mut content = Vec::new();
    Hello { version, agent: "a test".to_owned() }.encode(&mut content);
    open(connection, STREAM_HELLO, &framed(&content)).await
}

/// The next frame of a stream whose frames have at most so many bytes.
pub async fn next_frame(receive: &mut RecvStream, splitter: &mut FrameSplitter) -> Vec<u8> {
    loop {
        if let Some(frame) = splitter.next_frame().expect("within the limit") {
            return frame.to_vec();
        }
        let chunk = receive.read_chunk(usize::MAX, true).await.expect("the stream lives").expect("a frame comes first");
        splitter.feed(chunk.bytes);
    }
}

/// The one reply of a stream of its own.
pub async fn reply(receive: &mut RecvStream) -> Answer {
    answer(&next_frame(receive, &mut FrameSplitter::new(FRAME_BYTES_MAX)).await)
}

pub fn answer(content: &[u8]) -> Answer {
    let reply = Reply::parse(content).expect("a reply");
    Answer { header: reply.header, body: reply.body.to_vec() }
}
