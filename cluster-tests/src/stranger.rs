//! A client that doesn't keep the rules: raw QUIC connections and streams, to be silent, slow, greedy or lying on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outcrop_wire::hello::{ALPN_CLIENT, Hello, STREAM_HELLO, STREAM_LANE};
use outcrop_wire::{frame, hello};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::Settings;

/// Beyond this a step that should be answered is taken for unanswered.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a step of a stranger fails with, in words.
pub type Outcome<T> = Result<T, String>;

/// A socket from which strangers connect.
pub struct Stranger {
    endpoint: Endpoint,
    address: SocketAddr,
}

impl Stranger {
    /// A stranger who knows where the node is and trusts its certificate.
    ///
    /// # Panics
    /// If this machine has no socket for it.
    pub fn new(settings: &Settings) -> Stranger {
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        endpoint.set_default_client_config(client_config(&settings.folder().join("cert.pem")));
        Stranger { endpoint, address: ([127, 0, 0, 1], settings.data_port).into() }
    }

    /// A connection that says nothing yet.
    pub async fn connect(&self) -> Outcome<Connection> {
        let connecting = self.endpoint.connect(self.address, "localhost").map_err(|error| error.to_string())?;
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        connected.map_err(|_| "no answer to the handshake".to_owned())?.map_err(|error| error.to_string())
    }

    /// A connection whose session has begun, and the session's stream, which must be kept.
    pub async fn session(&self) -> Outcome<(Connection, SendStream, RecvStream)> {
        let connection = self.connect().await?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let mut bytes = vec![STREAM_HELLO];
        let start = frame::begin_frame(&mut bytes);
        Hello::new("stranger").encode(&mut bytes);
        frame::end_frame(&mut bytes, start);
        send.write_all(&bytes).await.map_err(|error| error.to_string())?;
        let welcome = read_frame(&mut receive).await?;
        hello::Welcome::decode(&welcome).map_err(|error| error.to_string())?;
        Ok((connection, send, receive))
    }
}

/// Opens a stream of some kind and writes bytes to it.
pub async fn open(connection: &Connection, kind: u8, bytes: &[u8]) -> Outcome<(SendStream, RecvStream)> {
    let opened = tokio::time::timeout(PATIENCE, connection.open_bi()).await;
    let (mut send, receive) =
        opened.map_err(|_| "no room for a stream".to_owned())?.map_err(|error| error.to_string())?;
    send.write_all(&[kind]).await.map_err(|error| error.to_string())?;
    send.write_all(bytes).await.map_err(|error| error.to_string())?;
    Ok((send, receive))
}

/// Opens a lane and writes bytes to it.
pub async fn lane(connection: &Connection, bytes: &[u8]) -> Outcome<(SendStream, RecvStream)> {
    open(connection, STREAM_LANE, bytes).await
}

/// Reads one frame.
pub async fn read_frame(receive: &mut RecvStream) -> Outcome<Vec<u8>> {
    let read = async {
        let mut len = [0; 4];
        receive.read_exact(&mut len).await.map_err(|error| error.to_string())?;
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        receive.read_exact(&mut bytes).await.map_err(|error| error.to_string())?;
        Ok(bytes)
    };
    tokio::time::timeout(PATIENCE, read).await.map_err(|_| "no frame came".to_owned())?
}

/// Waits until the node ends a stream or the whole connection, whatever it says before.
pub async fn ended(connection: &Connection, receive: &mut RecvStream) -> Outcome<()> {
    let drained = async {
        loop {
            match receive.read_chunk(64 << 10, true).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    };
    let either = async {
        tokio::select! {
            () = drained => {}
            _ = connection.closed() => {}
        }
    };
    tokio::time::timeout(PATIENCE, either).await.map_err(|_| "neither the stream nor the connection ended".to_owned())
}

fn client_config(certificate: &Path) -> ClientConfig {
    let certificate = CertificateDer::from_pem_file(certificate).expect("the test's own certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("the test's own certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    let mut config =
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("the suites of QUIC are there")));
    let mut transport = TransportConfig::default();
    // A greedy stranger lets the node send as much as it likes and reads none of it.
    transport.stream_receive_window((256_u32 << 20).into()).receive_window((1_u32 << 30).into());
    transport.keep_alive_interval(Some(Duration::from_secs(5)));
    config.transport_config(Arc::new(transport));
    config
}
