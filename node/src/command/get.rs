//! `get` and `exists`: the shortest way through the house.

use bytes::Bytes;
use outcrop_wire::limits::LANE_VALUE_BYTES_MAX;
use outcrop_wire::{BinSelection, Code, Digest, KeyRef, ReplyHeader, StoredHeader, StoredRecord, Verb};

use super::Request;
use super::answer::{Finished, Now, Wait, record_header, refuse};
use super::error::CommandError;
use super::projection::project;
use crate::index::Entry;

/// `get` from memory.
pub fn get_now(request: &Request<'_>, key: KeyRef<'_>, bins: &BinSelection<'_>, out: &mut Vec<u8>) -> Now {
    let digest = request.digest_of(key);
    let start = out.len();
    let mut failed = None;
    let mut large = false;
    let (lookup, done) = request.namespace.read_now(&digest, request.now_secs, |entry, stored| {
        if entry.location.byte_len() > LANE_VALUE_BYTES_MAX {
            large = true;
        } else {
            failed = append_record(request, entry, stored, bins, out).err();
        }
    });
    if let Some(error) = failed {
        out.truncate(start);
        return refuse(request.id, Verb::Get, request.namespace_number(), &error, out);
    }
    match (lookup.entry, done) {
        (None, _) => {
            let error = CommandError::not_found(lookup.durable_at);
            refuse(request.id, Verb::Get, request.namespace_number(), &error, out)
        }
        (Some(_), Some(())) if !large => {
            let namespace = request.namespace_number();
            Now::Done { code: Code::Ok, wait: lookup.durable_at.map(|end| Wait { namespace, end }) }
        }
        _ => Now::Later,
    }
}

/// Appends header and record, whole or in part.
fn append_record(
    request: &Request<'_>,
    entry: &Entry,
    stored: &[u8],
    bins: &BinSelection<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    record_header(request.id, Verb::Get, stored).encode(out);
    match bins {
        BinSelection::All => out.extend_from_slice(stored),
        BinSelection::None => {
            let record = parse(stored)?;
            let header = StoredHeader { expiry_secs: entry.expiry_secs, ..record.header };
            header.encode(record.key, 0, out);
        }
        BinSelection::Named(names) => select(stored, names, out)?,
    }
    Ok(())
}

/// Appends a stored record with some of its bins.
pub fn select(stored: &[u8], names: &[&str], out: &mut Vec<u8>) -> Result<(), CommandError> {
    let record = parse(stored)?;
    let archive = project(record.archive, names)?;
    record.header.encode(record.key, archive.len(), out);
    out.extend_from_slice(&archive);
    Ok(())
}

fn parse(stored: &[u8]) -> Result<StoredRecord<'_>, CommandError> {
    StoredRecord::parse(stored).map_err(|error| CommandError::new(Code::RecordCorrupt, error.to_string()))
}

/// `get` that may read the device.
pub async fn get_later(
    request: &Request<'_>,
    digest: Digest,
    bins: &BinSelection<'_>,
) -> Result<Finished, CommandError> {
    let permit = match request.namespace.lookup(&digest, request.now_secs).entry {
        Some(entry) if entry.location.byte_len() > LANE_VALUE_BYTES_MAX => {
            Some(request.context.large_memory(entry.location.byte_len()).await?)
        }
        _ => None,
    };
    let (lookup, stored) = request.namespace.read(digest).await?;
    let (Some(_), Some(stored)) = (lookup.entry, stored) else {
        return Err(CommandError::not_found(lookup.durable_at));
    };
    let namespace = request.namespace_number();
    let wait = lookup.durable_at.map(|end| Wait { namespace, end });
    let mut content = Vec::with_capacity(64);
    record_header(request.id, Verb::Get, stored.as_ref()).encode(&mut content);
    let value: Option<Bytes> = match bins {
        BinSelection::All => Some(stored.into_bytes()),
        BinSelection::None => {
            let record = parse(stored.as_ref())?;
            record.header.encode(record.key, 0, &mut content);
            None
        }
        BinSelection::Named(names) => {
            select(stored.as_ref(), names, &mut content)?;
            None
        }
    };
    Ok(Finished { code: Code::Ok, content, value, wait, permit, told: None })
}

/// `exists`: the index alone knows.
pub fn exists_now(request: &Request<'_>, key: KeyRef<'_>, out: &mut Vec<u8>) -> Now {
    let lookup = request.namespace.lookup(&request.digest_of(key), request.now_secs);
    let namespace = request.namespace_number();
    let Some(entry) = lookup.entry else {
        return refuse(request.id, Verb::Exists, namespace, &CommandError::not_found(lookup.durable_at), out);
    };
    let mut header = ReplyHeader::new(request.id, Verb::Exists, Code::Ok);
    header.generation = entry.generation;
    header.epoch = request.namespace.log.epoch();
    header.encode(out);
    out.extend_from_slice(&entry.expiry_secs.to_le_bytes());
    Now::Done { code: Code::Ok, wait: lookup.durable_at.map(|end| Wait { namespace, end }) }
}
