//! A test for each code: how a caller gets it, and from where. A new code without a row fails the first test.

#![allow(missing_docs)]

mod support;

use std::path::Path;

use outcrop_flash::device::memory::{Fault, Injection, Operation as Io};
use outcrop_node::command::keys::KEY_QUEUE_MAX;
use outcrop_node::options::LimitOptions;
use outcrop_wire::archive::{archive_bins, archive_operations};
use outcrop_wire::frame::FrameSplitter;
use outcrop_wire::hello::{CLOSE_VERSION, STREAM_LANE, STREAM_SCAN, STREAM_SINGLE};
use outcrop_wire::limits::{
    ARGUMENTS_BYTES_MAX, BATCH_MAX, BINS_MAX, FORMAT_VERSION, FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX, SETS_MAX,
    TTL_SECS_MAX, VALUE_DEPTH_MAX,
};
use outcrop_wire::request::{BatchItem, CallRequest, ScanRequest};
use outcrop_wire::{
    Bin, BinSelection, Bins, Code, Cursor, FunctionPath, KeyRef, NamespaceId, Operation, PutMode, RequestBody, Ttl,
    UserKeyRef, Value,
};
use support::request::{key, payload};
use support::{Answer, Rig, Settings, frame, stream};

/// How a code is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// By a request that `a_request_gets` makes.
    Request,
    /// By a stream of a real node; a test below.
    Stream,
    /// By modules, functions and jobs, which need components: tests in files of their own (`tests/functions*.rs`).
    Functions,
    /// By nothing that we know: what it reports wasn't foreseen.
    Nothing,
}

fn reached(code: Code) -> From {
    match code {
        Code::UnsupportedVersion | Code::FrameTooLarge | Code::InvalidCursor | Code::TooManyStreams => From::Stream,
        Code::Internal => From::Nothing,
        Code::FunctionInputLimit => From::Request,
        code if (600..700).contains(&(code as u16)) => From::Functions,
        _ => From::Request,
    }
}

/// Every Rust file below a directory of this crate whose path the filter takes, as one text.
fn sources(directory: &Path, wanted: &dyn Fn(&Path) -> bool) -> String {
    let entries = std::fs::read_dir(directory).expect("a directory of this crate");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let texts = paths.map(|path| match path.is_dir() {
        true => sources(&path, wanted),
        false if path.extension().is_some_and(|extension| extension == "rs") && wanted(&path) => {
            std::fs::read_to_string(&path).expect("UTF-8")
        }
        false => String::new(),
    });
    texts.collect()
}

/// Catches: a code of functions that the node gives and no test of functions asks for.
#[test]
fn every_code_of_functions_that_the_node_gives_has_a_test_that_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let node = sources(&root.join("src"), &|_| true);
    assert!(node.contains("Code::NotFound"), "the sources are there");
    let tests = sources(&root.join("tests"), &|path| {
        path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("functions"))
    });
    let names = |text: &str, code: Code| {
        let name = format!("Code::{code:?}");
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        text.match_indices(&name).any(|(at, _)| ends(&text[at + name.len()..]))
    };
    let given = Code::ALL.iter().filter(|code| reached(**code) == From::Functions && names(&node, **code));
    let untested: Vec<_> = given.filter(|code| !names(&tests, **code)).collect();
    assert_eq!(untested, Vec::<&Code>::new(), "write their tests in tests/functions*.rs");
}

/// Catches: a code that nobody gets, a code whose request gets another one.
#[tokio::test(start_paused = true)]
async fn every_code_is_got_by_the_request_that_earns_it() {
    for code in Code::ALL.iter().filter(|code| reached(**code) == From::Request) {
        let answer = a_request_gets(*code).await;
        let message = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.code(), *code, "{message}");
        assert!(*code == Code::Ok || !message.is_empty(), "{code:?} says what happened");
    }
}

fn put<'a>(key: KeyRef<'a>, archive: &'a [u8]) -> RequestBody<'a> {
    RequestBody::Put { key, mode: PutMode::Replace, if_generation: None, ttl: Ttl::Never, archive }
}

fn get(key: KeyRef<'_>) -> RequestBody<'_> {
    RequestBody::Get { key, bins: BinSelection::All }
}

/// Bins as a client without limits would archive them.
fn unchecked(bins: &Bins) -> Vec<u8> {
    rkyv::to_bytes::<rkyv::rancor::Error>(bins).expect("any bins can be archived").into_vec()
}

fn bin(name: impl Into<String>, value: impl Into<Value>) -> Bin {
    Bin { name: name.into(), value: value.into() }
}

/// Puts bins that the client's own checks would have refused.
async fn put_unchecked(bins: Vec<Bin>) -> Answer {
    Rig::new(Settings::new()).await.ask(&put(key("s", 1), &unchecked(&Bins { bins }))).await
}

async fn a_request_gets(code: Code) -> Answer {
    match code {
        Code::Ok => Rig::new(Settings::new()).await.replace(key("s", 1), &Bins::unnamed(1), Ttl::Never).await,
        Code::MalformedFrame
        | Code::UnknownVerb
        | Code::MalformedArchive
        | Code::InvalidKey
        | Code::InvalidBinName
        | Code::DuplicateName
        | Code::TooManyBins
        | Code::RecordTooLarge
        | Code::ValueTooDeep
        | Code::InvalidTtl
        | Code::BatchTooLarge
        | Code::InvalidRequest
        | Code::FunctionInputLimit => malformed(code).await,
        Code::NamespaceUnknown
        | Code::TooManySets
        | Code::NotFound
        | Code::AlreadyExists
        | Code::GenerationMismatch
        | Code::TypeMismatch
        | Code::OutOfRange => refused(code).await,
        Code::Overloaded
        | Code::HotKey
        | Code::DeadlineExceeded
        | Code::Draining
        | Code::ReplyTooLarge
        | Code::StopWrites => loaded(code).await,
        Code::Indeterminate | Code::DevicePoisoned | Code::RecordCorrupt | Code::DeviceError => failing(code).await,
        other => panic!("{other:?} has no row"),
    }
}

async fn malformed(code: Code) -> Answer {
    let archive = archive_bins(&Bins::unnamed(1)).expect("within the limits");
    let good = frame(&put(key("s", 1), &archive), 0).to_vec();
    match code {
        Code::MalformedFrame => Rig::new(Settings::new()).await.ask_bytes(good[..20].to_vec()).await,
        Code::UnknownVerb => {
            let mut bytes = good;
            bytes[4] = 99;
            Rig::new(Settings::new()).await.ask_bytes(bytes).await
        }
        Code::MalformedArchive => Rig::new(Settings::new()).await.ask(&put(key("s", 1), &[0xFF; 64])).await,
        Code::InvalidKey => {
            let nothing = KeyRef { set: "s", user_key: UserKeyRef::Text("") };
            Rig::new(Settings::new()).await.ask(&put(nothing, &archive)).await
        }
        Code::InvalidBinName => put_unchecked(vec![bin("x".repeat(256), 1)]).await,
        Code::DuplicateName => put_unchecked(vec![bin("twice", 1), bin("twice", 2)]).await,
        Code::TooManyBins => put_unchecked((0..=BINS_MAX).map(|n| bin(n.to_string(), 1)).collect()).await,
        Code::ValueTooDeep => {
            let nested = (0..=VALUE_DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
            put_unchecked(vec![bin("deep", nested)]).await
        }
        Code::RecordTooLarge => {
            let rig = Rig::new(Settings::new().with(|policy| policy.record_bytes_max = 1_000)).await;
            rig.replace(key("s", 1), &Bins::unnamed(payload(1, 1_001)), Ttl::Never).await
        }
        Code::InvalidTtl => {
            let (ttl, if_generation) = (Ttl::Secs(TTL_SECS_MAX + 1), None);
            Rig::new(Settings::new()).await.ask(&RequestBody::Touch { key: key("s", 1), if_generation, ttl }).await
        }
        Code::BatchTooLarge => {
            let item = || BatchItem { namespace: NamespaceId(0), body: get(key("s", 1)) };
            let many = RequestBody::Batch { items: (0..=BATCH_MAX).map(|_| item()).collect() };
            let rig = Rig::new(Settings::new()).await;
            assert_eq!(rig.ask(&many).await.code(), Code::BatchTooLarge);
            rig.ask(&RequestBody::Batch { items: Vec::new() }).await
        }
        Code::FunctionInputLimit => {
            let function = FunctionPath { module: "shop", version: None, function: "discount" };
            let arguments = vec![0; ARGUMENTS_BYTES_MAX + 1];
            let call =
                CallRequest { key: key("s", 1), if_generation: None, report: false, function, arguments: &arguments };
            Rig::new(Settings::new()).await.ask(&RequestBody::Call(call)).await
        }
        _ => Rig::new(Settings::new()).await.ask(&RequestBody::Scan(ScanRequest::default())).await,
    }
}

async fn refused(code: Code) -> Answer {
    let rig = Rig::new(Settings::new()).await;
    let bins = Bins::new().with("text", "a").with("list", vec![Value::Null]);
    rig.replace(key("s", 1), &bins, Ttl::Never).await.ok();
    let archive = archive_bins(&bins).expect("within the limits");
    match code {
        Code::NamespaceUnknown => {
            let mut bytes = frame(&get(key("s", 1)), 0).to_vec();
            bytes[6] = 7;
            rig.ask_bytes(bytes).await
        }
        Code::TooManySets => {
            let names: Vec<String> = (1..SETS_MAX).map(|number| format!("set{number}")).collect();
            for name in &names {
                rig.namespace().sets.intern(name).expect("there is a number left");
            }
            rig.replace(key("one more", 1), &bins, Ttl::Never).await
        }
        Code::NotFound => rig.get(key("s", 2)).await,
        Code::AlreadyExists => rig.put(key("s", 1), PutMode::CreateOnly, &bins, Ttl::Never).await,
        Code::GenerationMismatch => {
            let (mode, ttl, if_generation) = (PutMode::Upsert, Ttl::Never, Some(9));
            rig.ask(&RequestBody::Put { key: key("s", 1), mode, if_generation, ttl, archive: &archive }).await
        }
        Code::TypeMismatch => {
            rig.operate(key("s", 1), vec![Operation::Add { bin: "text".into(), amount: Value::Int(1) }]).await
        }
        _ => rig.operate(key("s", 1), vec![Operation::ListPop { bin: "list".into(), index: 5 }]).await,
    }
}

/// Catches: a condition that only looks whether the record is at least, or at most, as new as the caller believes.
#[tokio::test(start_paused = true)]
async fn a_generation_that_is_not_the_records_is_refused_older_newer_or_none() {
    let rig = Rig::new(Settings::new()).await;
    let bins = Bins::new().with("n", 1);
    for _ in 0..3 {
        rig.replace(key("s", 1), &bins, Ttl::Never).await.ok();
    }
    let archive = archive_bins(&bins).expect("within the limits");
    let operations = archive_operations(&vec![Operation::Add { bin: "n".into(), amount: Value::Int(1) }]);
    let operations = operations.expect("within the limits");
    let (key, ttl) = (key("s", 1), Ttl::Never);
    for generation in [0, 1, 2, 4, u32::MAX] {
        let if_generation = Some(generation);
        let mut requests = vec![
            RequestBody::Delete { key, if_generation },
            RequestBody::Touch { key, if_generation, ttl },
            RequestBody::Operate { key, if_generation, ttl, operations: &operations },
        ];
        for mode in [PutMode::Upsert, PutMode::UpdateOnly, PutMode::Replace, PutMode::ReplaceOnly] {
            requests.push(RequestBody::Put { key, mode, if_generation, ttl, archive: &archive });
        }
        for request in &requests {
            assert_eq!(rig.ask(request).await.code(), Code::GenerationMismatch, "{request:?}");
        }
    }
    let record = rig.get(key).await.record();
    assert_eq!((record.generation, record.bins), (3, bins));
    rig.ask(&RequestBody::Delete { key, if_generation: Some(3) }).await.ok();
}

async fn loaded(code: Code) -> Answer {
    // Room enough, and defrag that leaves it alone: what is truncated stays on the device.
    let segments = if code == Code::Overloaded { 100 } else { 24 };
    let settings = Settings { deadline_ms: 600_000, segments, ..Settings::new() };
    let rig = Rig::new(settings.with(|policy| policy.defrag_live_percent = 0)).await;
    let small = Bins::new().with("n", 1);
    match code {
        Code::Overloaded => loop {
            // Each truncation is remembered until what it hides is off the device.
            rig.replace(key("s", 1), &small, Ttl::Never).await.ok();
            let answer = rig.truncate("s").await;
            if answer.code() != Code::Ok {
                break answer;
            }
            assert!(rig.namespace().truncations().0 < 5_000, "they have a bound");
        },
        Code::HotKey => {
            rig.replace(key("s", 1), &small, Ttl::Never).await.ok();
            let queue = (0..KEY_QUEUE_MAX).map(|_| rig.context.keys.turn(0, key("s", 1).digest()));
            let waiting = futures_util::future::join_all(queue);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
            rig.operate(key("s", 1), vec![Operation::Add { bin: "n".into(), amount: Value::Int(1) }]).await
        }
        Code::DeadlineExceeded => {
            rig.replace(key("s", 1), &small, Ttl::Never).await.ok();
            let _turn = rig.context.keys.turn(0, key("s", 1).digest()).await.expect("the line is empty");
            let operations = archive_operations(&vec![Operation::Touch]).expect("within the limits");
            let (ttl, if_generation) = (Ttl::Never, None);
            let touch = RequestBody::Operate { key: key("s", 1), if_generation, ttl, operations: &operations };
            rig.ask_within(&touch, 20).await
        }
        Code::Draining => {
            rig.context.drain();
            rig.get(key("s", 1)).await
        }
        Code::ReplyTooLarge => {
            rig.replace(key("s", 1), &Bins::unnamed(payload(1, 200_000)), Ttl::Never).await.ok();
            let item = |_| BatchItem { namespace: NamespaceId(0), body: get(key("s", 1)) };
            let answer = rig.ask(&RequestBody::Batch { items: (0..40).map(item).collect() }).await.ok();
            assert_eq!(answer.items()[0].code(), Code::Ok);
            answer.items().pop().expect("forty answers")
        }
        _ => {
            let mut number = 0;
            loop {
                number += 1;
                let value = Bins::unnamed(payload(1, 100_000));
                let answer = rig.replace(key("s", number), &value, Ttl::Never).await;
                if answer.code() != Code::Ok {
                    break answer;
                }
            }
        }
    }
}

async fn failing(code: Code) -> Answer {
    let rig = Rig::new(Settings::new().with(|policy| policy.cache_bytes = 0)).await;
    for number in 0..100 {
        rig.replace(key("s", number), &Bins::unnamed(payload(1, 5_000)), Ttl::Never).await.ok();
    }
    let digest = key("s", 1).digest();
    let entry = rig.namespace().index.read(digest.partition()).get(&digest).expect("it was written");
    match code {
        Code::Indeterminate | Code::DevicePoisoned => {
            rig.device.inject(Injection::new(Io::Sync, Fault::Eio));
            let first = rig.delete(key("s", 2)).await;
            if code == Code::Indeterminate { first } else { rig.delete(key("s", 3)).await }
        }
        Code::RecordCorrupt => {
            let place = rig.device_offset(entry.location.segment().0, entry.location.offset() + 200);
            assert!(rig.device.flip_bit(place, 1));
            rig.get(key("s", 1)).await
        }
        _ => {
            rig.device.inject(Injection::new(Io::Read, Fault::Eio));
            rig.get(key("s", 1)).await
        }
    }
}

/// Catches: a peer of another version that is left without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsupported_version_closes_the_connection() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = stream::start(directory.path()).await;
    let (_endpoint, connection) = stream::connect(&node).await;
    let _session = stream::hello(&connection, FORMAT_VERSION + 1).await;
    match connection.closed().await {
        quinn::ConnectionError::ApplicationClosed(close) => {
            // The client makes `unsupported_version` of it.
            assert_eq!(close.error_code, quinn::VarInt::from_u32(CLOSE_VERSION));
            assert!(String::from_utf8_lossy(&close.reason).contains("version"));
        }
        other => panic!("{other}"),
    }
    node.shutdown().await.expect("clean");
}

/// Catches: memory taken for a frame that nobody may send; scans and cursors without a bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_tell_what_they_cannot_take() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = stream::start(directory.path()).await;
    let (_endpoint, connection) = stream::connect(&node).await;
    let _session = stream::hello(&connection, FORMAT_VERSION).await;

    let too_long = (FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
    let (_send, mut receive) = stream::open(&connection, STREAM_SINGLE, &too_long).await;
    assert_eq!(stream::reply(&mut receive).await.code(), Code::FrameTooLarge);

    let cursor = Some(Cursor { log_id: 7, start_lsn: 0, position_lsn: 0, emitted: 0 });
    let scan = frame(&RequestBody::Scan(ScanRequest { cursor, ..ScanRequest::default() }), 0);
    let (_send, mut receive) = stream::open(&connection, STREAM_SCAN, &stream::framed(&scan)).await;
    assert_eq!(stream::reply(&mut receive).await.code(), Code::InvalidCursor);

    // Scans that never say what they want keep their places; one more than there are places gets an answer.
    let mut silent = Vec::new();
    for _ in 0..=LimitOptions::default().scans_max {
        silent.push(stream::open(&connection, STREAM_SCAN, &[]).await);
    }
    let replies = silent.iter_mut().map(|(_, receive)| Box::pin(stream::reply(receive)));
    let (refused, ..) = futures_util::future::select_all(replies).await;
    assert_eq!(refused.code(), Code::TooManyStreams);
    node.shutdown().await.expect("clean");
}

/// A reply that waits for durability and is larger than a lane's frame: sent on the lane, it broke the lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_that_had_to_wait_leaves_on_a_stream_of_its_own() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = stream::start(directory.path()).await;
    let (_endpoint, connection) = stream::connect(&node).await;
    let _session = stream::hello(&connection, FORMAT_VERSION).await;
    let archive = archive_bins(&Bins::unnamed(payload(1, 200_000))).expect("within the limits");
    let item = |_| BatchItem { namespace: NamespaceId(0), body: get(key("s", 1)) };
    // In one write: the batch reads what isn't durable yet.
    let mut bytes = stream::framed(&frame(&put(key("s", 1), &archive), 0));
    bytes.extend(stream::framed(&frame(&RequestBody::Batch { items: (0..3).map(item).collect() }, 0)));
    let (mut send, mut receive) = stream::open(&connection, STREAM_LANE, &bytes).await;
    let mut splitter = FrameSplitter::new(LANE_FRAME_BYTES_MAX);
    let first = stream::answer(&stream::next_frame(&mut receive, &mut splitter).await);
    assert_eq!(first.ok().header.verb, outcrop_wire::Verb::Put);
    let mut large = connection.accept_uni().await.expect("the connection lives");
    let mut kind = [0];
    large.read_exact(&mut kind).await.expect("a first byte");
    assert_eq!(kind[0], outcrop_wire::hello::STREAM_LARGE_REPLY);
    let answers = stream::reply(&mut large).await.ok().items();
    assert!(
        answers.len() == 3 && answers.iter().all(|answer| answer.record().bins == Bins::unnamed(payload(1, 200_000)))
    );
    send.write_all(&stream::framed(&frame(&RequestBody::Exists { key: key("s", 1) }, 0))).await.expect("still open");
    stream::answer(&stream::next_frame(&mut receive, &mut splitter).await).ok();
    node.shutdown().await.expect("clean");
}
