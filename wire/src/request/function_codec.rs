//! Requests about functions as bytes, in both directions.

use super::codec::{decode_partitions, decode_scan, decode_text, encode_scan, encode_text};
use super::{
    AggregateRequest, BinSelection, CallRequest, JobOperation, JobRequest, ModuleOperation, ModuleRequest,
    RequestError, RowsRequest, ScanRequest, Target,
};
use crate::function::FunctionPath;
use crate::key::{KeyRef, check_set_name};
use crate::limits::{AGGREGATE_KEYS_MAX, ARGUMENTS_BYTES_MAX, MODULE_PART_BYTES_MAX};
use crate::reader::Reader;

const HAS_GENERATION: u8 = 1;
const WANTS_REPORT: u8 = 2;
const TARGET_SCAN: u8 = 0;
const TARGET_KEYS: u8 = 1;

fn encode_path(path: &FunctionPath<'_>, out: &mut Vec<u8>) {
    // The names' limits keep it within a byte's length; `limits` asserts it.
    out.push(path.byte_len().min(255) as u8);
    out.extend_from_slice(path.module.as_bytes());
    if let Some(version) = path.version {
        out.push(b'@');
        out.extend_from_slice(version.as_bytes());
    }
    out.push(b'.');
    out.extend_from_slice(path.function.as_bytes());
}

fn decode_path<'a>(reader: &mut Reader<'a>) -> Result<FunctionPath<'a>, RequestError> {
    Ok(FunctionPath::parse(decode_text(reader, "function")?)?)
}

fn decode_arguments<'a>(reader: &mut Reader<'a>, len: usize) -> Result<&'a [u8], RequestError> {
    if len > ARGUMENTS_BYTES_MAX {
        return Err(RequestError::Arguments(len));
    }
    Ok(reader.bytes(len, "arguments")?)
}

fn rest<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], RequestError> {
    decode_arguments(reader, reader.rest().len())
}

fn decode_report(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, RequestError> {
    match reader.u8(field)? {
        0 => Ok(false),
        WANTS_REPORT => Ok(true),
        other => Err(RequestError::Field { field, value: other.into() }),
    }
}

pub(super) fn encode_call(call: &CallRequest<'_>, out: &mut Vec<u8>) {
    call.key.encode(out);
    let generation = if call.if_generation.is_some() { HAS_GENERATION } else { 0 };
    out.push(generation | if call.report { WANTS_REPORT } else { 0 });
    out.extend_from_slice(&call.if_generation.unwrap_or(0).to_le_bytes());
    encode_path(&call.function, out);
    out.extend_from_slice(call.arguments);
}

pub(super) fn decode_call<'a>(reader: &mut Reader<'a>) -> Result<CallRequest<'a>, RequestError> {
    let key = KeyRef::decode(reader)?;
    let flags = reader.u8("call flags")?;
    if flags & !(HAS_GENERATION | WANTS_REPORT) != 0 {
        return Err(RequestError::Field { field: "call flags", value: flags.into() });
    }
    let generation = reader.u32("if_generation")?;
    let if_generation = (flags & HAS_GENERATION != 0).then_some(generation);
    let (report, function) = (flags & WANTS_REPORT != 0, decode_path(reader)?);
    Ok(CallRequest { key, if_generation, report, function, arguments: rest(reader)? })
}

pub(super) fn encode_aggregate(aggregate: &AggregateRequest<'_>, out: &mut Vec<u8>) {
    encode_path(&aggregate.function, out);
    out.push(if aggregate.report { WANTS_REPORT } else { 0 });
    match &aggregate.target {
        Target::Scan { set, partition_first, partition_last } => {
            out.push(TARGET_SCAN);
            encode_text(set.unwrap_or(""), out);
            out.extend_from_slice(&partition_first.to_le_bytes());
            out.extend_from_slice(&partition_last.to_le_bytes());
        }
        Target::Keys(keys) => {
            out.push(TARGET_KEYS);
            out.extend_from_slice(&(keys.len() as u16).to_le_bytes());
            keys.iter().for_each(|key| key.encode(out));
        }
    }
    out.extend_from_slice(aggregate.arguments);
}

pub(super) fn decode_aggregate<'a>(reader: &mut Reader<'a>) -> Result<AggregateRequest<'a>, RequestError> {
    let function = decode_path(reader)?;
    let report = decode_report(reader, "aggregate flags")?;
    let target = match reader.u8("target")? {
        TARGET_SCAN => {
            let set = decode_text(reader, "set")?;
            let set = (!set.is_empty()).then_some(set);
            set.map_or(Ok(()), check_set_name)?;
            let (partition_first, partition_last) = decode_partitions(reader)?;
            Target::Scan { set, partition_first, partition_last }
        }
        TARGET_KEYS => {
            let count = usize::from(reader.u16("number of keys")?);
            if count > AGGREGATE_KEYS_MAX {
                return Err(RequestError::Field { field: "number of keys", value: count as u64 });
            }
            // A key takes four bytes and more, so a lying count can't take memory.
            let mut keys = Vec::with_capacity(count.min(reader.rest().len() / 4));
            for _ in 0..count {
                keys.push(KeyRef::decode(reader)?);
            }
            Target::Keys(keys)
        }
        other => return Err(RequestError::Field { field: "target", value: other.into() }),
    };
    Ok(AggregateRequest { function, report, target, arguments: rest(reader)? })
}

pub(super) fn encode_rows(rows: &RowsRequest<'_>, out: &mut Vec<u8>) {
    encode_path(&rows.function, out);
    out.push(0);
    encode_scan(&rows.scan, out);
    out.extend_from_slice(&(rows.arguments.len() as u32).to_le_bytes());
    out.extend_from_slice(rows.arguments);
}

pub(super) fn decode_rows<'a>(reader: &mut Reader<'a>) -> Result<RowsRequest<'a>, RequestError> {
    let function = decode_path(reader)?;
    match reader.u8("rows flags")? {
        0 => {}
        other => return Err(RequestError::Field { field: "rows flags", value: other.into() }),
    }
    let scan = ScanRequest { bins: BinSelection::All, ..decode_scan(reader)? };
    let len = reader.u32("arguments length")?;
    Ok(RowsRequest { function, scan, arguments: decode_arguments(reader, len as usize)? })
}

pub(super) fn encode_module(module: &ModuleRequest<'_>, out: &mut Vec<u8>) {
    out.push(module.operation.number());
    encode_text(module.name, out);
    encode_text(module.version, out);
    match &module.operation {
        ModuleOperation::UploadPart { total_bytes, offset, hash, bytes } => {
            out.extend_from_slice(&total_bytes.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(hash);
            out.extend_from_slice(bytes);
        }
        ModuleOperation::Sign { signature, public_key } => {
            out.extend_from_slice(signature);
            out.extend_from_slice(public_key);
        }
        ModuleOperation::Logs { options } => out.extend_from_slice(options),
        ModuleOperation::SetLimits { limits } => out.extend_from_slice(limits),
        _ => {}
    }
}

pub(super) fn decode_module<'a>(reader: &mut Reader<'a>) -> Result<ModuleRequest<'a>, RequestError> {
    let number = reader.u8("module operation")?;
    let name = decode_text(reader, "module")?;
    let version = decode_text(reader, "version")?;
    let operation = match number {
        1 => decode_part(reader)?,
        2 => ModuleOperation::Sign { signature: reader.array("signature")?, public_key: reader.array("public key")? },
        3 => ModuleOperation::Activate,
        4 => ModuleOperation::Rollback,
        5 => ModuleOperation::Deactivate,
        6 => ModuleOperation::Remove,
        7 => ModuleOperation::List,
        8 => ModuleOperation::Describe,
        9 => ModuleOperation::Stats,
        10 => ModuleOperation::Logs { options: rest(reader)? },
        11 => ModuleOperation::Pause,
        12 => ModuleOperation::Resume,
        13 => ModuleOperation::SetLimits { limits: rest(reader)? },
        other => return Err(RequestError::Field { field: "module operation", value: other.into() }),
    };
    let request = ModuleRequest { name, version, operation };
    request.check()?;
    Ok(request)
}

fn decode_part<'a>(reader: &mut Reader<'a>) -> Result<ModuleOperation<'a>, RequestError> {
    let total_bytes = reader.u64("total bytes")?;
    let offset = reader.u64("offset")?;
    let hash = reader.array("hash")?;
    let bytes = reader.bytes(reader.rest().len(), "part")?;
    if bytes.is_empty() || bytes.len() > MODULE_PART_BYTES_MAX {
        return Err(RequestError::Field { field: "part bytes", value: bytes.len() as u64 });
    }
    match offset.checked_add(bytes.len() as u64) {
        Some(end) if end <= total_bytes => Ok(ModuleOperation::UploadPart { total_bytes, offset, hash, bytes }),
        _ => Err(RequestError::Field { field: "offset", value: offset }),
    }
}

pub(super) fn encode_job(job: &JobRequest<'_>, out: &mut Vec<u8>) {
    out.push(job.operation as u8);
    out.extend_from_slice(job.options);
}

pub(super) fn decode_job<'a>(reader: &mut Reader<'a>) -> Result<JobRequest<'a>, RequestError> {
    let number = reader.u8("job operation")?;
    let operation = JobOperation::from_number(number)
        .ok_or(RequestError::Field { field: "job operation", value: number.into() })?;
    Ok(JobRequest { operation, options: rest(reader)? })
}
