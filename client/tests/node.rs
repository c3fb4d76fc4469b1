//! The client against a real node in this process: every verb, large values, scans, batches, types, restarts.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use outcrop_client::{
    Batch, BatchOutcome, Bins, Client, ClientError, Code, DeleteOptions, Key, MapKey, OperateOptions, Operation,
    PutMode, PutOptions, ScanOptions, Trust, Ttl, Value,
};
use serde::{Deserialize, Serialize};
use support::real_node::{connect, start};
use support::relay::Relay;

fn key(id: i64) -> Key {
    Key::new("test", "people", id)
}

fn code<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> Code {
    outcome.expect_err("refused").code().expect("has a code")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_of_one_record() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let ada = key(1);
    assert_eq!(client.get_bytes(&ada).await.expect("read"), None);
    assert_eq!(client.exists(&ada).await.expect("read"), None);
    assert_eq!(client.touch(&ada, Ttl::Never).await.expect("nothing to touch"), None);
    assert!(!client.delete(&ada, DeleteOptions::default()).await.expect("nothing to delete"));

    let written = client.set_bytes(&ada, b"hello", Ttl::Secs(3_600)).await.expect("written");
    assert_eq!(written.generation, 1);
    assert!(written.expiry_secs.is_some());
    assert_eq!(client.get_bytes(&ada).await.expect("read").as_deref(), Some(&b"hello"[..]));
    let touched = client.touch(&ada, Ttl::Never).await.expect("touched").expect("there");
    assert_eq!((touched.generation, touched.expiry_secs), (2, None));
    let meta = client.exists(&ada).await.expect("read").expect("there");
    assert_eq!((meta.generation, meta.expiry_secs), (2, None));
    assert!((touched.epoch, touched.sequence) > (written.epoch, written.sequence));

    let bins = Bins::new().with("name", "Ada").with("born", 1815).with("nan", f64::NAN).with("zero", -0.0);
    client.put(&ada, &bins, PutOptions::default().mode(PutMode::Replace)).await.expect("replaced");
    client.put(&ada, &Bins::new().with("born", 1816), PutOptions::default()).await.expect("merged");
    let record = client.get(&ada).await.expect("read").expect("there");
    let expected = Bins::new().with("name", "Ada").with("born", 1816).with("nan", f64::NAN).with("zero", -0.0);
    assert_eq!((record.to_bins().expect("valid"), record.generation()), (expected, 4));
    assert_eq!(record.key(), ada.borrow());
    assert!(record.last_update_ms() > 1_700_000_000_000);
    assert_eq!(client.get_bytes(&ada).await.expect("read"), None, "no unnamed bin");
    let some = client.get_bins(&ada, &["born", "missing"]).await.expect("read").expect("there");
    assert_eq!(some.to_record().expect("valid").bins, Bins::new().with("born", 1816));

    let create = PutOptions::default().mode(PutMode::CreateOnly);
    assert_eq!(code(client.put(&ada, &bins, create).await), Code::AlreadyExists);
    let update = PutOptions::default().mode(PutMode::UpdateOnly);
    assert_eq!(code(client.put(&key(9), &bins, update).await), Code::NotFound);
    assert_eq!(code(client.put(&ada, &bins, PutOptions::default().if_generation(3)).await), Code::GenerationMismatch);
    let written = client.put(&ada, &bins, PutOptions::default().if_generation(4)).await.expect("the generation fits");
    assert_eq!(written.generation, 5);
    assert_eq!(code(client.delete(&ada, DeleteOptions::new().if_generation(4)).await), Code::GenerationMismatch);
    assert!(client.delete(&ada, DeleteOptions::new().if_generation(5)).await.expect("deleted"));
    assert!(client.get(&ada).await.expect("read").is_none());
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_all_or_nothing() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let bin = || "b".to_owned();
    let steps = vec![
        Operation::Add { bin: "n".into(), amount: 2.into() },
        Operation::ListAppend { bin: bin(), value: "x".into() },
        Operation::MapPut { bin: "m".into(), key: MapKey::Int(1), value: Value::Null },
        Operation::Read { bin: "n".into() },
    ];
    let result = client.operate(&key(1), steps, OperateOptions::default()).await.expect("made a record");
    assert_eq!(result.values, [2.into(), 1.into(), 1.into(), 2.into()]);
    assert!(result.exists && result.generation == 1);
    let steps =
        vec![Operation::Put { bin: "n".into(), value: 100.into() }, Operation::Add { bin: bin(), amount: 1.into() }];
    assert_eq!(code(client.operate(&key(1), steps, OperateOptions::default()).await), Code::TypeMismatch);
    let read = vec![Operation::Read { bin: "n".into() }];
    let result = client.operate(&key(1), read, OperateOptions::default()).await.expect("read");
    assert_eq!((result.values, result.generation), (vec![2.into()], 1));
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_both_ways_beside_small_ones() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = start(Some(directory.path()), 0).await;
    let client = connect(&node).await;
    let value = |bytes: usize| (0..bytes).map(|place| (place % 251) as u8).collect::<Vec<u8>>();
    let sizes = [0, 1, 60 << 10, 65 << 10, 200 << 10, 300 << 10, 1 << 20, (4 << 20) - 1_024];
    for (id, bytes) in sizes.into_iter().enumerate() {
        client.set_bytes(&key(id as i64), &value(bytes), Ttl::Default).await.expect("written");
    }
    client.set_bytes(&key(100), b"small", Ttl::Default).await.expect("written");
    for _ in 0..3 {
        let large = join_all((0..sizes.len()).map(async |id| client.get_bytes(&key(id as i64)).await));
        let small = join_all((0..200).map(async |_| client.get_bytes(&key(100)).await));
        let (large, small) = futures_util::join!(large, small);
        for (bytes, read) in sizes.into_iter().zip(large) {
            assert!(read.expect("read").expect("there") == value(bytes), "{bytes} bytes");
        }
        assert!(small.into_iter().all(|read| read.expect("read").expect("there") == "small"));
    }
    assert_eq!(code(client.set_bytes(&key(1), &value(5 << 20), Ttl::Default).await), Code::RecordTooLarge);
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_requests_at_once() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let written = join_all(
        (0..5_000).map(async |id| client.set_bytes(&key(id), format!("value {id}").as_bytes(), Ttl::Default).await),
    )
    .await;
    assert!(written.into_iter().all(|written| written.is_ok_and(|written| written.generation == 1)));
    let read = join_all((0..5_000).map(async |id| client.get_bytes(&key(id)).await)).await;
    for (id, value) in read.into_iter().enumerate() {
        assert_eq!(value.expect("read").expect("there"), format!("value {id}"));
    }
    let keys: Vec<Key> = (0..6_000).map(key).collect();
    let many = client.get_many(&keys).await.expect("read");
    assert_eq!((many.len(), many.iter().flatten().count()), (6_000, 5_000));
    for (id, record) in many.iter().enumerate().take(5_000) {
        let value = record.as_ref().and_then(|record| record.unnamed_bytes().expect("valid"));
        assert_eq!(value.expect("there"), format!("value {id}"));
    }
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_have_an_outcome_for_each_request() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let add = vec![Operation::Add { bin: "n".into(), amount: 1.into() }];
    let batch = Batch::new()
        .put(&key(1), &Bins::new().with("a", 1), PutOptions::default())
        .get(&key(1))
        .get_bins(&key(1), &["missing"])
        .exists(&key(2))
        .operate(&key(2), add, OperateOptions::default())
        .put(&key(1), &Bins::new(), PutOptions::default().mode(PutMode::CreateOnly))
        .touch(&key(1), Ttl::Secs(60))
        .delete(&key(1), DeleteOptions::default())
        .delete(&key(1), DeleteOptions::default());
    let outcomes = client.batch(batch).await.expect("as a whole");
    assert!(matches!(&outcomes[0], BatchOutcome::Written(written) if written.generation == 1), "{outcomes:?}");
    assert!(matches!(&outcomes[3], BatchOutcome::Exists(None)));
    assert!(matches!(&outcomes[4], BatchOutcome::Operated(result) if result.values == [1.into()]));
    assert!(matches!(&outcomes[5], BatchOutcome::Failed(error) if error.code() == Some(Code::AlreadyExists)));
    assert!(matches!(&outcomes[6], BatchOutcome::Touched(Some(_))));
    assert!(matches!(&outcomes[7], BatchOutcome::Deleted(true)));
    assert!(matches!(&outcomes[8], BatchOutcome::Deleted(false)));
    let record = |place: usize| match &outcomes[place] {
        BatchOutcome::Record(Some(record)) => record.to_bins().expect("valid"),
        other => panic!("{other:?}"),
    };
    assert_eq!((record(1), record(2)), (Bins::new().with("a", 1), Bins::new()));
    // Replies that are too many for one batch are fetched all the same.
    let value = vec![7; 100 << 10];
    for id in 0..100 {
        client.set_bytes(&key(id), &value, Ttl::Default).await.expect("written");
    }
    let keys: Vec<Key> = (0..100).map(key).collect();
    assert_eq!(client.get_many(&keys).await.expect("10 MiB").iter().flatten().count(), 100);
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_give_every_record_once_with_filters_and_cursors() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let put = async |set: &str, id: i64| {
        let bins = Bins::new().with("id", id).with("filler", vec![7; 1_000]);
        client.put(&Key::new("test", set, id), &bins, PutOptions::default()).await.expect("written");
    };
    join_all((0..2_000).map(|id| put("people", id))).await;
    join_all((0..100).map(|id| put("others", id))).await;

    let mut seen = HashSet::new();
    let mut scan = client.scan("test", Some("people"), ScanOptions::default());
    while let Some(record) = scan.next().await {
        let record = record.expect("read");
        assert_eq!(record.key().set, "people");
        assert!(seen.insert(record.key().user_key.to_owned()));
    }
    assert_eq!(seen.len(), 2_000);

    let mut all = client.scan("test", None, ScanOptions::default().bins(["id"]));
    let mut count = 0;
    while let Some(batch) = all.next_batch().await {
        for record in batch.expect("read") {
            let bins = record.to_bins().expect("valid");
            assert_eq!((bins.bins.len(), bins.get("filler")), (1, None));
            count += 1;
        }
    }
    assert_eq!(count, 2_100);

    let none: Vec<String> = Vec::new();
    let mut keys_only = client.scan("test", Some("others"), ScanOptions::default().bins(none));
    let record = keys_only.next().await.expect("a record").expect("read");
    assert_eq!((record.to_bins().expect("none"), record.generation()), (Bins::new(), 1));

    // In pieces of three frames, each by the cursor of the one before, over clients of their own.
    let (mut cursor, mut pieces, mut seen) = (None, 0, HashSet::new());
    loop {
        let client = connect(&node).await;
        let mut scan = client.scan("test", Some("people"), ScanOptions::default().cursor(cursor));
        let mut frames = 0;
        while frames < 3 {
            let Some(batch) = scan.next_batch().await else { break };
            for record in batch.expect("read") {
                assert!(seen.insert(record.key().user_key.to_owned()), "given twice");
            }
            frames += 1;
        }
        cursor = scan.cursor();
        pieces += 1;
        if frames < 3 {
            break;
        }
    }
    assert_eq!(seen.len(), 2_000);
    assert!(pieces > 1);
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_keep_to_their_limits_and_partitions() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let put = async |set: &str, id: i64| {
        client.set_bytes(&Key::new("test", set, id), &[7; 1_000], Ttl::Default).await.expect("written");
    };
    join_all((0..2_000).map(|id| put("people", id))).await;
    join_all((0..100).map(|id| put("others", id))).await;
    let limited = async |limit: u64| {
        let mut scan = client.scan("test", Some("people"), ScanOptions::default().limit(limit));
        let mut count = 0;
        while let Some(record) = scan.next().await {
            record.expect("read");
            count += 1;
        }
        count
    };
    assert_eq!((limited(1).await, limited(777).await, limited(1 << 40).await), (1, 777, 2_000));

    let mut by_partition = 0;
    for partitions in [0..=1_000, 1_001..=4_095] {
        let mut scan = client.scan("test", None, ScanOptions::default().partitions(partitions.clone()));
        while let Some(batch) = scan.next_batch().await {
            for record in batch.expect("read") {
                assert!(partitions.contains(&record.key().digest().partition().number()));
                by_partition += 1;
            }
        }
    }
    assert_eq!(by_partition, 2_100);

    let mut refused = client.scan("nowhere", None, ScanOptions::default());
    assert_eq!(code(refused.next().await.expect("an error")), Code::NamespaceUnknown);
    assert!(refused.next().await.is_none());
    assert_eq!(client.truncate("test", "others").await.expect("truncated"), 100);
    assert!(client.scan("test", Some("others"), ScanOptions::default()).next().await.is_none());
    node.shutdown().await.expect("clean");
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
enum Contact {
    Nothing,
    Mail(String),
    Phone { country: u16, number: u64 },
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Person {
    name: String,
    born: Option<i32>,
    height_m: f32,
    contacts: Vec<Contact>,
    scores: BTreeMap<String, (i8, f64)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_go_in_and_come_out() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let person = Person {
        name: "Ada".to_owned(),
        born: None,
        height_m: 1.65,
        contacts: vec![
            Contact::Nothing,
            Contact::Mail("ada@example.org".to_owned()),
            Contact::Phone { country: 44, number: 123 },
        ],
        scores: BTreeMap::from([("chess".to_owned(), (-1, 0.1)), ("go".to_owned(), (2, f64::INFINITY))]),
    };
    client.put_as(&key(1), &person, PutOptions::default()).await.expect("written");
    assert_eq!(client.get_as::<Person>(&key(1)).await.expect("read"), Some(person));
    assert_eq!(client.get_as::<Person>(&key(2)).await.expect("read"), None);
    client.put(&key(1), &Bins::new().with("born", "long ago"), PutOptions::default()).await.expect("merged");
    let error = client.get_as::<Person>(&key(1)).await.expect_err("no number");
    assert!(matches!(&error, ClientError::Typed(error) if error.path() == "born"), "{error}");
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_carry_the_nodes_codes() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    assert_eq!(client.namespaces()[0].name, "test");
    let info = client.info("").await.expect("statistics");
    assert!(info.starts_with('{') && info.contains("test"), "{info}");
    assert_eq!(code(client.info("no such namespace").await), Code::NamespaceUnknown);
    let mut scan = client.scan(
        "test",
        None,
        ScanOptions::default().cursor(Some(outcrop_client::Cursor { log_id: 1, ..Default::default() })),
    );
    assert_eq!(code(scan.next().await.expect("an error")), Code::InvalidCursor);
    let huge = Bins::unnamed(vec![0; 6 << 20]);
    assert_eq!(code(client.put(&key(1), &huge, PutOptions::default()).await), Code::RecordTooLarge);
    node.shutdown().await.expect("clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_serves_the_same_client_and_what_was_acknowledged_is_there() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = start(Some(directory.path()), 0).await;
    let (port, pem) = (node.data_addr().port(), node.certificate_pem().to_owned());
    let client = Client::builder(&format!("outcrop://127.0.0.1:{port}"))
        .trust(Trust::Pem(pem))
        .deadline(Duration::from_secs(20))
        .connect()
        .await
        .expect("connects");
    for id in 0..100 {
        client.set_bytes(&key(id), b"before", Ttl::Default).await.expect("acknowledged");
    }
    node.shutdown().await.expect("clean");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get_bytes(&key(7)).await }
    });
    let node = start(Some(directory.path()), port).await;
    assert_eq!(waiting.await.expect("no panic").expect("served by the new node").expect("there"), "before");
    for id in 0..100 {
        assert_eq!(client.get_bytes(&key(id)).await.expect("read").expect("there"), "before");
    }
    node.shutdown().await.expect("clean");
    let short = client.put(&key(1), &Bins::new(), PutOptions::default().deadline(Duration::from_millis(200))).await;
    assert!(
        matches!(short, Err(ClientError::Connect { .. } | ClientError::Deadline { .. } | ClientError::Refused { .. })),
        "nothing was sent, so nothing is unknown: {short:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_dark_leaves_writes_unknown_and_is_left_for_a_new_connection() {
    let node = start(None, 0).await;
    let relay = Relay::to(node.data_addr()).await;
    let client = Client::builder(&format!("outcrop://{}", relay.addr))
        .trust(Trust::Pem(node.certificate_pem().to_owned()))
        .deadline(Duration::from_secs(2))
        .connections(1)
        .connect()
        .await
        .expect("connects");
    client.set_bytes(&key(1), b"before", Ttl::Default).await.expect("written");
    relay.cut();
    let error = client.set_bytes(&key(1), b"after", Ttl::Default).await.expect_err("no reply");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    let error = client.get_bytes(&key(1)).await.expect_err("no reply");
    assert!(matches!(error, ClientError::Deadline { .. } | ClientError::Connect { .. }), "{error}");
    // The connection is given up for its silence, and none can be made.
    let unsent = async {
        loop {
            match client.set_bytes(&key(2), b"never", Ttl::Default).await.expect_err("dark") {
                ClientError::Indeterminate { .. } => {}
                error => break error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(120), unsent).await.expect("noticed");
    assert!(matches!(error, ClientError::Connect { .. } | ClientError::Deadline { .. }), "{error}");
    relay.mend();
    let served = async {
        loop {
            if let Ok(value) = client.get_bytes(&key(1)).await {
                break value;
            }
        }
    };
    let value = tokio::time::timeout(Duration::from_secs(120), served).await.expect("a new connection");
    assert!(matches!(value.as_deref(), Some(b"before" | b"after")), "{value:?}");
    node.shutdown().await.expect("clean");
}
