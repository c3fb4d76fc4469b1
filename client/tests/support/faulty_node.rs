//! A node that misbehaves on command, over real QUIC, with a map in memory for records.
//!
//! Faults that it can inject, each into the next request that it takes:
//! - the reply is never sent; it comes late; it comes in another order than the requests
//! - the request is refused with any code, without being carried out
//! - the connection is closed before the request is carried out, or after it and before the reply
//! - the reply is a frame that can't be, has a code that nobody knows, or is one to a request that nobody sent
//! - the reply comes on a stream of its own
//!
//! And at any time: the sessions are ended, all connections are closed.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outcrop_client::{Client, ClientBuilder, Trust};
use outcrop_wire::frame::{FrameSplitter, begin_frame, end_frame};
use outcrop_wire::hello::{ALPN_CLIENT, STREAM_HELLO, STREAM_LANE, STREAM_LARGE_REPLY, STREAM_SCAN, STREAM_SINGLE};
use outcrop_wire::limits::{FORMAT_VERSION, FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX, LANES_MAX};
use outcrop_wire::reply::{SCAN_END, SCAN_MORE, encode_error};
use outcrop_wire::request::{decode_request, peek_request_id};
use outcrop_wire::{
    Code, Cursor, Digest, Hello, KeyRef, NamespaceId, NamespaceInfo, ReplyHeader, RequestBody, RequestHeader,
    StoredHeader, Verb, Welcome,
};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, RecvStream, SendStream};
use std::sync::Mutex;
use tokio::sync::mpsc;

use super::functions::{self, Installed};

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// Carried out, never answered.
    DropReply,
    /// Carried out, answered after this.
    Late(Duration),
    /// Not carried out.
    Refuse(Code),
    /// Refused for want of memory before it was read, so without its number; on a stream of its own only.
    Unread,
    /// The connection closes; not carried out.
    CloseBefore,
    /// Carried out; the connection closes with no reply.
    CloseAfter,
    /// A reply with a length over every limit.
    Garbage,
    /// Carried out, answered with a code from the future.
    UnknownCode,
    /// A reply to an id that isn't under way.
    WrongId,
    /// Carried out, answered on a stream of its own.
    OnOwnStream,
}

#[derive(Debug, Default)]
struct World {
    records: HashMap<(u16, Digest), Bytes>,
    faults: VecDeque<Fault>,
    /// Every request taken, by verb.
    taken: Vec<Verb>,
    deadlines_ms: Vec<u32>,
    traced: Vec<Option<outcrop_wire::TraceContext>>,
    connections: Vec<Connection>,
    hellos: Vec<SendStream>,
    /// How many replies are held back and sent in reverse; 0: none.
    reverse: usize,
    scan_parts: usize,
    installed: Installed,
}

/// The node.
pub struct FaultyNode {
    pub addr: SocketAddr,
    pub pem: String,
    endpoint: quinn::Endpoint,
    world: Arc<Mutex<World>>,
    under_way: Arc<AtomicUsize>,
    pub under_way_max: Arc<AtomicUsize>,
}

impl FaultyNode {
    pub fn start() -> Self {
        let made =
            rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).expect("certificate");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("certificate and key fit");
        tls.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).expect("a suite for QUIC");
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().expect("address")).expect("socket");
        let node = FaultyNode {
            addr: endpoint.local_addr().expect("bound"),
            pem: made.cert.pem(),
            endpoint: endpoint.clone(),
            world: Arc::default(),
            under_way: Arc::default(),
            under_way_max: Arc::default(),
        };
        let (world, under_way, most) = (node.world.clone(), node.under_way.clone(), node.under_way_max.clone());
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let server = Server { world: world.clone(), under_way: under_way.clone(), most: most.clone() };
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        server.connection(connection).await;
                    }
                });
            }
        });
        node
    }

    pub fn builder(&self) -> ClientBuilder {
        // Patient, so that a busy machine isn't taken for a fault.
        Client::builder(&format!("outcrop://{}", self.addr))
            .trust(Trust::Pem(self.pem.clone()))
            .connections(1)
            .lanes(1)
            .deadline(Duration::from_secs(30))
    }

    pub async fn client(&self) -> Client {
        self.builder().connect().await.expect("connects")
    }

    /// What goes wrong with the next requests, one each.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// Holds replies back until there are this many, then sends them in reverse.
    pub fn reverse(&self, count: usize) {
        self.lock().reverse = count;
    }

    pub fn taken(&self, verb: Verb) -> usize {
        self.lock().taken.iter().filter(|taken| **taken == verb).count()
    }

    pub fn deadlines_ms(&self) -> Vec<u32> {
        self.lock().deadlines_ms.clone()
    }

    pub fn traced(&self) -> Vec<Option<outcrop_wire::TraceContext>> {
        self.lock().traced.clone()
    }

    /// Connections ever made.
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// How the first connection ended; waits for it.
    pub async fn first_ended(&self) -> quinn::ConnectionError {
        let first = self.lock().connections[0].clone();
        first.closed().await
    }

    /// Parts that scans have been given so far.
    pub fn scan_parts(&self) -> usize {
        self.lock().scan_parts
    }

    /// Queries whose stream was stopped before their end.
    pub fn stopped(&self) -> Arc<AtomicUsize> {
        self.lock().installed.stopped.clone()
    }

    /// What the node remembers of modules and jobs.
    pub fn with_installed<T>(&self, look: impl FnOnce(&mut Installed) -> T) -> T {
        look(&mut self.lock().installed)
    }

    /// Closes every connection, as a node does that refuses to go on.
    pub fn close_all(&self, code: u32, reason: &str) {
        for connection in &self.lock().connections {
            connection.close(code.into(), reason.as_bytes());
        }
    }

    /// Ends every session politely: what is under way finishes, new requests should go elsewhere.
    pub fn end_sessions(&self) {
        for mut hello in self.lock().hellos.drain(..) {
            hello.finish().expect("still open");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("no test panics with it")
    }
}

impl Drop for FaultyNode {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"test over");
    }
}

#[derive(Clone)]
struct Server {
    world: Arc<Mutex<World>>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Server {
    fn lock(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("no test panics with it")
    }

    async fn connection(self, connection: Connection) {
        self.lock().connections.push(connection.clone());
        while let Ok((send, mut recv)) = connection.accept_bi().await {
            let mut kind = [0];
            if recv.read_exact(&mut kind).await.is_err() {
                continue;
            }
            let (server, connection) = (self.clone(), connection.clone());
            tokio::spawn(async move {
                match kind[0] {
                    STREAM_HELLO => server.hello(send, recv).await,
                    STREAM_LANE => server.lane(connection, send, recv, LANE_FRAME_BYTES_MAX).await,
                    STREAM_SINGLE => server.lane(connection, send, recv, FRAME_BYTES_MAX).await,
                    STREAM_SCAN => server.scan(connection, send, recv).await,
                    other => panic!("stream kind {other}"),
                }
            });
        }
    }

    async fn hello(self, mut send: SendStream, mut recv: RecvStream) {
        let mut splitter = FrameSplitter::new(1_024);
        let Some(frame) = next_frame(&mut recv, &mut splitter).await else { return };
        assert_eq!(Hello::decode(&frame).expect("a hello").version, FORMAT_VERSION);
        let mut out = Vec::new();
        let start = begin_frame(&mut out);
        let namespaces = vec![NamespaceInfo { id: NamespaceId(3), name: "test".to_owned(), record_bytes_max: 4 << 20 }];
        Welcome { version: FORMAT_VERSION, node_id: 7, lanes_max: LANES_MAX as u16, namespaces, worker: None }
            .encode(&mut out);
        end_frame(&mut out, start);
        send.write_all(&out).await.expect("welcome");
        self.lock().hellos.push(send);
    }

    async fn lane(self, connection: Connection, mut send: SendStream, mut recv: RecvStream, limit: usize) {
        let (replies, mut ready) = mpsc::channel::<Vec<u8>>(4_096);
        let reversing = self.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(reply) = ready.recv().await {
                held.push(reply);
                let reverse = reversing.lock().reverse;
                if held.len() >= reverse {
                    for reply in held.drain(..).rev() {
                        if send.write_all(&reply).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        let mut splitter = FrameSplitter::new(limit);
        while let Some(frame) = next_frame(&mut recv, &mut splitter).await {
            let server = self.clone();
            let fault = server.lock().faults.pop_front().unwrap_or(Fault::None);
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let (connection, replies) = (connection.clone(), replies.clone());
            tokio::spawn(async move {
                server.serve(frame, fault, connection, replies).await;
                server.under_way.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    async fn serve(&self, frame: Bytes, fault: Fault, connection: Connection, replies: mpsc::Sender<Vec<u8>>) {
        let (header, body) = decode_request(&frame).expect("a client's request is well formed");
        {
            let mut world = self.lock();
            world.taken.push(header.verb);
            world.deadlines_ms.push(header.deadline_ms);
            world.traced.push(header.trace);
        }
        match fault {
            Fault::CloseBefore => return connection.close(0_u32.into(), b"fault"),
            Fault::Refuse(_) | Fault::Unread => {
                let told = match fault {
                    Fault::Refuse(code) => ReplyHeader::new(header.request_id, header.verb, code),
                    _ => ReplyHeader::new(0, Verb::Info, Code::Overloaded),
                };
                let mut out = Vec::new();
                let start = begin_frame(&mut out);
                encode_error(&told, "told to", &mut out);
                end_frame(&mut out, start);
                let _ = replies.send(out).await;
                return;
            }
            _ => {}
        }
        let mut reply = Vec::new();
        let start = begin_frame(&mut reply);
        self.carry_out(&header, &body, &mut reply);
        end_frame(&mut reply, start);
        match fault {
            Fault::DropReply => return,
            Fault::CloseAfter => return connection.close(0_u32.into(), b"fault"),
            Fault::Late(pause) => tokio::time::sleep(pause).await,
            Fault::Garbage => reply = vec![255; 64],
            Fault::UnknownCode => reply[start + 8..start + 10].copy_from_slice(&60_000_u16.to_le_bytes()),
            Fault::WrongId => {
                let wrong = peek_request_id(&frame).expect("decoded above") + 900;
                reply[start + 4..start + 8].copy_from_slice(&wrong.to_le_bytes());
            }
            Fault::OnOwnStream => {
                let mut uni = connection.open_uni().await.expect("the client allows it");
                uni.write_all(&[STREAM_LARGE_REPLY]).await.expect("kind");
                uni.write_all(&reply).await.expect("reply");
                uni.finish().expect("still open");
                return;
            }
            Fault::None | Fault::CloseBefore | Fault::Refuse(_) | Fault::Unread => {}
        }
        let _ = replies.send(reply).await;
    }

    fn carry_out(&self, header: &RequestHeader, body: &RequestBody<'_>, out: &mut Vec<u8>) {
        let mut world = self.lock();
        let mut reply = ReplyHeader::new(header.request_id, header.verb, Code::Ok);
        if let RequestBody::Batch { items } = body {
            reply.encode(out);
            out.extend_from_slice(&(items.len() as u16).to_le_bytes());
            drop(world);
            for item in items {
                let start = begin_frame(out);
                let header = RequestHeader { verb: item.body.verb(), namespace: item.namespace, ..*header };
                self.carry_out(&header, &item.body, out);
                end_frame(out, start);
            }
            return;
        }
        let name = |key: &KeyRef<'_>| (header.namespace.0, key.digest());
        match body {
            RequestBody::Get { key, .. } => match world.records.get(&name(key)) {
                Some(stored) => {
                    reply.encode(out);
                    out.extend_from_slice(stored);
                }
                None => encode_error(&ReplyHeader { code: Code::NotFound, ..reply }, "", out),
            },
            RequestBody::Put { key, archive, if_generation, .. } => {
                let old = world.records.get(&name(key)).map_or(0, |stored| generation(stored));
                if if_generation.is_some_and(|wanted| wanted != old) {
                    return encode_error(&ReplyHeader { code: Code::GenerationMismatch, ..reply }, "other", out);
                }
                reply.generation = old + 1;
                let header = StoredHeader { generation: old + 1, digest: key.digest(), ..StoredHeader::default() };
                let mut stored = Vec::new();
                header.encode(*key, archive.len(), &mut stored);
                stored.extend_from_slice(archive);
                world.records.insert(name(key), stored.into());
                reply.encode(out);
                out.extend_from_slice(&0_u32.to_le_bytes());
            }
            RequestBody::Delete { key, .. } => match world.records.remove(&name(key)) {
                Some(_) => {
                    reply.encode(out);
                    out.extend_from_slice(&0_u32.to_le_bytes());
                }
                None => encode_error(&ReplyHeader { code: Code::NotFound, ..reply }, "", out),
            },
            other => functions::carry_out(&mut world.installed, reply, other, out),
        }
    }

    /// Gives every record, one a part; a fault hits one part. Its cursor counts in the order of digests.
    async fn scan(self, connection: Connection, mut send: SendStream, mut recv: RecvStream) {
        let mut splitter = FrameSplitter::new(64 << 10);
        let Some(frame) = next_frame(&mut recv, &mut splitter).await else { return };
        let (header, body) = decode_request(&frame).expect("well formed");
        let scan = match body {
            RequestBody::Scan(scan) => scan,
            other => return self.query(header.request_id, &other, connection, send).await,
        };
        let mut records: Vec<(Digest, Bytes)> =
            self.lock().records.iter().map(|((_, digest), stored)| (*digest, stored.clone())).collect();
        records.sort();
        let begin = scan.cursor.map_or(0, |cursor| cursor.position_lsn as usize);
        let limit = if scan.limit == 0 { usize::MAX } else { scan.limit as usize };
        for place in begin..=records.len() {
            let last = place - begin + 1 >= limit;
            let fault = self.lock().faults.pop_front().unwrap_or(Fault::None);
            if matches!(fault, Fault::CloseBefore) {
                return connection.close(0_u32.into(), b"fault");
            }
            let mut out = Vec::new();
            let start = begin_frame(&mut out);
            ReplyHeader::new(header.request_id, Verb::Scan, Code::Ok).encode(&mut out);
            let record = records.get(place);
            out.push(if record.is_some() && !last { SCAN_MORE } else { SCAN_END });
            let position = (place + 1).min(records.len()) as u64;
            Cursor { log_id: 1, start_lsn: 0, position_lsn: position, emitted: position }.encode(&mut out);
            out.extend_from_slice(&u32::from(record.is_some()).to_le_bytes());
            if let Some((_, stored)) = record {
                out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
                out.extend_from_slice(stored);
            }
            end_frame(&mut out, start);
            if send.write_all(&out).await.is_err() {
                return;
            }
            self.lock().scan_parts += 1;
            if last {
                break;
            }
        }
        let _ = send.finish();
    }
}

impl Server {
    /// A query by a function; a fault hits one part of a row query.
    async fn query(self, id: u32, body: &RequestBody<'_>, connection: Connection, mut send: SendStream) {
        self.lock().taken.push(body.verb());
        let asked = match body {
            RequestBody::Aggregate(asked) => {
                let stopped = self.lock().installed.stopped.clone();
                return functions::aggregate(stopped, id, asked, send).await;
            }
            RequestBody::Rows(asked) => asked,
            other => panic!("{:?} isn't for a stream of its own", other.verb()),
        };
        for part in functions::row_parts(id, asked) {
            let fault = self.lock().faults.pop_front().unwrap_or(Fault::None);
            if matches!(fault, Fault::CloseBefore) {
                return connection.close(0_u32.into(), b"fault");
            }
            if send.write_all(&part).await.is_err() {
                return;
            }
        }
        let _ = send.finish();
    }
}

fn generation(stored: &[u8]) -> u32 {
    outcrop_wire::StoredRecord::parse(stored).expect("stored by this node").header.generation
}

async fn next_frame(recv: &mut RecvStream, splitter: &mut FrameSplitter) -> Option<Bytes> {
    loop {
        if let Some(frame) = splitter.next_frame().expect("a client's frame is within the limits") {
            return Some(frame);
        }
        splitter.feed(recv.read_chunk(usize::MAX, true).await.ok()??.bytes);
    }
}
