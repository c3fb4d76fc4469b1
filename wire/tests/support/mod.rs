//! What the tests of the format share: values of every kind, and requests of every verb.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use outcrop_wire::request::{
    AggregateRequest, CallRequest, JobOperation, JobRequest, ModuleOperation, ModuleRequest, RowsRequest, ScanRequest,
    Target,
};
use outcrop_wire::{
    BinSelection, Bins, Cursor, FunctionPath, KeyRef, MapKey, NamespaceId, Operation, PutMode, RequestBody, Ttl,
    UserKeyRef, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A value of every type, with the corners of each.
pub fn every_value() -> Vec<(&'static str, Value)> {
    let map = |entries: Vec<(MapKey, Value)>| Value::Map(entries);
    vec![
        ("null", Value::Null),
        ("bool_false", Value::Bool(false)),
        ("bool_true", Value::Bool(true)),
        ("int_zero", Value::Int(0)),
        ("int_min", Value::Int(i64::MIN)),
        ("int_max", Value::Int(i64::MAX)),
        ("float_pi", Value::Float(std::f64::consts::PI)),
        ("float_minus_zero", Value::Float(-0.0)),
        ("float_nan", Value::Float(f64::from_bits(0x7ff8_0000_0000_0001))),
        ("float_signalling_nan", Value::Float(f64::from_bits(0xfff0_0000_0000_002a))),
        ("float_infinite", Value::Float(f64::NEG_INFINITY)),
        ("float_subnormal", Value::Float(f64::from_bits(1))),
        ("text_empty", Value::Text(String::new())),
        ("text_inline", Value::Text("bin".to_owned())),
        ("text_long", Value::Text("läuft über acht Bytes hinaus ✓".to_owned())),
        ("bytes_empty", Value::Bytes(Vec::new())),
        ("bytes", Value::Bytes((0..=255).collect())),
        ("list_empty", Value::List(Vec::new())),
        (
            "list_mixed",
            Value::List(vec![1.into(), "two".into(), 3.0.into(), Value::Null, Value::List(vec![true.into()])]),
        ),
        ("map_empty", map(Vec::new())),
        (
            "map_of_every_key",
            map(vec![
                (MapKey::Text("z first".to_owned()), 1.into()),
                (MapKey::Int(-1), "minus one".into()),
                (MapKey::Bytes(vec![0, 255]), Value::Null),
                (MapKey::Text("1".to_owned()), 2.into()),
                (MapKey::Int(1), map(vec![(MapKey::Text(String::new()), Value::List(Vec::new()))])),
            ]),
        ),
    ]
}

/// All of them as the bins of one record.
pub fn every_bin() -> Bins {
    every_value().into_iter().fold(Bins::unnamed("unnamed"), |bins, (name, value)| bins.with(name, value))
}

/// An operation of every kind.
pub fn every_operation() -> Vec<Operation> {
    let bin = || "bin".to_owned();
    let key = MapKey::Text("key".to_owned());
    vec![
        Operation::Read { bin: bin() },
        Operation::Put { bin: bin(), value: 1.into() },
        Operation::Remove { bin: bin() },
        Operation::Add { bin: bin(), amount: 2.5.into() },
        Operation::Append { bin: bin(), value: "after".into() },
        Operation::Prepend { bin: bin(), value: "before".into() },
        Operation::ListAppend { bin: bin(), value: 1.into() },
        Operation::ListInsert { bin: bin(), index: -1, value: 1.into() },
        Operation::ListPop { bin: bin(), index: 0 },
        Operation::ListTrim { bin: bin(), index: 1, count: u64::MAX },
        Operation::ListRemove { bin: bin(), value: Value::Null },
        Operation::ListGet { bin: bin(), index: i64::MIN },
        Operation::ListLen { bin: bin() },
        Operation::MapPut { bin: bin(), key: key.clone(), value: 1.into() },
        Operation::MapRemove { bin: bin(), key: key.clone() },
        Operation::MapGetByKey { bin: bin(), key: MapKey::Int(7) },
        Operation::MapGetByRank { bin: bin(), rank: -1 },
        Operation::MapLen { bin: bin() },
        Operation::Touch,
        Operation::Delete,
    ]
}

/// A scan with every field other than its default.
pub fn full_scan() -> ScanRequest<'static> {
    ScanRequest {
        set: Some("people"),
        partition_first: 1,
        partition_last: 4_095,
        bins: BinSelection::Named(vec!["name", ""]),
        cursor: Some(Cursor { log_id: 1, start_lsn: 2, position_lsn: 3, emitted: 4 }),
        records_per_sec: 5,
        limit: 6,
    }
}

/// Every operation on a module.
pub fn every_module_operation(archive: &[u8], offset: u64) -> Vec<ModuleOperation<'_>> {
    let bytes = if archive.is_empty() { &[7] } else { archive };
    let offset = offset >> 1;
    vec![
        ModuleOperation::UploadPart { total_bytes: offset + bytes.len() as u64, offset, hash: [9; 32], bytes },
        ModuleOperation::Sign { signature: [1; 64], public_key: [2; 32] },
        ModuleOperation::Activate,
        ModuleOperation::Rollback,
        ModuleOperation::Deactivate,
        ModuleOperation::Remove,
        ModuleOperation::List,
        ModuleOperation::Describe,
        ModuleOperation::Stats,
        ModuleOperation::Logs { options: archive },
        ModuleOperation::Pause,
        ModuleOperation::Resume,
        ModuleOperation::SetLimits { limits: archive },
    ]
}

pub fn user_keys() -> impl Strategy<Value = outcrop_wire::UserKey> {
    prop_oneof![
        any::<i64>().prop_map(outcrop_wire::UserKey::Int),
        "\\PC{1,40}".prop_map(outcrop_wire::UserKey::Text),
        vec(any::<u8>(), 1..1_024).prop_map(outcrop_wire::UserKey::Bytes),
    ]
}

pub fn sets() -> impl Strategy<Value = String> {
    "[^/\\p{Cc}]{1,15}".prop_filter("within 63 bytes", |set| set.len() <= 63)
}

pub fn ttls() -> impl Strategy<Value = Ttl> {
    prop_oneof![
        Just(Ttl::Default),
        Just(Ttl::Never),
        Just(Ttl::Keep),
        (1..=outcrop_wire::limits::TTL_SECS_MAX).prop_map(Ttl::Secs)
    ]
}

pub fn modes() -> impl Strategy<Value = PutMode> {
    (0..=4_u8).prop_map(|number| PutMode::from_number(number).expect("five modes"))
}

/// Values nested a few deep, floats with any bits, maps with each key once.
pub fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        "\\PC{0,12}".prop_map(Value::Text),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::List),
            vec((map_keys(), inner), 0..8).prop_map(|entries| {
                let mut kept: Vec<(MapKey, Value)> = Vec::new();
                for (key, value) in entries {
                    if !kept.iter().any(|(earlier, _)| *earlier == key) {
                        kept.push((key, value));
                    }
                }
                Value::Map(kept)
            }),
        ]
    })
}

fn map_keys() -> impl Strategy<Value = MapKey> {
    prop_oneof![
        any::<i64>().prop_map(MapKey::Int),
        "\\PC{0,10}".prop_map(MapKey::Text),
        vec(any::<u8>(), 0..10).prop_map(MapKey::Bytes),
    ]
}

pub fn bins() -> impl Strategy<Value = Bins> {
    vec(("[a-z]{0,12}", values()), 0..6)
        .prop_map(|bins| bins.into_iter().fold(Bins::new(), |bins, (name, value)| bins.with(name, value)))
}

/// What a request is made of, owned, so that a strategy can make it.
#[derive(Debug, Clone)]
pub struct Parts {
    pub set: String,
    pub user_key: outcrop_wire::UserKey,
    pub mode: PutMode,
    pub if_generation: Option<u32>,
    pub ttl: Ttl,
    pub archive: Vec<u8>,
    pub names: Option<Vec<String>>,
    pub cursor: Option<[u64; 4]>,
    pub partitions: (u16, u16),
    pub numbers: (u32, u64),
    pub module: String,
    pub version: Option<String>,
    pub function: String,
}

pub fn parts() -> impl Strategy<Value = Parts> {
    let record = (sets(), user_keys(), modes(), any::<Option<u32>>(), ttls(), vec(any::<u8>(), 0..200));
    let names = proptest::option::of(vec("\\PC{0,20}", 0..5));
    let scan = (any::<Option<[u64; 4]>>(), 0..4_096_u16, 0..4_096_u16, any::<(u32, u64)>());
    let function = (
        "[a-z][a-z0-9_-]{0,62}",
        proptest::option::of("[A-Za-z0-9][A-Za-z0-9._+-]{0,30}"),
        "[A-Za-z_][A-Za-z0-9_-]{0,62}",
    );
    (record, names, scan, function).prop_map(|(record, names, scan, (module, version, function))| {
        let (set, user_key, mode, if_generation, ttl, archive) = record;
        let (cursor, a, b, numbers) = scan;
        let partitions = (a.min(b), a.max(b));
        Parts {
            set,
            user_key,
            mode,
            if_generation,
            ttl,
            archive,
            names,
            cursor,
            partitions,
            numbers,
            module,
            version,
            function,
        }
    })
}

impl Parts {
    fn key(&self) -> KeyRef<'_> {
        KeyRef { set: &self.set, user_key: self.user_key.borrow() }
    }

    fn bins(&self) -> BinSelection<'_> {
        match self.names.as_deref() {
            None => BinSelection::All,
            Some([]) => BinSelection::None,
            Some(names) => BinSelection::Named(names.iter().map(String::as_str).collect()),
        }
    }

    /// The request of each verb that may be in a batch.
    pub fn single_bodies(&self) -> Vec<RequestBody<'_>> {
        let Parts { mode, if_generation, ttl, archive, .. } = self;
        let (key, mode, if_generation, ttl) = (self.key(), *mode, *if_generation, *ttl);
        vec![
            RequestBody::Get { key, bins: self.bins() },
            RequestBody::Exists { key },
            RequestBody::Put { key, mode, if_generation, ttl, archive },
            RequestBody::Delete { key, if_generation },
            RequestBody::Touch { key, if_generation, ttl },
            RequestBody::Operate { key, if_generation, ttl, operations: archive },
            RequestBody::Call(CallRequest {
                key,
                if_generation,
                report: self.report(),
                function: self.path(),
                arguments: archive,
            }),
        ]
    }

    fn report(&self) -> bool {
        self.numbers.0.is_multiple_of(2)
    }

    fn path(&self) -> FunctionPath<'_> {
        FunctionPath { module: &self.module, version: self.version.as_deref(), function: &self.function }
    }

    fn scan(&self) -> ScanRequest<'_> {
        ScanRequest {
            set: self.mode.eq(&PutMode::Upsert).then_some(self.set.as_str()),
            partition_first: self.partitions.0,
            partition_last: self.partitions.1,
            bins: self.bins(),
            cursor: self.cursor.map(|[log_id, start_lsn, position_lsn, emitted]| Cursor {
                log_id,
                start_lsn,
                position_lsn,
                emitted,
            }),
            records_per_sec: self.numbers.0,
            limit: self.numbers.1,
        }
    }

    /// The requests about functions that aren't about one record.
    fn function_bodies(&self) -> Vec<RequestBody<'_>> {
        let Parts { archive: arguments, partitions: (partition_first, partition_last), .. } = self;
        let scan = self.scan();
        let ranges = Target::Scan { set: scan.set, partition_first: *partition_first, partition_last: *partition_last };
        let keys = Target::Keys(vec![self.key(); usize::from(self.partitions.0 % 5)]);
        let (function, report) = (self.path(), self.report());
        let aggregate = |target| RequestBody::Aggregate(AggregateRequest { function, report, target, arguments });
        let mut bodies = vec![
            aggregate(ranges),
            aggregate(keys),
            RequestBody::Rows(RowsRequest {
                function,
                scan: ScanRequest { bins: BinSelection::All, ..scan },
                arguments,
            }),
        ];
        let jobs = JobOperation::ALL.into_iter();
        bodies.extend(jobs.map(|operation| RequestBody::Job(JobRequest { operation, options: arguments })));
        let (name, version) = (self.module.as_str(), self.version.as_deref().unwrap_or("1"));
        let operations = every_module_operation(arguments, self.numbers.1).into_iter();
        bodies.extend(operations.map(|operation| RequestBody::Module(ModuleRequest { name, version, operation })));
        let operation = ModuleOperation::List;
        bodies.push(RequestBody::Module(ModuleRequest { name: "", version: "", operation }));
        bodies
    }

    /// The request of each verb.
    pub fn bodies(&self) -> Vec<RequestBody<'_>> {
        let items = self.single_bodies().into_iter().enumerate();
        let item = |(place, body)| outcrop_wire::request::BatchItem { namespace: NamespaceId(place as u16), body };
        let mut bodies = self.single_bodies();
        bodies.push(RequestBody::Batch { items: items.map(item).collect() });
        bodies.push(RequestBody::Scan(self.scan()));
        bodies.push(RequestBody::Truncate { set: &self.set });
        bodies.push(RequestBody::Info { topic: &self.set });
        bodies.extend(self.function_bodies());
        bodies
    }
}

/// A key of each type, for vectors.
pub fn every_key() -> Vec<(&'static str, KeyRef<'static>)> {
    static LONGEST: [u8; 1_024] = [7; 1_024];
    let longest_set = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk";
    vec![
        ("int_42", KeyRef { set: "products", user_key: UserKeyRef::Int(42) }),
        ("int_min", KeyRef { set: "products", user_key: UserKeyRef::Int(i64::MIN) }),
        ("text_42", KeyRef { set: "products", user_key: UserKeyRef::Text("42") }),
        ("text_unicode", KeyRef { set: "größen", user_key: UserKeyRef::Text("a/b c✓") }),
        ("bytes_42", KeyRef { set: "products", user_key: UserKeyRef::Bytes(b"42") }),
        // One byte to each side of the short buffer's end.
        ("bytes_118", KeyRef { set: "products", user_key: UserKeyRef::Bytes(LONGEST.split_at(118).0) }),
        ("bytes_119", KeyRef { set: "products", user_key: UserKeyRef::Bytes(LONGEST.split_at(119).0) }),
        ("bytes_longest", KeyRef { set: longest_set, user_key: UserKeyRef::Bytes(&LONGEST) }),
    ]
}
