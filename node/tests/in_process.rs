//! Whole connections without QUIC, sockets or real time: the server's rooms over the transport in memory, with the
//! namespace on a memory device and a clock that stands still.

#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_node::options::LimitOptions;
use outcrop_node::server::busy_poll::PollPlace;
use outcrop_node::server::connection;
use outcrop_node::server::frames::Frames;
use outcrop_node::server::io::{Receive, Transmit, receive_exactly};
use outcrop_node::server::memory::{MemoryConnection, MemoryOptions, MemoryReceive, MemoryTransmit, connect};
use outcrop_node::server::session::Session;
use outcrop_node::telemetry::metrics::{Counter, Gauge};
use outcrop_node::telemetry::{Metrics, Tracing};
use outcrop_wire::archive::archive_bins;
use outcrop_wire::hello::{
    CLOSE_PROTOCOL, STREAM_HELLO, STREAM_LANE, STREAM_LARGE_REPLY, STREAM_SCAN, STREAM_SINGLE, Welcome,
};
use outcrop_wire::limits::FRAME_BYTES_MAX;
use outcrop_wire::reply::ScanPart;
use outcrop_wire::request::{ScanRequest, encode_request};
use outcrop_wire::{
    BinSelection, Bins, Code, Hello, KeyRef, NamespaceId, PutMode, Reply, RequestBody, RequestHeader, Ttl, WorkerPlace,
};
use support::request::{got, key, payload};
use support::{Answer, Rig, Settings};
use tokio::task::JoinHandle;

/// Segments that hold a record of a megabyte.
async fn rig() -> Rig {
    Rig::new(Settings { segments: 12, segment_bytes: 2 << 20, ..Settings::new() }).await
}

/// Narrow enough that every request of these tests is cut and waits for room; and wide.
fn transports() -> [MemoryOptions; 3] {
    [
        MemoryOptions { window_bytes: 61, piece_bytes: 7, ..MemoryOptions::default() },
        MemoryOptions { window_bytes: 4_096, piece_bytes: 1, ..MemoryOptions::default() },
        MemoryOptions::default(),
    ]
}

struct Caller {
    connection: MemoryConnection,
    serving: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

type Stream = (MemoryTransmit, Frames<MemoryReceive>);

impl Caller {
    fn new(rig: &Rig, options: &MemoryOptions, limits: LimitOptions) -> Caller {
        let (ours, theirs) = connect(options);
        let metrics = Metrics::new(1);
        let session = Session {
            context: rig.context.clone(),
            metrics: metrics.worker(0),
            tracer: Arc::new(Tracing::off().worker(0)),
            limits: Arc::new(limits),
            clock: rig.clock.clone(),
            poll_place: PollPlace::default(),
            worker: WorkerPlace { number: 0, count: 1 },
            peer: ([192, 0, 2, 1], 7_420).into(),
        };
        let serving = tokio::spawn(connection::serve(Arc::new(session), theirs, 42));
        Caller { connection: ours, serving, metrics }
    }

    async fn open(&self, kind: u8, bytes: Vec<u8>) -> Stream {
        let (mut transmit, receive) = self.connection.open_both().await.expect("within the limits");
        transmit.transmit(Bytes::from(vec![kind])).await.expect("open");
        transmit.transmit(bytes.into()).await.expect("open");
        (transmit, Frames::new(receive, FRAME_BYTES_MAX))
    }

    /// Says hello; the stream has to live as long as the session.
    async fn hello(&self) -> Stream {
        let mut content = Vec::new();
        Hello::new("a test").encode(&mut content);
        let mut stream = self.open(STREAM_HELLO, support::stream::framed(&content)).await;
        let welcome = Welcome::decode(&next(&mut stream.1).await).expect("a welcome");
        assert_eq!((welcome.node_id, welcome.namespaces[0].name.as_str()), (42, "test"));
        stream
    }

    /// The next large reply of the node's.
    async fn large(&self) -> Answer {
        let mut receive = self.connection.accept_one_way().await.expect("the connection lives");
        assert_eq!(receive_exactly(&mut receive).await.expect("a kind"), [STREAM_LARGE_REPLY]);
        support::stream::answer(&next(&mut Frames::new(receive, FRAME_BYTES_MAX)).await)
    }

    /// The caller is gone; what served it ends, and nothing of it is left.
    async fn leave(self, rig: &Rig) {
        let Caller { connection, serving, metrics } = self;
        drop(connection);
        serving.await.expect("no panic");
        let left = || {
            let gauges = [Gauge::Lanes, Gauge::LargeStreams, Gauge::Scans].map(|gauge| metrics.gauge(gauge));
            (rig.context.under_way(), gauges)
        };
        // Tasks of its streams see the end one after the other; what waits for the device has its own time.
        for _ in 0..1_000 {
            if left() == (0, [0; 3]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("left: {:?}", left());
    }
}

/// The next frame, which must come.
async fn next<R: Receive>(frames: &mut Frames<R>) -> Bytes {
    loop {
        if let Some(frame) = frames.next_here().expect("within the limit") {
            return frame;
        }
        assert!(frames.more().await.expect("the stream lives"), "a frame comes first");
    }
}

/// A framed request.
fn request(request_id: u32, body: &RequestBody<'_>) -> Vec<u8> {
    let (verb, namespace) = (body.verb(), NamespaceId(0));
    let header = RequestHeader { request_id, verb, namespace, deadline_ms: 0, trace: None };
    let mut content = Vec::new();
    encode_request(&header, body, &mut content);
    support::stream::framed(&content)
}

fn put(request_id: u32, key: KeyRef<'_>, bins: &Bins) -> Vec<u8> {
    let archive = archive_bins(bins).expect("within the limits");
    let (mode, ttl) = (PutMode::Replace, Ttl::Never);
    request(request_id, &RequestBody::Put { key, mode, if_generation: None, ttl, archive: &archive })
}

fn get(request_id: u32, key: KeyRef<'_>) -> Vec<u8> {
    request(request_id, &RequestBody::Get { key, bins: BinSelection::All })
}

/// Sends requests on a lane while it reads as many replies; by request.
async fn pipeline(lane: &mut Stream, requests: Vec<u8>, replies: usize) -> BTreeMap<u32, Answer> {
    let (transmit, frames) = lane;
    let receiving = async {
        let mut answers = BTreeMap::new();
        while answers.len() < replies {
            let answer = support::stream::answer(&next(frames).await);
            assert!(answers.insert(answer.header.request_id, answer).is_none(), "one reply for each request");
        }
        answers
    };
    let (sent, answers) = tokio::join!(transmit.transmit(requests.into()), receiving);
    sent.expect("the lane is open");
    answers
}

fn small(number: u32) -> Bins {
    Bins::new().with("n", i64::from(number)).with("bytes", payload(number.into(), number as usize % 600))
}

/// Catches: anything above the transport that still needs QUIC, a socket or real time; a frame that is only right when it
/// arrives whole.
#[tokio::test(start_paused = true)]
async fn lanes_large_values_and_scans_are_served_over_any_transport() {
    for options in transports() {
        let rig = rig().await;
        let caller = Caller::new(&rig, &options, LimitOptions::default());
        let _session = caller.hello().await;

        let count = 300;
        let mut lane = caller.open(STREAM_LANE, Vec::new()).await;
        let puts = (0..count).flat_map(|number| put(number, key("s", number.into()), &small(number))).collect();
        let stored = pipeline(&mut lane, puts, count as usize).await;
        assert!(stored.into_values().all(|answer| answer.ok().header.generation == 1));
        let gets = (0..=count).flat_map(|number| get(number, key("s", number.into()))).collect();
        let mut answers = pipeline(&mut lane, gets, count as usize + 1).await;
        assert_eq!(answers.remove(&count).expect("answered").code(), Code::NotFound);
        assert!(answers.iter().all(|(number, answer)| answer.record().bins == small(*number)));

        let large = Bins::unnamed(payload(1, 1 << 20));
        let (_send, mut frames) = caller.open(STREAM_SINGLE, put(1, key("large", 1), &large)).await;
        support::stream::answer(&next(&mut frames).await).ok();
        let (_send, mut frames) = caller.open(STREAM_SINGLE, get(2, key("large", 1))).await;
        assert_eq!(support::stream::answer(&next(&mut frames).await).record().bins, large);
        // Asked for on a lane, it leaves beside it.
        lane.0.transmit(get(3, key("large", 1)).into()).await.expect("open");
        let beside = caller.large().await;
        assert_eq!((beside.header.request_id, beside.record().bins), (3, large));

        let scanned = scan(&caller, ScanRequest { set: Some("s"), ..ScanRequest::default() }).await;
        assert_eq!(scanned.len(), count as usize);
        assert!((0..count).all(|number| scanned.contains(&small(number))));
        drop(lane);
        caller.leave(&rig).await;
    }
}

/// Every record of a scan.
async fn scan(caller: &Caller, scan: ScanRequest<'_>) -> Vec<Bins> {
    let (_send, mut frames) = caller.open(STREAM_SCAN, request(9, &RequestBody::Scan(scan))).await;
    let mut all = Vec::new();
    loop {
        let frame = next(&mut frames).await;
        let reply = Reply::parse(&frame).expect("a reply");
        assert_eq!((reply.header.request_id, reply.header.code), (9, Code::Ok), "{}", reply.message());
        let part = ScanPart::parse(reply.body).expect("a part of a scan");
        all.extend(part.iter().map(|stored| got(stored.expect("within the frame"), true).bins));
        if part.end {
            return all;
        }
    }
}

/// Catches: a lane that takes requests without end from a caller that reads no replies, or that holds up its neighbour.
#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_nothing_stops_its_own_lane_only() {
    let rig = rig().await;
    let caller = Caller::new(
        &rig,
        &MemoryOptions { window_bytes: 16 << 10, ..MemoryOptions::default() },
        LimitOptions::default(),
    );
    let _session = caller.hello().await;
    let value = Bins::unnamed(payload(1, 10_000));
    rig.replace(key("s", 1), &value, Ttl::Never).await.ok();
    let count = 5_000;
    let mut greedy = caller.open(STREAM_LANE, Vec::new()).await;
    let requests: Vec<u8> = (0..count).flat_map(|id| get(id, key("s", 1))).collect();
    let mut sending = Box::pin(greedy.0.transmit(requests.into()));
    let waited = tokio::time::timeout(Duration::from_secs(60), sending.as_mut()).await;
    assert!(waited.is_err(), "50 MB of replies have no room");
    let held = caller.metrics.requests(outcrop_wire::Verb::Get, Code::Ok);
    assert!(held < 100, "{held} replies were made for nobody");

    let mut other = caller.open(STREAM_LANE, Vec::new()).await;
    assert_eq!(pipeline(&mut other, get(1, key("s", 1)), 1).await[&1].record().bins, value);

    let reading = async {
        for _ in 0..count {
            assert_eq!(support::stream::answer(&next(&mut greedy.1).await).record().bins, value);
        }
    };
    let (sent, ()) = tokio::join!(sending, reading);
    sent.expect("it had only to be read");
    drop((greedy, other));
    caller.leave(&rig).await;
}

/// Catches: requests, places or memory that a broken connection leaves behind; a write that was acknowledged and isn't
/// there. The connection ends after each number of turns that its tasks get, so at every point of their work.
#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_anywhere_leaves_nothing_behind() {
    let rig = rig().await;
    let large = Bins::unnamed(payload(7, 300_000));
    let mut acknowledged = 0;
    for turns in 0..120_u32 {
        let caller = Caller::new(
            &rig,
            &MemoryOptions { window_bytes: 20_000, ..MemoryOptions::default() },
            LimitOptions::default(),
        );
        let work = async {
            let _session = caller.hello().await;
            let (_send, mut frames) = caller.open(STREAM_SINGLE, put(1, key("large", turns.into()), &large)).await;
            support::stream::answer(&next(&mut frames).await).ok();
            acknowledged = turns;
            let mut lane = caller.open(STREAM_LANE, get(1, key("large", turns.into()))).await;
            let _scanning = caller.open(STREAM_SCAN, request(9, &RequestBody::Scan(ScanRequest::default()))).await;
            let _beside = caller.large().await;
            let gets: Vec<u8> = (0..500).flat_map(|id| get(id, key("large", turns.into()))).collect();
            let _ = lane.0.transmit(gets.into()).await;
            std::future::pending::<()>().await;
        };
        let cut = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
                // A sync is a matter of time, which a paused clock gives to those who sleep.
                if turns % 2 == 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        tokio::select! { () = work => {}, () = cut => {} }
        caller.leave(&rig).await;
        if acknowledged == turns && turns > 0 {
            assert_eq!(rig.get(key("large", turns.into())).await.record().bins, large);
        }
        rig.delete(key("large", turns.into())).await;
    }
    assert!(acknowledged > 0, "some connections lived long enough to have a write acknowledged");
    let caller = Caller::new(&rig, &MemoryOptions::default(), LimitOptions::default());
    let _session = caller.hello().await;
    let (_send, mut frames) = caller.open(STREAM_SINGLE, put(1, key("after", 1), &large)).await;
    support::stream::answer(&next(&mut frames).await).ok();
}

/// Catches: peers that say nothing, or nonsense, and stay; a limit that isn't one.
#[tokio::test(start_paused = true)]
async fn peers_that_break_the_rules_are_told_so() {
    let rig = rig().await;
    let silent = Caller::new(&rig, &MemoryOptions::default(), LimitOptions::default());
    let ended = silent.connection.ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (CLOSE_PROTOCOL, "no hello in time"));
    silent.leave(&rig).await;

    let nonsense = Caller::new(&rig, &MemoryOptions::default(), LimitOptions::default());
    let _stream = nonsense.open(77, Vec::new()).await;
    let ended = nonsense.connection.ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (CLOSE_PROTOCOL, "streams of kind 77 are unknown"));
    nonsense.leave(&rig).await;

    let greedy = Caller::new(&rig, &MemoryOptions::default(), LimitOptions { lanes_max: 2, ..LimitOptions::default() });
    let _session = greedy.hello().await;
    let mut lanes =
        [greedy.open(STREAM_LANE, get(1, key("s", 1))).await, greedy.open(STREAM_LANE, get(1, key("s", 1))).await];
    for lane in &mut lanes {
        assert_eq!(support::stream::answer(&next(&mut lane.1).await).code(), Code::NotFound);
    }
    let mut one_more = greedy.open(STREAM_LANE, Vec::new()).await;
    let refused = one_more.1.more().await.expect_err("two lanes are allowed");
    assert!(refused.to_string().contains("reset"), "{refused}");
    assert_eq!(greedy.metrics.counter(Counter::StreamsRefused), 1);
    drop((lanes, one_more));
    greedy.leave(&rig).await;
}
