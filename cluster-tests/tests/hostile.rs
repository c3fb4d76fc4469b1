//! Strangers who are silent, slow, greedy or lying: the others are served all the same, and memory stays bounded.

use std::time::Duration;

use outcrop_client::{Client, Key, Ttl};
use outcrop_cluster_tests::stranger::{Stranger, ended, lane, open};
use outcrop_cluster_tests::{NodeProcess, Settings, size};
use outcrop_wire::hello::{STREAM_LANE, STREAM_SCAN, STREAM_SINGLE};
use outcrop_wire::request::{ScanRequest, encode_request};
use outcrop_wire::{BinSelection, NamespaceId, RequestBody, RequestHeader, Verb, frame, limits};
use tokio::task::JoinSet;

/// What a node may hold for one connection that says nothing, in bytes.
const SILENT_CONNECTION_BYTES_MAX: u64 = 96 << 10;
/// What a node may hold beyond that, whatever strangers do: its cap on large replies, its caches, and room to breathe.
const RESIDENT_BYTES_MAX: u64 = 640 << 20;

/// Others are served: a write and a read, by a client of their own.
async fn others_are_served(client: &Client, number: i64) {
    let key = Key::new("test", "others", number);
    client.set_bytes(&key, b"served", Ttl::Never).await.expect("others may write");
    assert_eq!(client.get_bytes(&key).await.expect("others may read").as_deref(), Some(&b"served"[..]));
}

fn request(request_id: u32, body: &RequestBody<'_>) -> Vec<u8> {
    let header =
        RequestHeader { request_id, verb: body.verb(), namespace: NamespaceId(0), deadline_ms: 60_000, trace: None };
    let mut bytes = Vec::new();
    let start = frame::begin_frame(&mut bytes);
    encode_request(&header, body, &mut bytes);
    frame::end_frame(&mut bytes, start);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_cost_little_and_stop_nobody() {
    let count = size::from_env("OUTCROP_HOSTILE_CONNECTIONS", 500);
    let mut settings = Settings::flash("64MiB");
    // Long enough that all of them are there at once, on the slowest machine.
    settings.limits = "connections_max = 20000\nhello_timeout_ms = 60000\nidle_timeout_ms = 600000".into();
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("served");
    others_are_served(&client, 0).await;
    let before = node.resident_bytes();
    let stranger = Stranger::new(node.settings());
    let mut silent = Vec::with_capacity(count);
    while silent.len() < count {
        silent.push(stranger.connect().await.expect("the node takes 20,000 connections"));
        if silent.len().is_multiple_of(count / 5 + 1) {
            others_are_served(&client, silent.len() as i64).await;
        }
    }
    others_are_served(&client, -1).await;
    let grown = node.resident_bytes().saturating_sub(before);
    println!("{count} silent connections: {grown} bytes, {} each", grown / count as u64);
    let allowed = count as u64 * SILENT_CONNECTION_BYTES_MAX + (64 << 20);
    assert!(grown <= allowed, "{count} silent connections took {grown} bytes, {allowed} are allowed");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_are_refused_and_those_within_go_on() {
    let mut settings = Settings::flash("64MiB");
    settings.limits = "connections_max = 20\nhello_timeout_ms = 60000".into();
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("served");
    let stranger = Stranger::new(node.settings());
    let (mut kept, mut refused) = (Vec::new(), 0);
    for _ in 0..60 {
        match stranger.session().await {
            Ok(session) => kept.push(session),
            Err(_) => refused += 1,
        }
    }
    assert!(kept.len() <= 20, "{} sessions where 20 are allowed", kept.len());
    assert!(refused >= 40, "only {refused} of 60 were refused");
    others_are_served(&client, 1).await;
    drop(kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_cannot_take_the_memory_of_others() {
    let mut settings = Settings::flash("256MiB");
    settings.limits = "large_bytes_max = \"128MiB\"".into();
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("served");
    let large = Key::new("test", "large", 1);
    client.set_bytes(&large, &vec![7; 3 << 20], Ttl::Never).await.expect("written");
    let asked = request(1, &RequestBody::Get { key: large.borrow(), bins: BinSelection::All });
    let stranger = Stranger::new(node.settings());
    let mut greedy = Vec::new();
    for number in 0..8 {
        let (connection, session, welcome) = stranger.session().await.expect("served");
        // 500 replies of 3 MiB are asked for on each connection, on a lane and on streams of their own.
        let (mut send, receive) = lane(&connection, &[]).await.expect("a lane");
        let flood = (0..500_u32).flat_map(|id| {
            let mut bytes = asked.clone();
            bytes[4..8].copy_from_slice(&id.to_le_bytes());
            bytes
        });
        let flood: Vec<u8> = flood.collect();
        // The node may stop reading this lane, or end it: both are answers.
        let _ = tokio::time::timeout(Duration::from_secs(2), send.write_all(&flood)).await;
        let mut singles = Vec::new();
        for _ in 0..20 {
            let opening = tokio::time::timeout(Duration::from_millis(200), open(&connection, STREAM_SINGLE, &asked));
            singles.push(opening.await);
        }
        others_are_served(&client, number).await;
        let resident = node.resident_bytes();
        assert!(resident <= RESIDENT_BYTES_MAX, "{resident} bytes after {number} greedy clients");
        greedy.push((connection, session, welcome, send, receive, singles));
    }
    println!("8 greedy clients: the node holds {} MiB", node.resident_bytes() >> 20);
    drop(greedy);
    // Nothing of it is held for ever: a large value can be read again, whole.
    let read = client.get_bytes(&large).await.expect("served").expect("there");
    assert!(read.len() == 3 << 20 && read.iter().all(|byte| *byte == 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_nobody_reads_holds_nobody_up() {
    let node = NodeProcess::start(Settings::flash("256MiB"));
    let client = node.client().await.expect("served");
    for number in 0..200 {
        client.set_bytes(&Key::new("test", "scanned", number), &[5; 60_000], Ttl::Never).await.expect("written");
    }
    let scan = request(1, &RequestBody::Scan(ScanRequest { set: Some("scanned"), ..ScanRequest::default() }));
    let stranger = Stranger::new(node.settings());
    let (connection, _session, _welcome) = stranger.session().await.expect("served");
    let mut scans = Vec::new();
    for number in 0..40 {
        let opening = tokio::time::timeout(Duration::from_millis(200), open(&connection, STREAM_SCAN, &scan)).await;
        scans.push(opening);
        others_are_served(&client, number).await;
    }
    assert!(node.resident_bytes() <= RESIDENT_BYTES_MAX);
    drop(scans);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_frame_holds_a_lane_up_and_nobody_else() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    let stranger = Stranger::new(node.settings());
    let mut slow = Vec::new();
    for number in 0..50 {
        let (connection, session, welcome) = stranger.session().await.expect("served");
        let mut half = 200_000_u32.to_le_bytes().to_vec();
        half.extend_from_slice(&[0; 1_000]);
        let opened = lane(&connection, &half).await.expect("a lane");
        slow.push((connection, session, welcome, opened));
        others_are_served(&client, number).await;
    }
    // The same connection's other lane isn't held up either.
    let (connection, ..) = &slow[0];
    let info = request(9, &RequestBody::Info { topic: "" });
    let (_send, mut receive) = lane(connection, &info).await.expect("a second lane");
    let reply = outcrop_cluster_tests::stranger::read_frame(&mut receive).await.expect("an answer");
    assert_eq!(outcrop_wire::Reply::parse(&reply).expect("a reply").header.verb, Verb::Info);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_end_the_stream_that_they_are_told_on() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    let stranger = Stranger::new(node.settings());
    let too_large = |limit: usize| (limit as u32 + 1).to_le_bytes().to_vec();
    let lies: [(u8, Vec<u8>, &str); 6] = [
        (STREAM_LANE, vec![255; 64], "a frame of 4 GiB on a lane"),
        (STREAM_LANE, too_large(limits::LANE_FRAME_BYTES_MAX), "a frame one byte over a lane's limit"),
        (STREAM_SINGLE, too_large(limits::FRAME_BYTES_MAX), "a frame one byte over the limit of a stream of its own"),
        (STREAM_SCAN, vec![255; 64], "a scan of 4 GiB"),
        (99, vec![1, 2, 3], "a kind of stream that doesn't exist"),
        (0, Vec::new(), "kind zero"),
    ];
    for (kind, bytes, what) in lies {
        let (connection, _session, _welcome) = stranger.session().await.expect("served");
        let opened = open(&connection, kind, &bytes).await;
        // The write itself may fail already, if the node was quick.
        if let Ok((_send, mut receive)) = opened {
            // This side leaves the stream open: it is the node that has to end it.
            ended(&connection, &mut receive).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        others_are_served(&client, kind.into()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_answered_or_end_their_lane_and_never_the_node() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    let stranger = Stranger::new(node.settings());
    let key = Key::new("test", "s", 1);
    let good = request(7, &RequestBody::Get { key: key.borrow(), bins: BinSelection::All });
    let mut answered = 0;
    for at in 4..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xFF;
        let (connection, _session, _welcome) = stranger.session().await.expect("served");
        let (mut send, mut receive) = lane(&connection, &bad).await.expect("a lane");
        let _ = send.finish();
        if outcrop_cluster_tests::stranger::read_frame(&mut receive).await.is_ok() {
            answered += 1;
        }
        ended(&connection, &mut receive).await.unwrap_or_else(|error| panic!("byte {at}: {error}"));
    }
    assert!(answered > good.len() / 3, "only {answered} of {} flipped bytes got an answer", good.len() - 4);
    others_are_served(&client, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_streams_meets_a_limit() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    let stranger = Stranger::new(node.settings());
    let (connection, _session, _welcome) = stranger.session().await.expect("served");
    let mut opened = Vec::new();
    while opened.len() < 5_000 {
        let opening = tokio::time::timeout(Duration::from_secs(1), open(&connection, STREAM_LANE, &[])).await;
        match opening {
            Ok(Ok(streams)) => opened.push(streams),
            // No room, or the connection was ended.
            _ => break,
        }
    }
    println!("{} lanes could be opened", opened.len());
    assert!(opened.len() < 5_000, "5,000 lanes on one connection");
    others_are_served(&client, 1).await;
    drop(opened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_and_leaving_again_leaves_nothing_behind() {
    let rounds = size::from_env("OUTCROP_HOSTILE_CONNECTIONS", 500);
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    let stranger = Stranger::new(node.settings());
    let mut after_warm_up = 0;
    for round in 0..rounds {
        let mut leaving = JoinSet::new();
        let (connection, _session, _welcome) = stranger.session().await.expect("served");
        leaving.spawn(async move {
            let lane = lane(&connection, &[1, 0]).await;
            drop(lane);
            // Half of them say goodbye, half just vanish.
            if round % 2 == 0 {
                connection.close(0_u32.into(), b"bye");
            }
        });
        leaving.join_all().await;
        if round == rounds / 2 {
            after_warm_up = node.resident_bytes();
        }
    }
    others_are_served(&client, 1).await;
    let grown = node.resident_bytes().saturating_sub(after_warm_up);
    assert!(grown < 64 << 20, "{grown} bytes were kept for {} visitors", rounds / 2);
}
