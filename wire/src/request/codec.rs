//! Requests as bytes: the frame's content in both directions, every length checked before it is believed.

use super::function_codec as functions;
use super::{BatchItem, BinSelection, PutMode, RequestBody, RequestError, RequestHeader, ScanRequest, Ttl, Verb};
use crate::cursor::Cursor;
use crate::hello::NamespaceId;
use crate::key::{KeyRef, check_set_name};
use crate::limits::{BATCH_MAX, BINS_MAX, DEADLINE_MS_MAX, PARTITIONS};
use crate::reader::Reader;
use crate::trace::TraceContext;

const FLAG_TRACE: u8 = 1;
const PUT_HAS_GENERATION: u8 = 1;

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

/// Whether a frame carries a trace context; a cheap look at one bit of what may be malformed.
#[inline]
pub fn carries_trace(frame: &[u8]) -> bool {
    frame.get(5).is_some_and(|flags| flags & FLAG_TRACE != 0)
}

/// The header of a frame, without its body; `None` if it is malformed.
pub fn peek_header(frame: &[u8]) -> Option<RequestHeader> {
    decode_header(frame).ok().map(|(header, _)| header)
}

/// Verb, namespace and key of a frame whose request is about one record, without the rest; `None` for any other.
pub fn peek_key(frame: &[u8]) -> Option<(Verb, NamespaceId, KeyRef<'_>)> {
    let (header, mut reader) = decode_header(frame).ok()?;
    match header.verb {
        verb if verb.of_one_record() => Some((verb, header.namespace, KeyRef::decode(&mut reader).ok()?)),
        _ => None,
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
        RequestBody::Call(call) => functions::encode_call(call, out),
        RequestBody::Aggregate(aggregate) => functions::encode_aggregate(aggregate, out),
        RequestBody::Rows(rows) => functions::encode_rows(rows, out),
        RequestBody::Module(module) => functions::encode_module(module, out),
        RequestBody::Job(job) => functions::encode_job(job, out),
    }
}

pub(super) fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.push(text.len().min(255) as u8);
    out.extend_from_slice(&text.as_bytes()[..text.len().min(255)]);
}

pub(super) fn decode_text<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, RequestError> {
    let len = reader.u8(field)?;
    Ok(reader.text(len.into(), field)?)
}

pub(super) fn encode_scan(scan: &ScanRequest<'_>, out: &mut Vec<u8>) {
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

pub(super) fn decode_scan<'a>(reader: &mut Reader<'a>) -> Result<ScanRequest<'a>, RequestError> {
    let set = decode_text(reader, "set")?;
    let set = if set.is_empty() { None } else { Some(set) };
    if let Some(set) = set {
        check_set_name(set)?;
    }
    let (partition_first, partition_last) = decode_partitions(reader)?;
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

pub(super) fn decode_partitions(reader: &mut Reader<'_>) -> Result<(u16, u16), RequestError> {
    let first = reader.u16("first partition")?;
    let last = reader.u16("last partition")?;
    if usize::from(last) >= PARTITIONS || first > last {
        return Err(RequestError::Field { field: "partition_last", value: last.into() });
    }
    Ok((first, last))
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
        Verb::Call => RequestBody::Call(functions::decode_call(reader)?),
        Verb::Batch if alone => RequestBody::Batch { items: decode_batch(reader)? },
        Verb::Scan if alone => RequestBody::Scan(decode_scan(reader)?),
        Verb::Truncate if alone => {
            let set = decode_text(reader, "set")?;
            check_set_name(set)?;
            RequestBody::Truncate { set }
        }
        Verb::Info if alone => RequestBody::Info { topic: decode_text(reader, "topic")? },
        Verb::Aggregate if alone => RequestBody::Aggregate(functions::decode_aggregate(reader)?),
        Verb::Rows if alone => RequestBody::Rows(functions::decode_rows(reader)?),
        Verb::Module if alone => RequestBody::Module(functions::decode_module(reader)?),
        Verb::Job if alone => RequestBody::Job(functions::decode_job(reader)?),
        _ => {
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
