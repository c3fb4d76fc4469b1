//! One client's connection: hello, then its streams, each a task of its own, all within the connection's limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::hello::{STREAM_HELLO, STREAM_LANE, STREAM_SCAN, STREAM_SINGLE};
use outcrop_wire::limits::FORMAT_VERSION;
use outcrop_wire::reply::encode_error;
use outcrop_wire::{Code, Hello, NamespaceInfo, ReplyHeader, Verb, Welcome};

use super::frames::Frames;
use super::io::{CloseCode, Connection, Transmit, receive_exactly};
use super::large::LargeReplies;
use super::session::Session;
use super::{lane, scan, single};
use crate::telemetry::metrics::{Counter, Gauge};

/// Bytes of a hello, at most.
const HELLO_BYTES_MAX: usize = 512;
/// How long a new connection or stream may take to say what it is.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one connection, by kind.
#[derive(Debug, Default)]
struct Places {
    lanes: AtomicUsize,
    large: AtomicUsize,
    scans: AtomicUsize,
    greeted: AtomicBool,
}

/// One stream's place among those of its kind; given back when it is dropped.
struct Place(Arc<Places>, fn(&Places) -> &AtomicUsize);

impl Place {
    /// A place, if there is one.
    fn take(places: &Arc<Places>, kind: fn(&Places) -> &AtomicUsize, max: u16) -> Option<Self> {
        let place = Place(places.clone(), kind);
        (kind(places).fetch_add(1, Ordering::AcqRel) < usize::from(max)).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.1(&self.0).fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves a connection until it ends.
pub async fn serve<C: Connection>(session: Arc<Session>, connection: C, node_id: u64) {
    let places = Arc::new(Places::default());
    let large = LargeReplies::new(connection.clone());
    let hello_timeout = tokio::time::sleep(session.limits.hello_timeout);
    tokio::pin!(hello_timeout);
    loop {
        let (transmit, receive) = tokio::select! {
            stream = connection.accept() => match stream {
                Ok(stream) => stream,
                Err(_) => return,
            },
            () = &mut hello_timeout, if !places.greeted.load(Ordering::Acquire) => {
                return connection.close(CloseCode::Protocol, "no hello in time");
            }
        };
        let stream = Stream {
            session: session.clone(),
            connection: connection.clone(),
            large: large.clone(),
            places: places.clone(),
            node_id,
        };
        // The transport bounds the streams of a connection, and so these tasks.
        tokio::spawn(async move {
            let peer = stream.session.peer;
            if let Err(error) = stream.serve(transmit, receive).await {
                tracing::debug!(%peer, error, "a stream ended early");
            }
        });
    }
}

struct Stream<C> {
    session: Arc<Session>,
    connection: C,
    large: LargeReplies<C>,
    places: Arc<Places>,
    node_id: u64,
}

impl<C: Connection> Stream<C> {
    async fn serve(self, mut transmit: C::Transmit, mut receive: C::Receive) -> Result<(), String> {
        let first = tokio::time::timeout(FIRST_BYTE_TIMEOUT, receive_exactly(&mut receive)).await;
        let [kind] = first.map_err(|_| "it said nothing".to_owned())?.map_err(|error| error.to_string())?;
        let (places, limits) = (self.places.clone(), self.session.limits.clone());
        match kind {
            STREAM_HELLO => self.hello(transmit, receive).await,
            STREAM_LANE => {
                let Some(_place) = Place::take(&places, |places| &places.lanes, limits.lanes_max) else {
                    self.session.metrics.count(Counter::StreamsRefused);
                    transmit.reset(CloseCode::TooManyStreams);
                    return Err(format!("a connection has at most {} lanes", limits.lanes_max));
                };
                let _counted = self.session.metrics.hold(Gauge::Lanes, 1);
                lane::serve(self.session, self.large, receive, transmit).await
            }
            STREAM_SINGLE => {
                let Some(_place) = Place::take(&places, |places| &places.large, limits.large_streams_max) else {
                    return self.too_many(transmit, Verb::Info, "requests on streams of their own").await;
                };
                let _counted = self.session.metrics.hold(Gauge::LargeStreams, 1);
                single::serve(self.session, receive, transmit).await
            }
            STREAM_SCAN => {
                let Some(_place) = Place::take(&places, |places| &places.scans, limits.scans_max) else {
                    return self.too_many(transmit, Verb::Scan, "scans").await;
                };
                let _counted = self.session.metrics.hold(Gauge::Scans, 1);
                scan::serve(self.session, receive, transmit).await
            }
            other => {
                let message = format!("streams of kind {other} are unknown");
                self.connection.close(CloseCode::Protocol, &message);
                Err(message)
            }
        }
    }

    /// Refuses a stream that has a reply.
    async fn too_many(&self, mut transmit: C::Transmit, verb: Verb, what: &str) -> Result<(), String> {
        self.session.metrics.count(Counter::StreamsRefused);
        let mut out = Vec::with_capacity(128);
        let start = begin_frame(&mut out);
        let message = format!("this connection has as many {what} under way as it may have");
        encode_error(&ReplyHeader::new(0, verb, Code::TooManyStreams), &message, &mut out);
        end_frame(&mut out, start);
        transmit.transmit(Bytes::from(out)).await.map_err(|error| error.to_string())?;
        transmit.finish();
        transmit.delivered().await;
        Ok(())
    }

    async fn hello(&self, mut transmit: C::Transmit, receive: C::Receive) -> Result<(), String> {
        let mut frames = Frames::new(receive, HELLO_BYTES_MAX);
        let frame = loop {
            match frames.next_here().map_err(|error| error.to_string())? {
                Some(frame) => break frame,
                None if frames.more().await.map_err(|error| error.to_string())? => {}
                None => return Err("no hello".to_owned()),
            }
        };
        let hello = Hello::decode(&frame).map_err(|error| error.to_string())?;
        self.places.greeted.store(true, Ordering::Release);
        tracing::debug!(peer = %self.session.peer, agent = hello.agent, "a client said hello");
        let welcome = self.welcome();
        let mut out = Vec::with_capacity(256);
        let start = begin_frame(&mut out);
        welcome.encode(&mut out);
        end_frame(&mut out, start);
        transmit.transmit(Bytes::from(out)).await.map_err(|error| error.to_string())?;
        if hello.version != FORMAT_VERSION {
            let message = format!("this node speaks version {FORMAT_VERSION}, not {}", hello.version);
            self.connection.close(CloseCode::Version, &message);
            return Err(message);
        }
        // The stream stays open as long as the session; nothing more is said on it.
        while frames.more().await.unwrap_or(false) {
            if !matches!(frames.next_here(), Ok(None)) {
                self.connection.close(CloseCode::Protocol, "one hello is enough");
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
            lanes_max: self.session.limits.lanes_max,
            namespaces: namespaces.collect(),
            worker: Some(self.session.worker),
        }
    }
}
