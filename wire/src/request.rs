//! Requests: verbs, their fields, and their bytes in both directions.
//!
//! A frame's content: `u32 request id, u8 verb, u8 flags, u16 namespace, u32 deadline ms (0: the node's default)`, with
//! flag bit 0 the 25 bytes of a trace context, then the verb's body. Drawn in `docs/protocol.md`.

use thiserror::Error;

use crate::cursor::Cursor;
use crate::hello::NamespaceId;
use crate::key::{KeyError, KeyRef, check_set_name};
use crate::limits::{BATCH_MAX, BIN_NAME_BYTES_MAX, BINS_MAX, DEADLINE_MS_MAX, PARTITIONS, TTL_SECS_MAX};
use crate::reader::{ReadError, Reader};
use crate::trace::TraceContext;

/// Why a request's bytes can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Fields end too early.
    #[error("malformed request: {0}")]
    Malformed(#[from] ReadError),
    /// The key is wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The verb is unknown.
    #[error("verb {0} is unknown")]
    Verb(u8),
    /// A field has a value that it can't have.
    #[error("`{field}` can't be {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it was.
        value: u64,
    },
    /// Bytes behind the end.
    #[error("{0} bytes follow the request's end")]
    Trailing(usize),
    /// A time to live over the limit.
    #[error("a time to live is 1 to {TTL_SECS_MAX} seconds, not {0}")]
    Ttl(u32),
    /// A bin name over the limit.
    #[error("a bin name has at most {BIN_NAME_BYTES_MAX} bytes, this one has {0}")]
    BinName(usize),
    /// A batch of none, of too many, or with a request that can't be in one.
    #[error("a batch takes 1 to {BATCH_MAX} requests of get, put, delete, exists, touch or operate: {0}")]
    Batch(String),
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    /// Read a record, all bins or some.
    Get = 1,
    /// Whether a record is there.
    Exists = 2,
    /// Write a record.
    Put = 3,
    /// Delete a record.
    Delete = 4,
    /// Give a record a new time to live.
    Touch = 5,
    /// An ordered list of operations on one record.
    Operate = 6,
    /// Many of the above.
    Batch = 7,
    /// All records of a set or namespace.
    Scan = 8,
    /// Remove all records of a set.
    Truncate = 9,
    /// Statistics as JSON.
    Info = 10,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 10] = [
        Verb::Get,
        Verb::Exists,
        Verb::Put,
        Verb::Delete,
        Verb::Touch,
        Verb::Operate,
        Verb::Batch,
        Verb::Scan,
        Verb::Truncate,
        Verb::Info,
    ];

    /// The verb of a number.
    pub fn from_number(number: u8) -> Option<Verb> {
        Self::ALL.into_iter().find(|verb| *verb as u8 == number)
    }

    /// Its name, as metrics, spans and the command line print it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Exists => "exists",
            Verb::Put => "put",
            Verb::Delete => "delete",
            Verb::Touch => "touch",
            Verb::Operate => "operate",
            Verb::Batch => "batch",
            Verb::Scan => "scan",
            Verb::Truncate => "truncate",
            Verb::Info => "info",
        }
    }

    /// Whether it may change a record, so that a lost reply leaves its fate unknown.
    pub fn writes(self) -> bool {
        matches!(self, Verb::Put | Verb::Delete | Verb::Touch | Verb::Operate | Verb::Batch | Verb::Truncate)
    }
}

/// What stands in front of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Unique among the connection's requests under way.
    pub request_id: u32,
    /// The verb.
    pub verb: Verb,
    /// The namespace, by the welcome's numbers (ignored by `Info` and by `Batch`, whose items have their own).
    pub namespace: NamespaceId,
    /// Milliseconds that the caller will wait; 0: the node's default.
    pub deadline_ms: u32,
    /// The caller's trace context, when it samples.
    pub trace: Option<TraceContext>,
}

/// Time to live of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// The namespace's default.
    #[default]
    Default,
    /// It never expires.
    Never,
    /// It keeps the expiry that it has; a new record gets the namespace's default.
    Keep,
    /// It expires in this many seconds, 1 to ten years.
    Secs(u32),
}

impl Ttl {
    fn encode(self) -> u32 {
        match self {
            Ttl::Default => 0,
            Ttl::Never => u32::MAX,
            Ttl::Keep => u32::MAX - 1,
            Ttl::Secs(secs) => secs,
        }
    }

    fn decode(number: u32) -> Result<Self, RequestError> {
        match number {
            0 => Ok(Ttl::Default),
            u32::MAX => Ok(Ttl::Never),
            0xFFFF_FFFE => Ok(Ttl::Keep),
            secs if secs <= TTL_SECS_MAX => Ok(Ttl::Secs(secs)),
            secs => Err(RequestError::Ttl(secs)),
        }
    }

    /// Checks the limits of [`Ttl::Secs`].
    pub fn check(self) -> Result<(), RequestError> {
        match self {
            Ttl::Secs(secs) if secs == 0 || secs > TTL_SECS_MAX => Err(RequestError::Ttl(secs)),
            _ => Ok(()),
        }
    }
}

/// What `put` does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(u8)]
pub enum PutMode {
    /// Creates the record, or merges the bins into it: bins that aren't named stay.
    #[default]
    Upsert = 0,
    /// Creates the record; it must not be there.
    CreateOnly = 1,
    /// Merges the bins into the record; it must be there.
    UpdateOnly = 2,
    /// Creates the record, or puts the bins in place of all that it had. Reads nothing: the fastest write.
    Replace = 3,
    /// Puts the bins in place of all that the record had; it must be there.
    ReplaceOnly = 4,
}

impl PutMode {
    /// The mode of a number.
    pub fn from_number(number: u8) -> Option<PutMode> {
        [PutMode::Upsert, PutMode::CreateOnly, PutMode::UpdateOnly, PutMode::Replace, PutMode::ReplaceOnly]
            .into_iter()
            .find(|mode| *mode as u8 == number)
    }
}

/// Which bins a read gives back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BinSelection<'a> {
    /// All: the stored bytes, untouched.
    #[default]
    All,
    /// None: generation and expiry only.
    None,
    /// These, in the record's order; a name that the record doesn't have is left out.
    Named(Vec<&'a str>),
}

/// What a scan goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRequest<'a> {
    /// One set; `None`: the whole namespace.
    pub set: Option<&'a str>,
    /// First partition, 0 to 4,095.
    pub partition_first: u16,
    /// Last partition, included.
    pub partition_last: u16,
    /// Which bins.
    pub bins: BinSelection<'a>,
    /// Where an earlier scan stopped.
    pub cursor: Option<Cursor>,
    /// Records a second, at most; 0: as fast as the client reads.
    pub records_per_sec: u32,
    /// Records in all, at most; 0: no limit.
    pub limit: u64,
}

impl Default for ScanRequest<'_> {
    fn default() -> Self {
        ScanRequest {
            set: None,
            partition_first: 0,
            partition_last: PARTITIONS as u16 - 1,
            bins: BinSelection::All,
            cursor: None,
            records_per_sec: 0,
            limit: 0,
        }
    }
}

/// One request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// What it asks for.
    pub body: RequestBody<'a>,
}

/// A request's verb with its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody<'a> {
    /// Read a record.
    Get {
        /// Which.
        key: KeyRef<'a>,
        /// Which bins.
        bins: BinSelection<'a>,
    },
    /// Whether a record is there.
    Exists {
        /// Which.
        key: KeyRef<'a>,
    },
    /// Write a record.
    Put {
        /// Which.
        key: KeyRef<'a>,
        /// What becomes of what is there.
        mode: PutMode,
        /// Only if the record has this generation (0: only if it isn't there).
        if_generation: Option<u32>,
        /// Its time to live.
        ttl: Ttl,
        /// Archived [`crate::Bins`].
        archive: &'a [u8],
    },
    /// Delete a record, durably.
    Delete {
        /// Which.
        key: KeyRef<'a>,
        /// Only if the record has this generation.
        if_generation: Option<u32>,
    },
    /// Give a record a new time to live.
    Touch {
        /// Which.
        key: KeyRef<'a>,
        /// Only if the record has this generation.
        if_generation: Option<u32>,
        /// The new time to live.
        ttl: Ttl,
    },
    /// Operations on one record.
    Operate {
        /// Which.
        key: KeyRef<'a>,
        /// Only if the record has this generation.
        if_generation: Option<u32>,
        /// Time to live if a step writes; [`Ttl::Keep`] leaves it.
        ttl: Ttl,
        /// Archived `Vec<Operation>`.
        operations: &'a [u8],
    },
    /// Many requests, each with its own outcome.
    Batch {
        /// The requests.
        items: Vec<BatchItem<'a>>,
    },
    /// All records of a set or namespace.
    Scan(ScanRequest<'a>),
    /// Remove all records of a set that are there now.
    Truncate {
        /// The set.
        set: &'a str,
    },
    /// Statistics as JSON.
    Info {
        /// `""` for everything, else a part by name.
        topic: &'a str,
    },
}

const FLAG_TRACE: u8 = 1;
const PUT_HAS_GENERATION: u8 = 1;

impl RequestBody<'_> {
    /// The set that it is about, if it is about one.
    pub fn set(&self) -> Option<&str> {
        match self {
            RequestBody::Get { key, .. }
            | RequestBody::Exists { key }
            | RequestBody::Put { key, .. }
            | RequestBody::Delete { key, .. }
            | RequestBody::Touch { key, .. }
            | RequestBody::Operate { key, .. } => Some(key.set),
            RequestBody::Scan(scan) => scan.set,
            RequestBody::Truncate { set } => Some(set),
            RequestBody::Batch { .. } | RequestBody::Info { .. } => None,
        }
    }

    /// The verb.
    pub fn verb(&self) -> Verb {
        match self {
            RequestBody::Get { .. } => Verb::Get,
            RequestBody::Exists { .. } => Verb::Exists,
            RequestBody::Put { .. } => Verb::Put,
            RequestBody::Delete { .. } => Verb::Delete,
            RequestBody::Touch { .. } => Verb::Touch,
            RequestBody::Operate { .. } => Verb::Operate,
            RequestBody::Batch { .. } => Verb::Batch,
            RequestBody::Scan(_) => Verb::Scan,
            RequestBody::Truncate { .. } => Verb::Truncate,
            RequestBody::Info { .. } => Verb::Info,
        }
    }
}

/// Appends the content of a request frame (without the frame's length). `header.verb` is taken from the body.
pub fn encode_request(header: &RequestHeader, body: &RequestBody<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&header.request_id.to_le_bytes());
    out.push(body.verb() as u8);
    out.push(if header.trace.is_some() { FLAG_TRACE } else { 0 });
    out.extend_from_slice(&header.namespace.0.to_le_bytes());
    out.extend_from_slice(&header.deadline_ms.to_le_bytes());
    if let Some(trace) = &header.trace {
        out.extend_from_slice(&trace.trace_id);
        out.extend_from_slice(&trace.span_id);
        out.push(trace.flags);
    }
    encode_body(body, out);
}

/// Takes a request frame's content apart, in place.
pub fn decode_request(frame: &[u8]) -> Result<(RequestHeader, RequestBody<'_>), RequestError> {
    let (header, mut reader) = decode_header(frame)?;
    let body = decode_body(header.verb, &mut reader, true)?;
    if !reader.is_empty() {
        return Err(RequestError::Trailing(reader.rest().len()));
    }
    Ok((header, body))
}

/// The request id of a frame whose rest may be malformed, so that the error finds its caller.
pub fn peek_request_id(frame: &[u8]) -> Option<u32> {
    Reader::new(frame).u32("request id").ok()
}

/// The header of a frame, without its body; `None` if it is malformed.
pub fn peek_header(frame: &[u8]) -> Option<RequestHeader> {
    decode_header(frame).ok().map(|(header, _)| header)
}

/// Verb, namespace and key of a frame whose request is about one record, without the rest; `None` for any other.
pub fn peek_key(frame: &[u8]) -> Option<(Verb, NamespaceId, KeyRef<'_>)> {
    let (header, mut reader) = decode_header(frame).ok()?;
    match header.verb {
        Verb::Get | Verb::Exists | Verb::Put | Verb::Delete | Verb::Touch | Verb::Operate => {
            Some((header.verb, header.namespace, KeyRef::decode(&mut reader).ok()?))
        }
        Verb::Batch | Verb::Scan | Verb::Truncate | Verb::Info => None,
    }
}

fn decode_header(frame: &[u8]) -> Result<(RequestHeader, Reader<'_>), RequestError> {
    let mut reader = Reader::new(frame);
    let request_id = reader.u32("request id")?;
    let verb = reader.u8("verb")?;
    let flags = reader.u8("flags")?;
    if flags & !FLAG_TRACE != 0 {
        return Err(RequestError::Field { field: "flags", value: flags.into() });
    }
    let namespace = NamespaceId(reader.u16("namespace")?);
    let deadline_ms = reader.u32("deadline")?;
    if deadline_ms > DEADLINE_MS_MAX {
        return Err(RequestError::Field { field: "deadline_ms", value: deadline_ms.into() });
    }
    let trace = if flags & FLAG_TRACE != 0 {
        Some(TraceContext {
            trace_id: reader.array("trace id")?,
            span_id: reader.array("span id")?,
            flags: reader.u8("trace flags")?,
        })
    } else {
        None
    };
    let verb = Verb::from_number(verb).ok_or(RequestError::Verb(verb))?;
    Ok((RequestHeader { request_id, verb, namespace, deadline_ms, trace }, reader))
}

fn encode_generation(if_generation: Option<u32>, out: &mut Vec<u8>) {
    out.push(if if_generation.is_some() { PUT_HAS_GENERATION } else { 0 });
    out.extend_from_slice(&if_generation.unwrap_or(0).to_le_bytes());
}

fn decode_generation(reader: &mut Reader<'_>) -> Result<Option<u32>, RequestError> {
    let flags = reader.u8("condition flags")?;
    let generation = reader.u32("if_generation")?;
    match flags {
        0 => Ok(None),
        PUT_HAS_GENERATION => Ok(Some(generation)),
        other => Err(RequestError::Field { field: "condition flags", value: other.into() }),
    }
}

fn encode_bins(bins: &BinSelection<'_>, out: &mut Vec<u8>) {
    match bins {
        BinSelection::All => out.extend_from_slice(&u16::MAX.to_le_bytes()),
        BinSelection::None => out.extend_from_slice(&0_u16.to_le_bytes()),
        BinSelection::Named(names) => {
            out.extend_from_slice(&(names.len() as u16).to_le_bytes());
            for name in names {
                out.push(name.len() as u8);
                out.extend_from_slice(name.as_bytes());
            }
        }
    }
}

fn decode_bins<'a>(reader: &mut Reader<'a>) -> Result<BinSelection<'a>, RequestError> {
    match reader.u16("number of bins")? {
        u16::MAX => Ok(BinSelection::All),
        0 => Ok(BinSelection::None),
        count if usize::from(count) > BINS_MAX => Err(RequestError::Field { field: "bins", value: count.into() }),
        count => {
            let mut names = Vec::with_capacity(count.into());
            for _ in 0..count {
                let len = reader.u8("bin name length")?;
                names.push(reader.text(len.into(), "bin name")?);
            }
            Ok(BinSelection::Named(names))
        }
    }
}

fn encode_body(body: &RequestBody<'_>, out: &mut Vec<u8>) {
    match body {
        RequestBody::Get { key, bins } => {
            key.encode(out);
            encode_bins(bins, out);
        }
        RequestBody::Exists { key } => key.encode(out),
        RequestBody::Put { key, mode, if_generation, ttl, archive } => {
            key.encode(out);
            out.push(*mode as u8);
            encode_generation(*if_generation, out);
            out.extend_from_slice(&ttl.encode().to_le_bytes());
            out.extend_from_slice(archive);
        }
        RequestBody::Delete { key, if_generation } => {
            key.encode(out);
            encode_generation(*if_generation, out);
        }
        RequestBody::Touch { key, if_generation, ttl } => {
            key.encode(out);
            encode_generation(*if_generation, out);
            out.extend_from_slice(&ttl.encode().to_le_bytes());
        }
        RequestBody::Operate { key, if_generation, ttl, operations } => {
            key.encode(out);
            encode_generation(*if_generation, out);
            out.extend_from_slice(&ttl.encode().to_le_bytes());
            out.extend_from_slice(operations);
        }
        RequestBody::Batch { items } => {
            out.extend_from_slice(&(items.len() as u16).to_le_bytes());
            for item in items {
                let start = crate::frame::begin_frame(out);
                out.push(item.body.verb() as u8);
                out.extend_from_slice(&item.namespace.0.to_le_bytes());
                encode_body(&item.body, out);
                crate::frame::end_frame(out, start);
            }
        }
        RequestBody::Scan(scan) => encode_scan(scan, out),
        RequestBody::Truncate { set } => encode_text(set, out),
        RequestBody::Info { topic } => encode_text(topic, out),
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.push(text.len().min(255) as u8);
    out.extend_from_slice(&text.as_bytes()[..text.len().min(255)]);
}

fn decode_text<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, RequestError> {
    let len = reader.u8(field)?;
    Ok(reader.text(len.into(), field)?)
}

fn encode_scan(scan: &ScanRequest<'_>, out: &mut Vec<u8>) {
    encode_text(scan.set.unwrap_or(""), out);
    out.extend_from_slice(&scan.partition_first.to_le_bytes());
    out.extend_from_slice(&scan.partition_last.to_le_bytes());
    out.extend_from_slice(&scan.records_per_sec.to_le_bytes());
    out.extend_from_slice(&scan.limit.to_le_bytes());
    out.push(scan.cursor.is_some().into());
    if let Some(cursor) = &scan.cursor {
        cursor.encode(out);
    }
    encode_bins(&scan.bins, out);
}

fn decode_scan<'a>(reader: &mut Reader<'a>) -> Result<ScanRequest<'a>, RequestError> {
    let set = decode_text(reader, "set")?;
    let set = if set.is_empty() { None } else { Some(set) };
    if let Some(set) = set {
        check_set_name(set)?;
    }
    let partition_first = reader.u16("first partition")?;
    let partition_last = reader.u16("last partition")?;
    if usize::from(partition_last) >= PARTITIONS || partition_first > partition_last {
        return Err(RequestError::Field { field: "partition_last", value: partition_last.into() });
    }
    let records_per_sec = reader.u32("records per second")?;
    let limit = reader.u64("limit")?;
    let cursor = match reader.u8("cursor flag")? {
        0 => None,
        1 => Some(Cursor::decode(reader)?),
        other => return Err(RequestError::Field { field: "cursor flag", value: other.into() }),
    };
    let bins = decode_bins(reader)?;
    Ok(ScanRequest { set, partition_first, partition_last, bins, cursor, records_per_sec, limit })
}

fn decode_body<'a>(verb: Verb, reader: &mut Reader<'a>, alone: bool) -> Result<RequestBody<'a>, RequestError> {
    let rest = |reader: &mut Reader<'a>| reader.bytes(reader.rest().len(), "rest");
    Ok(match verb {
        Verb::Get => RequestBody::Get { key: KeyRef::decode(reader)?, bins: decode_bins(reader)? },
        Verb::Exists => RequestBody::Exists { key: KeyRef::decode(reader)? },
        Verb::Put => {
            let key = KeyRef::decode(reader)?;
            let mode = reader.u8("put mode")?;
            let mode =
                PutMode::from_number(mode).ok_or(RequestError::Field { field: "put mode", value: mode.into() })?;
            let if_generation = decode_generation(reader)?;
            let ttl = Ttl::decode(reader.u32("ttl")?)?;
            RequestBody::Put { key, mode, if_generation, ttl, archive: rest(reader)? }
        }
        Verb::Delete => RequestBody::Delete { key: KeyRef::decode(reader)?, if_generation: decode_generation(reader)? },
        Verb::Touch => RequestBody::Touch {
            key: KeyRef::decode(reader)?,
            if_generation: decode_generation(reader)?,
            ttl: Ttl::decode(reader.u32("ttl")?)?,
        },
        Verb::Operate => RequestBody::Operate {
            key: KeyRef::decode(reader)?,
            if_generation: decode_generation(reader)?,
            ttl: Ttl::decode(reader.u32("ttl")?)?,
            operations: rest(reader)?,
        },
        Verb::Batch if alone => RequestBody::Batch { items: decode_batch(reader)? },
        Verb::Scan if alone => RequestBody::Scan(decode_scan(reader)?),
        Verb::Truncate if alone => {
            let set = decode_text(reader, "set")?;
            check_set_name(set)?;
            RequestBody::Truncate { set }
        }
        Verb::Info if alone => RequestBody::Info { topic: decode_text(reader, "topic")? },
        Verb::Batch | Verb::Scan | Verb::Truncate | Verb::Info => {
            return Err(RequestError::Batch(format!("{} can't be in a batch", verb.name())));
        }
    })
}

fn decode_batch<'a>(reader: &mut Reader<'a>) -> Result<Vec<BatchItem<'a>>, RequestError> {
    let count = usize::from(reader.u16("number of requests")?);
    if count == 0 || count > BATCH_MAX {
        return Err(RequestError::Batch(format!("this one has {count}")));
    }
    // Each item takes at least its length's four bytes, so a lying count can't take memory.
    let mut items = Vec::with_capacity(count.min(reader.rest().len() / 4));
    for _ in 0..count {
        let len = reader.u32("request length")?;
        let mut inner = Reader::new(reader.bytes(len as usize, "request")?);
        let verb = inner.u8("verb")?;
        let verb = Verb::from_number(verb).ok_or(RequestError::Verb(verb))?;
        let namespace = NamespaceId(inner.u16("namespace")?);
        let body = decode_body(verb, &mut inner, false)?;
        if !inner.is_empty() {
            return Err(RequestError::Trailing(inner.rest().len()));
        }
        items.push(BatchItem { namespace, body });
    }
    Ok(items)
}
