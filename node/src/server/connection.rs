//! One client's connection: hello, then its streams, each a task of its own, all within the connection's limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::hello::{STREAM_HELLO, STREAM_LANE, STREAM_SCAN, STREAM_SINGLE};
use outcrop_wire::limits::{FORMAT_VERSION, LANES_MAX};
use outcrop_wire::{Hello, NamespaceInfo, Welcome};

use super::large::LargeReplies;
use super::session::Session;
use super::{lane, scan, single};
use crate::telemetry::metrics::Gauge;

/// Bytes of a hello, at most.
const HELLO_BYTES_MAX: usize = 512;
/// How long a new connection or stream may take to say what it is.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the node closes a connection; the code of the CONNECTION_CLOSE frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// The node is shutting down.
    Draining = 1,
    /// The peer broke the protocol.
    Protocol = 2,
    /// The node has as many connections as it may have.
    TooManyConnections = 3,
    /// The peer's version isn't spoken here.
    Version = 4,
}

impl CloseCode {
    /// For quinn.
    pub fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }
}

/// Serves a connection until it ends.
pub async fn serve(session: Arc<Session>, connection: quinn::Connection, node_id: u64) {
    let lanes = Arc::new(AtomicUsize::new(0));
    let large = LargeReplies::new(connection.clone());
    while let Ok((transmit, receive)) = connection.accept_bi().await {
        let stream = Stream {
            session: session.clone(),
            connection: connection.clone(),
            large: large.clone(),
            lanes: lanes.clone(),
            node_id,
        };
        // quinn bounds the streams of a connection, and so these tasks.
        tokio::spawn(async move {
            let peer = stream.session.peer;
            if let Err(error) = stream.serve(transmit, receive).await {
                tracing::debug!(%peer, error, "a stream ended early");
            }
        });
    }
}

struct Stream {
    session: Arc<Session>,
    connection: quinn::Connection,
    large: LargeReplies,
    lanes: Arc<AtomicUsize>,
    node_id: u64,
}

/// Gives a lane's place back.
struct LanePlace(Arc<AtomicUsize>);

impl Drop for LanePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Stream {
    async fn serve(self, mut transmit: quinn::SendStream, mut receive: quinn::RecvStream) -> Result<(), String> {
        let mut kind = [0; 1];
        let first = tokio::time::timeout(FIRST_BYTE_TIMEOUT, receive.read_exact(&mut kind)).await;
        first.map_err(|_| "it said nothing".to_owned())?.map_err(|error| error.to_string())?;
        match kind[0] {
            STREAM_HELLO => self.hello(transmit, receive).await,
            STREAM_LANE => {
                let place = LanePlace(self.lanes.clone());
                if self.lanes.fetch_add(1, Ordering::AcqRel) >= LANES_MAX {
                    // Fails only if the stream is over already.
                    let _ = transmit.reset(CloseCode::Protocol.code());
                    return Err(format!("a connection has at most {LANES_MAX} lanes"));
                }
                let _counted = self.session.metrics.hold(Gauge::Lanes, 1);
                let served = lane::serve(self.session, self.large, receive, transmit).await;
                drop(place);
                served
            }
            STREAM_SINGLE => {
                let _counted = self.session.metrics.hold(Gauge::LargeStreams, 1);
                single::serve(self.session, receive, transmit).await
            }
            STREAM_SCAN => {
                let _counted = self.session.metrics.hold(Gauge::Scans, 1);
                scan::serve(self.session, receive, transmit).await
            }
            other => {
                let message = format!("streams of kind {other} are unknown");
                self.connection.close(CloseCode::Protocol.code(), message.as_bytes());
                Err(message)
            }
        }
    }

    async fn hello(&self, mut transmit: quinn::SendStream, receive: quinn::RecvStream) -> Result<(), String> {
        let mut frames = super::frames::Frames::new(receive, HELLO_BYTES_MAX);
        let frame = loop {
            match frames.next_here().map_err(|error| error.to_string())? {
                Some(frame) => break frame,
                None if frames.more().await.map_err(|error| error.to_string())? => {}
                None => return Err("no hello".to_owned()),
            }
        };
        let hello = Hello::decode(&frame).map_err(|error| error.to_string())?;
        tracing::debug!(peer = %self.session.peer, agent = hello.agent, "a client said hello");
        let welcome = self.welcome();
        let mut out = Vec::with_capacity(256);
        let start = begin_frame(&mut out);
        welcome.encode(&mut out);
        end_frame(&mut out, start);
        transmit.write_chunk(Bytes::from(out)).await.map_err(|error| error.to_string())?;
        if hello.version != FORMAT_VERSION {
            let message = format!("this node speaks version {FORMAT_VERSION}, not {}", hello.version);
            self.connection.close(CloseCode::Version.code(), message.as_bytes());
            return Err(message);
        }
        // The stream stays open as long as the session; nothing more is said on it.
        while frames.more().await.unwrap_or(false) {
            if !matches!(frames.next_here(), Ok(None)) {
                self.connection.close(CloseCode::Protocol.code(), b"one hello is enough");
                return Err("a second hello".to_owned());
            }
        }
        Ok(())
    }

    fn welcome(&self) -> Welcome {
        let namespaces = self.session.context.namespaces.iter().map(|namespace| NamespaceInfo {
            id: namespace.id,
            name: namespace.policy.name.clone(),
            record_bytes_max: namespace.policy.record_bytes_max as u32,
        });
        Welcome {
            version: FORMAT_VERSION,
            node_id: self.node_id,
            lanes_max: LANES_MAX as u16,
            namespaces: namespaces.collect(),
        }
    }
}
