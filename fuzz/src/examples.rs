//! Valid examples of everything that is fuzzed, made once by the code that writes the real ones.

use std::sync::OnceLock;

use outcrop_wire::archive::{archive_bins, archive_operations, archive_value, archive_values};
use outcrop_wire::reply::{Called, SCAN_MORE, encode_called, encode_error, encode_failure};
use outcrop_wire::request::{
    AggregateRequest, BatchItem, CallRequest, JobOperation, JobRequest, ModuleOperation, ModuleRequest, RowsRequest,
    ScanRequest, Target, encode_request,
};
use outcrop_wire::{
    BinSelection, Bins, Code, Cursor, FunctionPath, Hello, Key, KeyRef, MapKey, NamespaceId, NamespaceInfo, Operation,
    PutMode, ReplyHeader, RequestBody, RequestHeader, StoredHeader, TraceContext, Ttl, Value, Verb, Welcome,
    WorkerPlace,
};

fn nested() -> Bins {
    let inner = Value::Map(vec![
        (MapKey::Int(-7), Value::List(vec![Value::Null, Value::Bool(true), Value::Int(i64::MIN)])),
        (MapKey::Text("naïve".into()), Value::Float(f64::NAN)),
        (MapKey::Bytes(vec![0, 255]), Value::Bytes(vec![1; 40])),
    ]);
    Bins::unnamed(&b"plain"[..]).with("text", "Grüße").with("inner", inner).with("zero", -0.0)
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::Put { bin: "a".into(), value: Value::List(vec![Value::Int(1)]) },
        Operation::ListAppend { bin: "a".into(), value: Value::from("end") },
        Operation::Add { bin: "n".into(), amount: Value::Int(1) },
        Operation::MapPut { bin: "m".into(), key: MapKey::Int(1), value: Value::Null },
        Operation::Touch,
    ]
}

/// Archived bins, operations and values.
pub fn archives() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let bins = [nested(), Bins::new(), Bins::unnamed(vec![9; 300])];
        let mut made: Vec<_> = bins.iter().map(|bins| archive_bins(bins).expect("within the limits")).collect();
        made.push(archive_operations(&operations()).expect("within the limits"));
        made.push(archive_values(&vec![Value::Int(1), Value::from("two"), Value::Null]).expect("within the limits"));
        let list = Value::List(nested().bins.into_iter().map(|bin| bin.value).collect());
        made.push(archive_value(&list).expect("within the limits"));
        made
    })
}

fn requests_of_functions<'a>(key: KeyRef<'a>, other: KeyRef<'a>) -> Vec<RequestBody<'a>> {
    let function = FunctionPath { module: "shop", version: Some("1.2.0"), function: "discount" };
    let arguments = archives()[5].as_slice();
    let call = CallRequest { key, if_generation: Some(3), report: true, function, arguments };
    let aggregate = |target| RequestBody::Aggregate(AggregateRequest { function, report: false, target, arguments });
    let module = |operation| RequestBody::Module(ModuleRequest { name: "shop", version: "1.2.0", operation });
    let item = |body| BatchItem { namespace: NamespaceId(1), body };
    vec![
        RequestBody::Call(call),
        RequestBody::Batch { items: vec![item(RequestBody::Call(call)), item(RequestBody::Exists { key: other })] },
        aggregate(Target::Scan { set: Some("set"), partition_first: 3, partition_last: 9 }),
        aggregate(Target::Keys(vec![key, other])),
        RequestBody::Rows(RowsRequest { function, scan: ScanRequest::default(), arguments }),
        module(ModuleOperation::UploadPart { total_bytes: 9, offset: 4, hash: [7; 32], bytes: b"bytes" }),
        module(ModuleOperation::Sign { signature: [1; 64], public_key: [2; 32] }),
        module(ModuleOperation::Activate),
        module(ModuleOperation::Logs { options: arguments }),
        RequestBody::Job(JobRequest { operation: JobOperation::Start, options: arguments }),
    ]
}

/// Requests of every verb.
pub fn requests() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let (int, text) = (Key::new("n", "set", 42), Key::new("n", "ein Satz", "schlüssel/1"));
        let (key, other) = (int.borrow(), text.borrow());
        let bins = BinSelection::Named(vec!["", "text"]);
        let archive = &archives()[0];
        let items = vec![
            BatchItem { namespace: NamespaceId(1), body: RequestBody::Get { key, bins: BinSelection::All } },
            BatchItem { namespace: NamespaceId(0), body: RequestBody::Delete { key: other, if_generation: Some(3) } },
        ];
        let cursor = Some(Cursor { log_id: 1, start_lsn: 2, position_lsn: 3, emitted: 4 });
        let scan = ScanRequest { set: Some("set"), bins: bins.clone(), cursor, limit: 9, ..ScanRequest::default() };
        let mut bodies = requests_of_functions(key, other);
        bodies.extend([
            RequestBody::Get { key, bins },
            RequestBody::Exists { key: other },
            RequestBody::Put { key, mode: PutMode::Upsert, if_generation: Some(1), ttl: Ttl::Secs(60), archive },
            RequestBody::Delete { key, if_generation: None },
            RequestBody::Touch { key: other, if_generation: None, ttl: Ttl::Never },
            RequestBody::Operate { key, if_generation: None, ttl: Ttl::Keep, operations: &archives()[3] },
            RequestBody::Batch { items },
            RequestBody::Scan(scan),
            RequestBody::Truncate { set: "set" },
            RequestBody::Info { topic: "" },
        ]);
        let trace = Some(TraceContext { trace_id: [1; 16], span_id: [2; 8], flags: 1 });
        let encoded = bodies.iter().enumerate().map(|(number, body)| {
            let trace = trace.filter(|_| number % 2 == 0);
            let verb = body.verb();
            let header = RequestHeader { request_id: 7, verb, namespace: NamespaceId(2), deadline_ms: 50, trace };
            let mut frame = Vec::new();
            encode_request(&header, body, &mut frame);
            frame
        });
        encoded.collect()
    })
}

/// Stored records: one with bins, a tombstone.
pub fn stored_records() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let record = |key: Key, flags: u8, archive: &[u8]| {
            let digest = key.digest();
            let header =
                StoredHeader { flags, generation: 2, epoch: 3, sequence: 4, digest, ..StoredHeader::default() };
            let mut bytes = Vec::new();
            header.encode(key.borrow(), archive.len(), &mut bytes);
            bytes.extend_from_slice(archive);
            bytes
        };
        vec![
            record(Key::new("n", "set", "text"), 0, &archives()[0]),
            record(Key::new("n", "set", 5), outcrop_wire::stored::FLAG_TOMBSTONE, &[]),
            record(Key::new("n", "s", vec![0, 1, 2]), 0, &archives()[1]),
        ]
    })
}

/// Replies: a record, an error, a batch, a part of a scan; and both sides of the first exchange.
pub fn replies() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let reply = |verb: Verb, body: &[u8]| {
            let mut bytes = Vec::new();
            ReplyHeader::new(7, verb, Code::Ok).encode(&mut bytes);
            bytes.extend_from_slice(body);
            bytes
        };
        let prefixed = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
        let mut error = Vec::new();
        encode_error(&ReplyHeader::new(7, Verb::Put, Code::StopWrites), "shop: 1% free", &mut error);
        let (mut called, mut failure) = (Vec::new(), Vec::new());
        let result = Called { result: &archives()[5], report: &archives()[5] };
        encode_called(&ReplyHeader::new(7, Verb::Call, Code::Ok), result, &mut called);
        let header = ReplyHeader::new(7, Verb::Call, Code::FunctionTrapped);
        encode_failure(&header, "it trapped", &archives()[5], &mut failure);
        let get = reply(Verb::Get, &stored_records()[0]);
        let batch = [&2_u16.to_le_bytes()[..], &prefixed(&get), &prefixed(&error)].concat();
        let mut scan = vec![SCAN_MORE];
        Cursor { log_id: 1, start_lsn: 2, position_lsn: 3, emitted: 4 }.encode(&mut scan);
        scan.extend_from_slice(&2_u32.to_le_bytes());
        stored_records()[..2].iter().for_each(|record| scan.extend_from_slice(&prefixed(record)));
        let (mut hello, mut welcome) = (Vec::new(), Vec::new());
        Hello::new("example").encode(&mut hello);
        let namespaces = vec![NamespaceInfo { id: NamespaceId(0), name: "shop".into(), record_bytes_max: 1 << 20 }];
        let worker = Some(WorkerPlace { number: 1, count: 2 });
        Welcome { version: 1, node_id: 9, lanes_max: 4, namespaces, worker }.encode(&mut welcome);
        vec![get, error, called, failure, reply(Verb::Batch, &batch), reply(Verb::Scan, &scan), hello, welcome]
    })
}

/// Configurations with every section.
pub fn configurations() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let whole = outcrop_node::config::Config::dev(None, "test").to_toml();
        let short = "[[namespace]]\nname = \"shop\"\nsize = \"1GiB\"\nvalues = \"ram\"\ndefault_ttl = \"30d\"\n";
        vec![whole.into_bytes(), short.as_bytes().to_vec(), Vec::new()]
    })
}

/// Components, some of which can be wiped: a module with memory and globals, tied to an import as `wit-component` does it.
pub fn components() -> &'static [Vec<u8>] {
    const TEXTS: [&str; 3] = [
        r#"(component (core module $m
            (memory (export "m") 2) (global $a (mut i32) (i32.const 7)) (global (mut f64) (f64.const nan))
            (table 2 funcref) (elem (i32.const 0) func $f)
            (func $f (export "f") (i32.store8 (i32.const 5) (global.get $a)) (global.set $a (i32.const 1)))
            (data (i32.const 65530) "abcdefgh") (data "passive") (data (i32.const 0) "b"))
          (core instance $i (instantiate $m))
          (func (export "f") (canon lift (core func $i "f"))))"#,
        r#"(component (import "log" (func $log (param "line" string)))
          (core module $shim (type $t (func (param i32 i32))) (table (export "t") 1 1 funcref)
            (func (export "0") (param i32 i32) (call_indirect (type $t) (local.get 0) (local.get 1) (i32.const 0))))
          (core module $m (import "h" "0" (func (param i32 i32))) (memory (export "memory") 1)
            (global $heap (mut i64) (i64.const -1)) (func (export "f") (call 0 (i32.const 0) (i32.const 4)))
            (data (i32.const 0) "line"))
          (core module $fix (import "" "t" (table 1 1 funcref)) (import "" "0" (func (param i32 i32)))
            (elem (i32.const 0) func 0))
          (core instance $s (instantiate $shim))
          (core instance $i (instantiate $m (with "h" (instance $s))))
          (core func $l (canon lower (func $log) (memory (core memory $i "memory"))))
          (core instance (instantiate $fix (with "" (instance (export "t" (table $s "t")) (export "0" (func $l))))))
          (component $c (import "f" (func $f)) (export "g" (func $f)))
          (func $f (canon lift (core func $i "f")))
          (instance $e (instantiate $c (with "f" (func $f))))
          (export "e" (instance $e)))"#,
        r#"(component (core module $m (memory 1) (table 2 funcref) (data $d "x")
            (func (export "f") (table.set (i32.const 0) (ref.null func)) (data.drop $d) (drop (memory.grow (i32.const 1)))))
          (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"#,
    ];
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| TEXTS.iter().map(|text| wat::parse_str(text).expect("well formed")).collect())
}
