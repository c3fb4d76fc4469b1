//! One connection: handshake, hello, the tasks of its lanes, and how it ends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{FrameSplitter, begin_frame, end_frame};
use outcrop_wire::hello::{
    CLOSE_DRAINING, CLOSE_PROTOCOL, CLOSE_TOO_MANY_CONNECTIONS, CLOSE_VERSION, STREAM_HELLO, STREAM_LANE,
    STREAM_LARGE_REPLY,
};
use outcrop_wire::limits::{FORMAT_VERSION, FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX};
use outcrop_wire::{Code, Hello, NamespaceId, Welcome};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::watch;

use super::lane::Lane;
use super::single::read_frame;
use super::spread::Seat;
use super::sweep::{self, SweepAlarm};
use super::{ConnectFailure, config};

/// A lane's stream.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// Bytes of a welcome: 32 namespaces with their names take under 2 KiB.
const WELCOME_BYTES_MAX: usize = 64 << 10;
/// How long a closing connection may take to hand its last packet to the kernel: the driver's next turn does it, unless
/// the socket's buffer is full.
const GOODBYE_MAX: Duration = Duration::from_millis(5);
/// Chunks taken from quinn in one go.
const CHUNKS: usize = 32;
/// A lane's buffer begins at least this large.
const BUFFER_BYTES_MIN: usize = 1 << 10;

/// What a connection says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes requests.
    Live,
    /// The node wants to end it: what is under way finishes, nothing new goes out.
    Retiring,
    /// It is gone.
    Closed,
}

/// One live connection with its lanes.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) welcome: Welcome,
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) alarm: Arc<SweepAlarm>,
    phase: watch::Sender<Phase>,
    closer: Closer,
    _seat: Option<Seat>,
}

/// A connection after its hello, before anything runs on it.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) welcome: Welcome,
    /// The hello's stream; its end is the end of the session.
    pub(crate) hello: (SendStream, RecvStream),
    /// Its place among the client's connections; none until the client keeps it.
    pub(crate) seat: Option<Seat>,
}

/// Connects to one socket address and says hello.
pub(crate) async fn open_session(
    remote: SocketAddr,
    host: &str,
    tls: &quinn::ClientConfig,
    agent: &str,
    patience: Duration,
) -> Result<Session, ConnectFailure> {
    let failure = |message: String, code| ConnectFailure { address: remote.to_string(), message, code };
    let opening = async {
        // It works on for its connection when this handle is gone.
        let endpoint = config::endpoint(remote).map_err(|error| failure(error.to_string(), None))?;
        let connecting =
            endpoint.connect_with(tls.clone(), remote, host).map_err(|error| failure(error.to_string(), None))?;
        let connection = connecting.await.map_err(|error| failure(explain(&error), code_of(&error)))?;
        match say_hello(&connection, agent).await {
            Ok((welcome, hello)) => Ok(Session { connection, welcome, hello, seat: None }),
            Err(message) => {
                let reason = connection.close_reason();
                connection.close(0_u32.into(), b"hello failed");
                let code = reason.as_ref().and_then(code_of);
                Err(failure(reason.as_ref().map_or(message, explain), code))
            }
        }
    };
    match tokio::time::timeout(patience, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(failure(format!("no answer within {} ms", patience.as_millis()), None)),
    }
}

async fn say_hello(connection: &Connection, agent: &str) -> Result<(Welcome, (SendStream, RecvStream)), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| text(&error))?;
    let mut out = vec![STREAM_HELLO];
    let start = begin_frame(&mut out);
    Hello::new(agent).encode(&mut out);
    end_frame(&mut out, start);
    send.write_chunk(Bytes::from(out)).await.map_err(|error| text(&error))?;
    let mut splitter = FrameSplitter::new(WELCOME_BYTES_MAX);
    let frame = read_frame(&mut recv, &mut splitter).await?.ok_or("the node ended the session's stream")?;
    let welcome = Welcome::decode(&frame).map_err(|error| format!("malformed welcome: {error}"))?;
    if welcome.version != FORMAT_VERSION {
        return Err(format!("the node speaks version {}, this client {FORMAT_VERSION}", welcome.version));
    }
    Ok((welcome, (send, recv)))
}

impl Link {
    /// Opens the lanes of a new connection and starts their tasks.
    pub(crate) async fn open(session: Session, lanes: usize) -> Result<Arc<Link>, ConnectFailure> {
        let Session { connection, welcome, hello, seat } = session;
        let count = lanes.min(welcome.lanes_max.into()).max(1);
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let opened = tokio::time::timeout(OPEN_MAX, open_lane(&connection)).await;
            streams.push(opened.unwrap_or(Err("no stream for a lane".to_owned())).map_err(|message| {
                connection.close(0_u32.into(), b"no lane");
                ConnectFailure { address: connection.remote_address().to_string(), message, code: None }
            })?);
        }
        let lanes: Vec<_> = (0..count).map(|number| Arc::new(Lane::new(number as u16))).collect();
        let alarm = Arc::new(SweepAlarm::default());
        let closer = Closer::new(connection.clone());
        let phase = watch::Sender::new(Phase::Live);
        let link = Arc::new(Link { closer, connection, welcome, lanes, alarm, phase, _seat: seat });
        link.start(streams, hello);
        Ok(link)
    }

    fn start(self: &Arc<Self>, streams: Vec<(SendStream, RecvStream)>, hello: (SendStream, RecvStream)) {
        for (lane, (send, recv)) in self.lanes.iter().zip(streams) {
            tokio::spawn(end_with(self.closer.clone(), write_lane(lane.clone(), send)));
            tokio::spawn(end_with(self.closer.clone(), read_lane(lane.clone(), recv)));
        }
        tokio::spawn(accept_large_replies(self.closer.clone(), self.lanes.clone()));
        let sweep = sweep::run(self.connection.clone(), self.lanes.clone(), self.alarm.clone());
        let closer = self.closer.clone();
        tokio::spawn(async move {
            if let Some(reason) = sweep.await {
                closer.close(reason);
            }
        });
        tokio::spawn(watch_session(self.clone(), hello));
    }

    /// The number of a namespace on this connection.
    pub(crate) fn namespace(&self, name: &str) -> Option<NamespaceId> {
        self.welcome.namespaces.iter().find(|namespace| namespace.name == name).map(|namespace| namespace.id)
    }

    /// Whether it takes requests.
    pub(crate) fn is_live(&self) -> bool {
        *self.phase.borrow() == Phase::Live
    }

    /// Waits until it takes no more requests.
    pub(crate) async fn over(&self) -> Phase {
        let mut phases = self.phase.subscribe();
        let phase = phases.wait_for(|phase| *phase != Phase::Live).await.map(|phase| *phase);
        phase.unwrap_or(Phase::Closed)
    }

    /// Takes no more requests: the node said that it shuts down.
    pub(crate) fn retire(&self) {
        self.phase.send_if_modified(|phase| {
            let live = *phase == Phase::Live;
            if live {
                *phase = Phase::Retiring;
            }
            live
        });
    }

    /// Lets what is under way finish, up to `most`, then closes.
    pub(crate) async fn finish(&self, most: Duration) {
        let finished = async {
            while self.lanes.iter().any(|lane| lane.under_way() > 0) && self.connection.close_reason().is_none() {
                tokio::time::sleep(super::SWEEP_PERIOD).await;
            }
        };
        // Either way the connection ends; what is still under way is told so.
        let _ = tokio::time::timeout(most, finished).await;
        say_goodbye(&self.connection, || self.close("closed by the client")).await;
    }

    /// Closes at once.
    pub(crate) fn close(&self, reason: &str) {
        self.closer.close(reason);
    }
}

/// Closes a connection with `close`, and waits until the packet that says so is on its way, a few milliseconds at most.
///
/// Not until the connection is forgotten: QUIC keeps a closed one for three probe timeouts (some 80 ms even here), to
/// repeat the packet if the node goes on sending. The runtime does that in the background if it lives on. Where the
/// process ends instead and the one packet is lost, the node keeps an idle connection until its idle timeout, and nobody
/// waits for it.
pub(crate) async fn say_goodbye(connection: &Connection, close: impl FnOnce()) {
    if connection.close_reason().is_some() {
        // It is over: nothing more is sent.
        return close();
    }
    close();
    // A closed connection sends its goodbye and nothing else, so one more datagram is that one. The counter and the
    // sending share the connection's lock: whoever sees it counted finds it handed over. If it left before this first
    // look, the wait takes all of its few milliseconds.
    let datagrams = || connection.stats().udp_tx.datagrams;
    let before = datagrams();
    let sent = async {
        // The first turn is the driver's, on the runtime of a command line; on others it is a matter of microseconds.
        tokio::task::yield_now().await;
        while datagrams() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // A socket that takes nothing for so long isn't waited for.
    let _ = tokio::time::timeout(GOODBYE_MAX, sent).await;
}

/// The node's reason in words, without quinn's decoration where it closed with one of our codes.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => match code_of(error) {
            Some(code) => format!("{}: {}", code.name(), String::from_utf8_lossy(&close.reason)),
            None => format!("closed by the node: {}", String::from_utf8_lossy(&close.reason)),
        },
        other => other.to_string(),
    }
}

/// The code with which the node closed the connection, as a request would be told it.
pub(crate) fn code_of(error: &ConnectionError) -> Option<Code> {
    let ConnectionError::ApplicationClosed(close) = error else { return None };
    match u32::try_from(close.error_code.into_inner()).ok()? {
        CLOSE_DRAINING => Some(Code::Draining),
        CLOSE_PROTOCOL => Some(Code::MalformedFrame),
        CLOSE_TOO_MANY_CONNECTIONS => Some(Code::Overloaded),
        CLOSE_VERSION => Some(Code::UnsupportedVersion),
        _ => None,
    }
}

async fn open_lane(connection: &Connection) -> Result<(SendStream, RecvStream), String> {
    let (mut send, recv) = connection.open_bi().await.map_err(|error| explain(&error))?;
    send.write_chunk(Bytes::from_static(&[STREAM_LANE])).await.map_err(|error| error.to_string())?;
    Ok((send, recv))
}

/// Closes a connection from this side, and remembers why: QUIC itself tells only that it was closed here.
#[derive(Debug, Clone)]
pub(crate) struct Closer {
    connection: Connection,
    reason: Arc<OnceLock<Arc<str>>>,
}

impl Closer {
    fn new(connection: Connection) -> Self {
        Closer { connection, reason: Arc::default() }
    }

    /// Closes; the first reason counts.
    pub(crate) fn close(&self, reason: &str) {
        let reason = self.reason.get_or_init(|| reason.into());
        self.connection.close(0_u32.into(), reason.as_bytes());
    }

    /// Why the connection ended, in words.
    fn explain(&self, error: &ConnectionError) -> Arc<str> {
        match (error, self.reason.get()) {
            (ConnectionError::LocallyClosed, Some(reason)) => reason.clone(),
            _ => explain(error).into(),
        }
    }
}

/// A lane without its reader or writer is no use: the end of either ends the connection, with the reason.
async fn end_with(closer: Closer, task: impl Future<Output = Result<(), String>>) {
    let reason = task.await.err().unwrap_or_else(|| "the node ended a lane".to_owned());
    closer.close(&reason);
}

async fn write_lane(lane: Arc<Lane>, mut send: SendStream) -> Result<(), String> {
    let mut spare = Vec::with_capacity(BUFFER_BYTES_MIN);
    let mut usual = BUFFER_BYTES_MIN;
    while let Some(frames) = poll_fn(|context| lane.poll_take(context, &mut spare)).await {
        // As large as batches have been of late, so that the buffer seldom grows under the lock.
        usual = (usual - usual / 8 + frames.len() / 8).max(frames.len().min(16 * BUFFER_BYTES_MIN));
        send.write_chunk(Bytes::from(frames)).await.map_err(|error| error.to_string())?;
        spare = Vec::with_capacity(usual.max(BUFFER_BYTES_MIN));
    }
    Ok(())
}

async fn read_lane(lane: Arc<Lane>, mut recv: RecvStream) -> Result<(), String> {
    let mut splitter = FrameSplitter::new(LANE_FRAME_BYTES_MAX);
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let (mut replies, mut wakers): (Vec<Bytes>, Vec<Waker>) = (Vec::new(), Vec::new());
    while let Some(count) = recv.read_chunks(&mut chunks).await.map_err(|error| error.to_string())? {
        for chunk in &mut chunks[..count] {
            splitter.feed(std::mem::take(chunk));
            while let Some(reply) = splitter.next_frame().map_err(|error| error.to_string())? {
                replies.push(reply);
            }
        }
        let completed = lane.complete(&mut replies, &mut wakers);
        wakers.drain(..).for_each(Waker::wake);
        completed.map_err(|lost| lost.to_string())?;
    }
    splitter.finish().map_err(|error| error.to_string())
}

async fn accept_large_replies(closer: Closer, lanes: Vec<Arc<Lane>>) {
    // Bounded by the transport's limit of streams that the node may open.
    while let Ok(recv) = closer.connection.accept_uni().await {
        let (closer, lanes) = (closer.clone(), lanes.clone());
        tokio::spawn(async move {
            if let Err(reason) = read_large_reply(recv, &lanes).await {
                closer.close(&reason);
            }
        });
    }
}

/// Reads the one reply of a stream that the node opened.
pub(crate) async fn read_large_frame(mut recv: RecvStream) -> Result<Bytes, String> {
    let mut kind = [0_u8; 1];
    recv.read_exact(&mut kind).await.map_err(|error| error.to_string())?;
    if kind[0] != STREAM_LARGE_REPLY {
        return Err(format!("the node opened a stream of kind {}", kind[0]));
    }
    let mut splitter = FrameSplitter::new(FRAME_BYTES_MAX);
    read_frame(&mut recv, &mut splitter).await?.ok_or_else(|| "a large reply's stream is empty".to_owned())
}

async fn read_large_reply(recv: RecvStream, lanes: &[Arc<Lane>]) -> Result<(), String> {
    let reply = read_large_frame(recv).await?;
    let request_id = reply.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let lane = request_id.and_then(|id| lanes.get(Lane::of_request(id)));
    let lane = lane.ok_or_else(|| format!("a large reply to a request that is not under way: {request_id:?}"))?;
    let mut wakers = Vec::new();
    let completed = lane.complete(&mut vec![reply], &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    completed.map_err(|lost| lost.to_string())
}

/// Tells when the node ends the session, and when the connection ends.
async fn watch_session(link: Arc<Link>, (_send, mut hello): (SendStream, RecvStream)) {
    let ended = async {
        // The node says nothing more on this stream; whatever comes is passed over until the end.
        let mut passed = [0_u8; 64];
        while let Ok(Some(_)) = hello.read(&mut passed).await {}
    };
    let error = tokio::select! {
        () = ended => {
            link.retire();
            link.connection.closed().await
        }
        error = link.connection.closed() => error,
    };
    link.phase.send_replace(Phase::Closed);
    let reason = link.closer.explain(&error);
    for lane in &link.lanes {
        lane.close(&reason);
    }
}
