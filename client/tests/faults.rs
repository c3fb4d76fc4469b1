//! What the client promises when the node or the network doesn't keep its part: each test names what goes wrong.

mod support;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use outcrop_client::low::Session;
use outcrop_client::{
    Batch, BatchOutcome, Bins, Client, ClientError, Code, DeleteOptions, Key, PutOptions, ScanOptions, Trust, Ttl,
};
use outcrop_wire::{BinSelection, PutMode, RequestBody, Verb};
use support::faulty_node::{Fault, FaultyNode};

const IMPATIENT: Duration = Duration::from_secs(1);
/// What isn't seen in so long is taken for never to come.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(id: i64) -> Key {
    Key::new("test", "people", id)
}

async fn fill(client: &Client, count: i64) {
    for outcome in join_all(
        (0..count).map(async |id| client.set_bytes(&key(id), format!("value {id}").as_bytes(), Ttl::Default).await),
    )
    .await
    {
        outcome.expect("written");
    }
}

/// A client whose deadline passes soon, though not before a request is on its way, on the slowest machine.
async fn impatient(node: &FaultyNode) -> Client {
    node.builder().deadline(IMPATIENT).connect().await.expect("connects")
}

/// Waits until the node has taken so many requests with this verb.
async fn until_taken(node: &FaultyNode, verb: Verb, count: usize) {
    let taken = async {
        while node.taken(verb) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("it arrives");
}

#[tokio::test]
async fn replies_in_any_order_find_their_callers() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 100).await;
    node.reverse(10);
    let values = join_all((0..100).map(async |id| client.get_bytes(&key(id)).await.expect("read"))).await;
    for (id, value) in values.into_iter().enumerate() {
        assert_eq!(value.expect("there"), format!("value {id}"));
    }
}

#[tokio::test]
async fn a_reply_that_never_comes_is_a_deadline_for_a_read_and_indeterminate_for_a_write() {
    let node = FaultyNode::start();
    let (client, patient) = (impatient(&node).await, node.client().await);
    node.inject([Fault::DropReply, Fault::DropReply]);
    let error = client.get_bytes(&key(1)).await.expect_err("no reply");
    assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    let error = client.set_bytes(&key(1), b"x", Ttl::Default).await.expect_err("no reply");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    // It was carried out, which is why it mustn't be called failed.
    assert_eq!(patient.get_bytes(&key(1)).await.expect("read").as_deref(), Some(&b"x"[..]));
    assert_eq!(node.taken(Verb::Put), 1, "not sent again");
    assert!(node.deadlines_ms()[..2].iter().all(|ms| (1..=1_000).contains(ms)), "{:?}", node.deadlines_ms());
}

#[tokio::test]
async fn a_late_reply_never_reaches_a_later_request() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 10).await;
    node.inject([Fault::Late(Duration::from_millis(120)), Fault::Late(Duration::from_millis(150))]);
    for (id, taken) in [(0, 1), (1, 2)] {
        let key = key(id);
        tokio::select! {
            biased;
            () = until_taken(&node, Verb::Get, taken) => {}
            read = client.get_bytes(&key) => panic!("before the node had it: {read:?}"),
        }
    }
    for round in 0..40 {
        let id = 2 + round % 8;
        assert_eq!(client.get_bytes(&key(id)).await.expect("read").expect("there"), format!("value {id}"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn cancelled_requests_leave_no_trace_in_others() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 50).await;
    node.inject(vec![Fault::Late(Duration::from_millis(30)); 50]);
    for id in 0..50 {
        let gone = tokio::time::timeout(Duration::from_micros(1), client.get_bytes(&key(id))).await;
        drop(gone);
    }
    for _ in 0..10 {
        let values = join_all((0..50).map(async |id| client.get_bytes(&key(id)).await.expect("read"))).await;
        for (id, value) in values.into_iter().enumerate() {
            assert_eq!(value.expect("there"), format!("value {id}"));
        }
    }
}

#[tokio::test]
async fn a_connection_lost_under_a_write_is_indeterminate_and_under_a_read_is_mended() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::CloseAfter]);
    let error = client.set_bytes(&key(1), b"x", Ttl::Default).await.expect_err("lost");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    assert_eq!(node.taken(Verb::Put), 1, "not sent again");
    node.inject([Fault::CloseBefore, Fault::CloseBefore]);
    assert_eq!(client.get_bytes(&key(1)).await.expect("third connection").as_deref(), Some(&b"x"[..]));
    assert_eq!(node.connections(), 4);
}

#[tokio::test]
async fn a_write_that_may_be_repeated_is_repeated() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::CloseAfter]);
    let options = PutOptions::default().idempotent(true);
    let written = client.put(&key(1), &Bins::unnamed("x"), options).await.expect("sent again");
    assert_eq!((written.generation, node.taken(Verb::Put)), (2, 2));
}

#[tokio::test]
async fn a_conditional_write_that_fails_on_its_own_lost_success_is_indeterminate_not_refused() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::CloseAfter]);
    let error = client.put(&key(1), &Bins::unnamed("x"), PutOptions::default().if_generation(0)).await;
    assert!(matches!(error, Err(ClientError::Indeterminate { .. })), "{error:?}");
    assert_eq!(node.taken(Verb::Put), 2, "sent again, since the condition makes it harmless");
    // Without a lost reply the same refusal is a plain one.
    let error = client.put(&key(1), &Bins::unnamed("y"), PutOptions::default().if_generation(0)).await;
    assert!(matches!(error, Err(ClientError::Refused { code: Code::GenerationMismatch, .. })), "{error:?}");
}

#[tokio::test]
async fn bytes_that_are_no_reply_end_the_connection_and_nothing_else() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 1).await;
    for fault in [Fault::Garbage, Fault::WrongId] {
        node.inject([fault]);
        assert_eq!(client.get_bytes(&key(0)).await.expect("mended").expect("there"), "value 0");
    }
    assert_eq!(node.connections(), 3);
    node.inject([Fault::Garbage]);
    let error = client.set_bytes(&key(0), b"x", Ttl::Default).await.expect_err("its reply can't be read");
    assert!(matches!(&error, ClientError::Indeterminate { message } if message.contains("limit")), "{error}");
}

#[tokio::test]
async fn a_code_from_the_future_leaves_a_writes_fate_unknown() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::UnknownCode, Fault::UnknownCode]);
    let error = client.set_bytes(&key(1), b"x", Ttl::Default).await.expect_err("not understood");
    assert!(matches!(&error, ClientError::Indeterminate { message } if message.contains("60000")), "{error}");
    let error = client.get_bytes(&key(1)).await.expect_err("not understood");
    assert!(matches!(&error, ClientError::Protocol(message) if message.contains("60000")), "{error}");
    assert_eq!(client.get_bytes(&key(1)).await.expect("the connection lives").as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn replies_on_streams_of_their_own_find_their_callers() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let large = vec![7_u8; 300 << 10];
    client.set_bytes(&key(0), &large, Ttl::Default).await.expect("on a stream of its own");
    fill(&client, 0).await;
    node.inject([Fault::OnOwnStream]);
    assert_eq!(client.get_bytes(&key(0)).await.expect("read").expect("there"), large);
    client.set_bytes(&key(1), b"small", Ttl::Default).await.expect("written");
    node.inject([Fault::OnOwnStream]);
    assert_eq!(client.get_bytes(&key(1)).await.expect("read").expect("there"), "small");
}

#[tokio::test]
async fn a_large_write_with_no_reply_is_indeterminate_and_its_stream_is_given_up() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::DropReply, Fault::CloseAfter]);
    let large = Bins::unnamed(vec![7_u8; 1 << 20]);
    // The first one is given up only when all of it has long arrived.
    for deadline in [Duration::from_secs(5), PATIENCE] {
        let error = client.put(&key(0), &large, PutOptions::default().deadline(deadline)).await.expect_err("no reply");
        assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    }
    client.put(&key(0), &large, PutOptions::default()).await.expect("written");
}

/// Catches: a refusal that doesn't know the request's number, taken for the answer to request 0.
#[tokio::test]
async fn a_large_request_that_was_refused_unread_is_known_by_its_stream() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 1).await;
    let mut session = Session::open(&client).await.expect("a connection");
    let namespace = session.namespace("test").expect("there");
    let large = outcrop_wire::archive::archive_unnamed(&vec![7; 300 << 10]).expect("within the limits");
    let (read, written) = (key(0), key(1));
    let (mode, ttl) = (PutMode::Replace, Ttl::Never);
    let get = RequestBody::Get { key: read.borrow(), bins: BinSelection::All };
    let put = RequestBody::Put { key: written.borrow(), mode, if_generation: None, ttl, archive: &large };
    // The first is request 0; it is still under way when the second one is refused.
    node.inject([Fault::Late(Duration::from_millis(200)), Fault::Unread]);
    session.submit(namespace, &get, 70).expect("there is room");
    session.flush().await.expect("sent");
    until_taken(&node, Verb::Get, 1).await;
    session.submit(namespace, &put, 71).expect("there is room");
    let mut completions = Vec::new();
    while session.under_way() > 0 {
        session.recv_batch(&mut completions).await.expect("replies");
    }
    let mut ended: Vec<_> = completions.iter().map(|completion| (completion.token, completion.code)).collect();
    ended.sort_by_key(|(token, _)| *token);
    assert_eq!(ended, [(70, Code::Ok), (71, Code::Overloaded)]);
    // The client itself sends it again.
    let before = node.taken(Verb::Put);
    node.inject([Fault::Unread]);
    client.put(&key(1), &Bins::unnamed(vec![7_u8; 300 << 10]), PutOptions::default()).await.expect("written");
    assert_eq!(node.taken(Verb::Put), before + 2);
}

#[tokio::test]
async fn more_requests_than_a_lane_takes_wait_for_places() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 10).await;
    node.inject(vec![Fault::Late(Duration::from_millis(50)); 3_000]);
    let values = join_all((0..3_000).map(async |id| client.get_bytes(&key(id % 10)).await)).await;
    for (id, value) in values.into_iter().enumerate() {
        assert_eq!(value.expect("served").expect("there"), format!("value {}", id % 10));
    }
    assert!(node.under_way_max.load(Ordering::SeqCst) <= outcrop_wire::limits::LANE_INFLIGHT_MAX);
}

#[tokio::test]
async fn a_lane_of_unanswered_requests_is_a_deadline_that_did_nothing() {
    let node = FaultyNode::start();
    // All of these are under way at once: that they are late says nothing about the machine.
    let client = node.builder().deadline(Duration::from_millis(300)).connect().await.expect("connects");
    node.inject(vec![Fault::DropReply; 1_024]);
    let lost = join_all((0..1_024).map(async |id| client.get_bytes(&key(id)).await)).await;
    assert!(lost.iter().all(|read| matches!(read, Err(ClientError::Deadline { .. }))));
    // Before the client gives the connection up.
    let soon = PutOptions::default().deadline(Duration::from_millis(50));
    let error = client.put(&key(0), &Bins::unnamed("x"), soon).await.expect_err("no place");
    assert!(matches!(error, ClientError::Deadline { .. }), "never sent, so not indeterminate: {error}");
    // A connection that answers nothing is given up, and its successor serves.
    let served = async { while client.set_bytes(&key(0), b"x", Ttl::Default).await.is_err() {} };
    tokio::time::timeout(PATIENCE, served).await.expect("a new connection");
    assert_eq!(node.connections(), 2);
}

#[tokio::test]
async fn a_session_that_the_node_ends_finishes_what_is_under_way_and_moves_on() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::Late(Duration::from_millis(300))]);
    let late = {
        let client = client.clone();
        tokio::spawn(async move { client.set_bytes(&key(1), b"x", Ttl::Default).await })
    };
    until_taken(&node, Verb::Put, 1).await;
    node.end_sessions();
    while node.connections() < 2 {
        client.get_bytes(&key(2)).await.expect("served on either");
    }
    assert_eq!(late.await.expect("no panic").expect("finished on the old connection").generation, 1);
}

#[tokio::test]
async fn a_connection_closed_with_a_code_says_the_code() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::DropReply]);
    let lost = {
        let client = client.clone();
        tokio::spawn(async move { client.set_bytes(&key(1), b"x", Ttl::Default).await })
    };
    until_taken(&node, Verb::Put, 1).await;
    node.close_all(outcrop_wire::hello::CLOSE_DRAINING, "going down");
    let error = lost.await.expect("no panic").expect_err("lost");
    assert!(error.to_string().contains("draining: going down"), "{error}");
}

#[tokio::test]
async fn connecting_fails_clearly_on_a_stranger_and_goes_on_to_the_next_address() {
    let (node, stranger) = (FaultyNode::start(), FaultyNode::start());
    let builder = |url: String| Client::builder(&url).trust(Trust::Pem(node.pem.clone()));
    let error = builder(format!("outcrop://{}", stranger.addr)).connect().await.expect_err("other certificate");
    assert!(matches!(&error, ClientError::Connect { message, .. } if message.contains("certificate")), "{error}");
    let client = builder(format!("outcrop://{},{}", stranger.addr, node.addr)).connect().await.expect("the second");
    assert_eq!(client.namespaces()[0].name, "test");
    assert_eq!((stranger.connections(), node.connections()), (0, 2));
    let error = Client::connect("outcrop://127.0.0.1:1?ca=/nowhere.pem").await.expect_err("no such file");
    assert!(error.to_string().contains("/nowhere.pem"), "{error}");
}

/// Catches: a `close` that returns before its packet has left, so that a process which ends at once (a command line does)
/// leaves the node with a connection that looks alive for another ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_after_close_has_said_goodbye() {
    let node = FaultyNode::start();
    let builder = node.builder();
    let process = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = builder.connect().await.expect("connects");
            client.set_bytes(&key(1), b"x", Ttl::Default).await.expect("written");
            client.close().await;
        });
        // Dropped with its sockets, as a process is: what isn't sent by now never will be.
        drop(runtime);
    });
    process.await.expect("no panic");
    match node.first_ended().await {
        quinn::ConnectionError::ApplicationClosed(close) => assert_eq!(&close.reason[..], b"closed by the client"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_closed_client_refuses_and_its_clones_too() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let clone = client.clone();
    client.set_bytes(&key(1), b"x", Ttl::Default).await.expect("written");
    client.close().await;
    assert!(matches!(clone.get_bytes(&key(1)).await, Err(ClientError::Closed { .. })));
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_before_it_is_sent() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let code = |error: ClientError| error.code().expect("has one");
    let put = async |key: Key, bins: Bins, ttl: Ttl| {
        code(client.put(&key, &bins, PutOptions::default().ttl(ttl)).await.expect_err("out of bounds"))
    };
    assert_eq!(put(Key::new("test", "people", ""), Bins::new(), Ttl::Never).await, Code::InvalidKey);
    assert_eq!(put(Key::new("test", "people", vec![1; 1 << 20]), Bins::new(), Ttl::Never).await, Code::InvalidKey);
    assert_eq!(put(Key::new("test", "a/b", 1), Bins::new(), Ttl::Never).await, Code::InvalidKey);
    assert_eq!(put(key(1), Bins::new().with("n".repeat(256), 1), Ttl::Never).await, Code::InvalidBinName);
    assert_eq!(put(key(1), Bins::unnamed(vec![0; 9 << 20]), Ttl::Never).await, Code::RecordTooLarge);
    assert_eq!(put(key(1), Bins::new(), Ttl::Secs(0)).await, Code::InvalidTtl);
    assert_eq!(put(key(1), Bins::new(), Ttl::Secs(u32::MAX)).await, Code::InvalidTtl);
    assert_eq!(put(Key::new("nowhere", "people", 1), Bins::new(), Ttl::Never).await, Code::NamespaceUnknown);
    let error = client.batch(Batch::new()).await.expect_err("empty");
    assert_eq!(code(error), Code::BatchTooLarge);
    assert_eq!(node.taken(Verb::Put), 0);
}

#[tokio::test]
async fn a_batch_fails_item_by_item() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 2).await;
    let batch = Batch::new()
        .get(&key(0))
        .get(&key(9))
        .put(&Key::new("test", "people", ""), &Bins::new(), PutOptions::default())
        .put(&Key::new("nowhere", "people", 1), &Bins::new(), PutOptions::default())
        .put(&key(1), &Bins::unnamed("x"), PutOptions::default().if_generation(7))
        .delete(&key(1), DeleteOptions::default())
        .delete(&key(9), DeleteOptions::default());
    let outcomes = client.batch(batch).await.expect("as a whole");
    let failed = |place: usize| match &outcomes[place] {
        BatchOutcome::Failed(error) => error.code().expect("has one"),
        other => panic!("{place}: {other:?}"),
    };
    assert!(matches!(&outcomes[0], BatchOutcome::Record(Some(record)) if record.generation() == 1));
    assert!(matches!(&outcomes[1], BatchOutcome::Record(None)));
    assert_eq!((failed(2), failed(3), failed(4)), (Code::InvalidKey, Code::NamespaceUnknown, Code::GenerationMismatch));
    assert!(matches!(&outcomes[5], BatchOutcome::Deleted(true)));
    assert!(matches!(&outcomes[6], BatchOutcome::Deleted(false)));
    assert_eq!(outcomes.len(), 7);
    // A batch that writes isn't sent again when its reply is lost; one that reads is.
    node.inject([Fault::CloseAfter]);
    let error = client.batch(Batch::new().delete(&key(0), DeleteOptions::default())).await.expect_err("lost");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    node.inject([Fault::CloseAfter]);
    assert_eq!(client.get_many(&[key(0), key(9)]).await.expect("mended").len(), 2);
}

#[tokio::test]
async fn a_scan_goes_on_where_a_lost_connection_left_it() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 40).await;
    for place in [0, 7, 20] {
        node.inject(vec![Fault::None; place]);
        node.inject([Fault::CloseBefore, Fault::CloseBefore]);
    }
    let mut seen = HashSet::new();
    let mut scan = client.scan("test", Some("people"), ScanOptions::default());
    while let Some(record) = scan.next().await {
        let record = record.expect("mended");
        assert!(seen.insert(record.key().user_key.to_owned()), "given twice");
    }
    assert_eq!(seen.len(), 40);
    assert!(node.connections() > 4);
    assert_eq!(scan.cursor().expect("at the end").emitted, 40);
}

#[tokio::test]
async fn a_limited_scan_counts_over_lost_connections() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 20).await;
    node.inject([Fault::None, Fault::None, Fault::None, Fault::CloseBefore, Fault::None, Fault::CloseBefore]);
    let scan = client.scan("test", None, ScanOptions::default().limit(7));
    assert_eq!(scan.map(|record| record.expect("mended")).count().await, 7);
}

#[tokio::test]
async fn a_scan_that_stopped_can_be_taken_up_by_its_cursor() {
    let node = FaultyNode::start();
    let client = node.client().await;
    fill(&client, 10).await;
    let mut scan = client.scan("test", None, ScanOptions::default());
    assert_eq!(scan.cursor(), None);
    let first: Vec<_> =
        (&mut scan).take(4).map(|record| record.expect("read").key().user_key.to_owned()).collect().await;
    let cursor = scan.cursor();
    drop(scan);
    let rest: Vec<_> = client
        .scan("test", None, ScanOptions::default().cursor(cursor))
        .map(|record| record.expect("read").key().user_key.to_owned())
        .collect()
        .await;
    let all: HashSet<_> = first.into_iter().chain(rest.iter().cloned()).collect();
    assert_eq!((all.len(), rest.len()), (10, 6));
}

#[tokio::test]
async fn a_reader_that_pauses_holds_the_node_back() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let large = vec![7_u8; 1 << 20];
    for id in 0..40 {
        client.set_bytes(&key(id), &large, Ttl::Default).await.expect("written");
    }
    let mut scan = client.scan("test", None, ScanOptions::default());
    scan.next().await.expect("a record").expect("read");
    // As long as the node still makes headway it isn't held back yet.
    let mut parts = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if node.scan_parts() == parts {
            break;
        }
        parts = node.scan_parts();
    }
    assert!(parts < 40, "{parts} parts were sent to a reader that took one");
    assert_eq!(scan.count().await, 39);
}
