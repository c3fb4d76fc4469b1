//! Format version 1 as committed bytes: what this build writes is what it always wrote, and what was written is read.
//!
//! Run with `OUTCROP_WRITE_FIXTURES=1` to write fixtures that aren't there yet; existing ones are never overwritten,
//! since a changed fixture of a released version means that stored records can't be read any more.

mod support;

use std::path::PathBuf;

use outcrop_wire::archive::{
    access_bins, archive_bins, archive_operations, archive_value, archive_values, decode_bins, decode_operations,
    decode_value, decode_values,
};
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::reply::{Called, ScanPart, encode_called, encode_error, encode_failure};
use outcrop_wire::request::{
    AggregateRequest, BatchItem, CallRequest, JobOperation, JobRequest, ModuleRequest, RowsRequest, Target,
    decode_request, encode_request,
};
use outcrop_wire::{
    BinSelection, Bins, Code, Cursor, Digest, FunctionPath, Hello, Key, NamespaceId, NamespaceInfo, PutMode, Reply,
    ReplyHeader, RequestBody, RequestHeader, StoredHeader, StoredRecord, TraceContext, Ttl, Value, Verb, Welcome,
    WorkerPlace,
};
use support::{every_bin, every_key, every_module_operation, every_operation, every_value, full_scan};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join("v1").join(name)
}

/// The committed bytes of a fixture; compared with what this build writes.
fn fixture(name: &str, written_now: &[u8]) -> Vec<u8> {
    let path = path(name);
    if !path.exists() && std::env::var_os("OUTCROP_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, written_now).expect("fixtures can be written");
    }
    let committed = std::fs::read(&path).unwrap_or_else(|error| panic!("fixture {name}: {error}"));
    assert!(committed == written_now, "{name}: this build writes other bytes than version 1 does");
    committed
}

fn stored_record(bins: &Bins, key: &Key, flags: u8) -> Vec<u8> {
    let archive = if flags == 0 { archive_bins(bins).expect("within the limits") } else { Vec::new() };
    let header = StoredHeader {
        flags,
        generation: 3,
        epoch: 5,
        sequence: 1 << 40,
        last_update_ms: 1_790_000_000_123,
        expiry_secs: 1_800_000_000,
        digest: key.digest(),
    };
    let mut bytes = Vec::new();
    header.encode(key.borrow(), archive.len(), &mut bytes);
    bytes.extend_from_slice(&archive);
    bytes
}

#[test]
fn stored_records_of_every_value_are_read_back() {
    let key = Key::new("shop", "products", "lamp");
    for (name, value) in every_value() {
        let bins = Bins::new().with(name, value.clone());
        let committed = fixture(&format!("stored_{name}.bin"), &stored_record(&bins, &key, 0));
        let record = StoredRecord::parse(&committed).expect("a stored record");
        assert_eq!((record.header.generation, record.header.epoch, record.header.sequence), (3, 5, 1 << 40));
        assert_eq!((record.header.last_update_ms, record.header.expiry_secs), (1_790_000_000_123, 1_800_000_000));
        assert_eq!((record.key, record.header.digest), (key.borrow(), key.digest()));
        let read = decode_bins(record.archive).expect("valid bins");
        assert_eq!(read.get(name), Some(&value), "{name}");
    }
}

#[test]
fn a_stored_record_of_all_values_and_a_tombstone_are_read_back() {
    let key = Key::new("shop", "products", i64::MIN);
    let committed = fixture("stored_all.bin", &stored_record(&every_bin(), &key, 0));
    let record = StoredRecord::parse(&committed).expect("a stored record");
    assert_eq!(decode_bins(record.archive).expect("valid bins"), every_bin());
    assert_eq!(access_bins(record.archive).expect("valid bins").unnamed_bytes(), Some(&b"unnamed"[..]));
    let tombstone = stored_record(&Bins::new(), &key, outcrop_wire::stored::FLAG_TOMBSTONE);
    let committed = fixture("stored_tombstone.bin", &tombstone);
    let record = StoredRecord::parse(&committed).expect("a tombstone");
    assert!(record.header.is_tombstone() && record.archive.is_empty());
}

fn requests() -> Vec<(&'static str, RequestBody<'static>)> {
    static ARCHIVE: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| archive_bins(&every_bin()).expect("within the limits"));
    static OPERATIONS: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| archive_operations(&every_operation()).expect("within the limits"));
    let key = every_key()[0].1;
    let put =
        RequestBody::Put { key, mode: PutMode::Replace, if_generation: Some(7), ttl: Ttl::Secs(60), archive: &ARCHIVE };
    let items = every_key().into_iter().enumerate().map(|(place, (_, key))| BatchItem {
        namespace: NamespaceId(place as u16),
        body: if place == 0 { put.clone() } else { RequestBody::Get { key, bins: BinSelection::All } },
    });
    vec![
        ("get_all", RequestBody::Get { key, bins: BinSelection::All }),
        ("get_none", RequestBody::Get { key, bins: BinSelection::None }),
        ("get_some", RequestBody::Get { key, bins: BinSelection::Named(vec!["", "name", "größe"]) }),
        ("exists", RequestBody::Exists { key }),
        ("put", put.clone()),
        ("delete", RequestBody::Delete { key, if_generation: None }),
        ("touch", RequestBody::Touch { key, if_generation: Some(0), ttl: Ttl::Never }),
        ("operate", RequestBody::Operate { key, if_generation: None, ttl: Ttl::Keep, operations: &OPERATIONS }),
        ("batch", RequestBody::Batch { items: items.collect() }),
        ("scan", RequestBody::Scan(full_scan())),
        ("scan_all", RequestBody::Scan(Default::default())),
        ("truncate", RequestBody::Truncate { set: "people" }),
        ("info", RequestBody::Info { topic: "" }),
    ]
}

/// An archived value that isn't empty, for arguments and options.
static ARGUMENTS: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    let value = Value::Map(vec![("percent".into(), 15.into()), ("tags".into(), vec![Value::from("sale")].into())]);
    archive_value(&value).expect("within the limits")
});

fn requests_of_functions() -> Vec<(String, RequestBody<'static>)> {
    let (key, arguments) = (every_key()[0].1, ARGUMENTS.as_slice());
    let function = FunctionPath::parse("shop@1.2.0.discount").expect("a path");
    let call = CallRequest { key, if_generation: Some(7), report: true, function, arguments };
    let plain = FunctionPath { version: None, ..function };
    let aggregate = |target| AggregateRequest { function: plain, report: true, target, arguments };
    let set = Target::Scan { set: Some("people"), partition_first: 1, partition_last: 4_095 };
    let keys = Target::Keys(every_key().into_iter().map(|(_, key)| key).collect());
    let scan = outcrop_wire::request::ScanRequest { bins: BinSelection::All, ..full_scan() };
    let mut bodies = vec![
        ("call".to_owned(), RequestBody::Call(call)),
        ("aggregate_set".to_owned(), RequestBody::Aggregate(aggregate(set))),
        ("aggregate_keys".to_owned(), RequestBody::Aggregate(aggregate(keys))),
        ("rows".to_owned(), RequestBody::Rows(RowsRequest { function, scan, arguments })),
    ];
    bodies.extend(JobOperation::ALL.map(|operation| {
        (format!("job_{}", operation.name()), RequestBody::Job(JobRequest { operation, options: arguments }))
    }));
    bodies.extend(every_module_operation(arguments, 10).into_iter().map(|operation| {
        let request = ModuleRequest { name: "shop", version: "1.2.0", operation };
        (format!("module_{}", operation.name()), RequestBody::Module(request))
    }));
    bodies
}

fn all_requests() -> Vec<(String, RequestBody<'static>)> {
    let first = requests().into_iter().map(|(name, body)| (name.to_owned(), body));
    first.chain(requests_of_functions()).collect()
}

#[test]
fn requests_of_every_verb_are_read_back() {
    let traced = TraceContext { trace_id: *b"0123456789abcdef", span_id: *b"01234567", flags: 1 };
    for (place, (name, body)) in all_requests().into_iter().enumerate() {
        let header = RequestHeader {
            request_id: 0x0102_0304,
            verb: body.verb(),
            namespace: NamespaceId(513),
            deadline_ms: 1_000,
            trace: (place % 2 == 0).then_some(traced),
        };
        let mut bytes = Vec::new();
        encode_request(&header, &body, &mut bytes);
        let committed = fixture(&format!("request_{name}.bin"), &bytes);
        assert_eq!(decode_request(&committed), Ok((header, body)), "{name}");
    }
    let operations = archive_operations(&every_operation()).expect("within the limits");
    assert_eq!(decode_operations(&operations), Ok(every_operation()));
    let verbs: std::collections::HashSet<_> = all_requests().into_iter().map(|(_, body)| body.verb()).collect();
    assert_eq!(verbs.len(), Verb::ALL.len(), "a fixture for each verb");
}

fn replies() -> Vec<(&'static str, Verb, Vec<u8>)> {
    let key = Key::new("shop", "products", 42);
    let stored = stored_record(&every_bin(), &key, 0);
    let values: Vec<Value> = every_value().into_iter().map(|(_, value)| value).collect();
    let mut batch = 2_u16.to_le_bytes().to_vec();
    for code in [Code::Ok, Code::NotFound] {
        let start = begin_frame(&mut batch);
        ReplyHeader::new(0, Verb::Exists, code).encode(&mut batch);
        batch.extend_from_slice(&9_u32.to_le_bytes());
        end_frame(&mut batch, start);
    }
    let mut scan = vec![outcrop_wire::reply::SCAN_END];
    Cursor { log_id: 1, start_lsn: 2, position_lsn: 3, emitted: 4 }.encode(&mut scan);
    scan.extend_from_slice(&1_u32.to_le_bytes());
    scan.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    scan.extend_from_slice(&stored);
    vec![
        ("get", Verb::Get, stored),
        ("exists", Verb::Exists, 1_800_000_000_u32.to_le_bytes().to_vec()),
        ("put", Verb::Put, 0_u32.to_le_bytes().to_vec()),
        ("delete", Verb::Delete, 0_u32.to_le_bytes().to_vec()),
        ("touch", Verb::Touch, 1_800_000_000_u32.to_le_bytes().to_vec()),
        ("operate", Verb::Operate, archive_values(&values).expect("archives")),
        ("batch", Verb::Batch, batch),
        ("scan", Verb::Scan, scan),
        ("truncate", Verb::Truncate, 77_u64.to_le_bytes().to_vec()),
        ("info", Verb::Info, b"{}".to_vec()),
    ]
}

#[test]
fn replies_of_every_verb_are_read_back() {
    for (name, verb, body) in replies() {
        let header =
            ReplyHeader { generation: 3, epoch: 5, sequence: 1 << 40, ..ReplyHeader::new(0x0102_0304, verb, Code::Ok) };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        bytes.extend_from_slice(&body);
        let committed = fixture(&format!("reply_{name}.bin"), &bytes);
        let reply = Reply::parse(&committed).expect("a reply");
        assert_eq!((reply.header, reply.body), (header, &body[..]), "{name}");
        match verb {
            Verb::Operate => {
                let values: Vec<Value> = every_value().into_iter().map(|(_, value)| value).collect();
                assert_eq!(decode_values(reply.body), Ok(values));
            }
            Verb::Batch => {
                let items = reply.batch_items().expect("two replies");
                assert_eq!(items[1].header.code, Code::NotFound);
                assert_eq!(items[0].body, 9_u32.to_le_bytes());
            }
            Verb::Scan => {
                let part = ScanPart::parse(reply.body).expect("a part");
                assert!(part.end && part.count == 1 && part.cursor.emitted == 4);
                let records: Vec<_> = part.iter().collect::<Result<_, _>>().expect("whole");
                assert_eq!(decode_bins(StoredRecord::parse(records[0]).expect("stored").archive), Ok(every_bin()));
            }
            _ => {}
        }
    }
    let mut bytes = Vec::new();
    encode_error(&ReplyHeader::new(1, Verb::Put, Code::StopWrites), "shop: 1% free", &mut bytes);
    let committed = fixture("reply_error.bin", &bytes);
    let reply = Reply::parse(&committed).expect("a reply");
    assert_eq!((reply.header.code, reply.message().as_str()), (Code::StopWrites, "shop: 1% free"));
}

#[test]
fn replies_of_functions_are_read_back() {
    let report = Value::Map(vec![("fuel".into(), 1_234.into()), ("module".into(), "shop".into())]);
    let report = archive_value(&report).expect("within the limits");
    let header = ReplyHeader {
        generation: 3,
        epoch: 5,
        sequence: 1 << 40,
        ..ReplyHeader::new(0x0102_0304, Verb::Call, Code::Ok)
    };
    let called = Called { result: &ARGUMENTS, report: &report };
    let mut bytes = Vec::new();
    encode_called(&header, called, &mut bytes);
    let committed = fixture("reply_call.bin", &bytes);
    let reply = Reply::parse(&committed).expect("a reply");
    assert_eq!((reply.header, Called::parse(reply.body)), (header, Ok(called)));
    let trapped = ReplyHeader::new(1, Verb::Call, Code::FunctionTrapped);
    let mut bytes = Vec::new();
    encode_failure(&trapped, "shop@1.2.0.discount: integer divide by zero", &report, &mut bytes);
    let committed = fixture("reply_failure.bin", &bytes);
    let reply = Reply::parse(&committed).expect("a reply");
    assert_eq!(reply.message(), "shop@1.2.0.discount: integer divide by zero");
    let details = reply.details().expect("flagged").expect("well formed");
    assert_eq!(decode_value(details.details).expect("valid").get(&"fuel".into()), Some(&1_234.into()));
}

#[test]
fn hello_and_welcome_are_read_back() {
    let hello = Hello::new("outcrop-client/0.1.0");
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    assert_eq!(Hello::decode(&fixture("hello.bin", &bytes)), Ok(hello));
    let namespaces = vec![
        NamespaceInfo { id: NamespaceId(0), name: "shop".to_owned(), record_bytes_max: 4 << 20 },
        NamespaceInfo { id: NamespaceId(1), name: "test".to_owned(), record_bytes_max: 1 << 20 },
    ];
    let welcome = Welcome { version: 1, node_id: 0x0123_4567_89ab_cdef, lanes_max: 16, namespaces, worker: None };
    let mut bytes = Vec::new();
    welcome.encode(&mut bytes);
    assert_eq!(Welcome::decode(&fixture("welcome.bin", &bytes)).as_ref(), Ok(&welcome), "as older nodes write it");
    let welcome = Welcome { worker: Some(WorkerPlace { number: 1, count: 2 }), ..welcome };
    bytes.clear();
    welcome.encode(&mut bytes);
    assert_eq!(Welcome::decode(&fixture("welcome-of-a-worker.bin", &bytes)), Ok(welcome));
}

#[test]
fn keys_have_the_digests_and_bytes_that_they_always_had() {
    let mut table = String::new();
    for (name, key) in every_key() {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = key.digest();
        table.push_str(&format!("{name} {digest:?} {} {hex}\n", digest.partition().number()));
        assert_eq!(Digest::from_u128(digest.as_u128()), digest);
        // Written out once more by hand: a hash over type, length of the set, set and key.
        let mut hashed = vec![key.user_key.type_byte(), key.set.len() as u8];
        hashed.extend_from_slice(key.set.as_bytes());
        key.user_key.with_bytes(|bytes| hashed.extend_from_slice(bytes));
        assert_eq!(digest.0, blake3::hash(&hashed).as_bytes()[..16]);
    }
    fixture("keys.txt", table.as_bytes());
}
