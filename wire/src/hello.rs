//! The first exchange of a connection: who speaks, and which namespaces there are.
//!
//! The client opens a bidirectional stream whose first byte is [`STREAM_HELLO`] and sends a [`Hello`] frame; the node
//! answers with a [`Welcome`] frame. The stream stays open; its end is the end of the session. Namespaces get numbers
//! that hold for this connection.

use crate::key::check_namespace_name;
use crate::limits::{FORMAT_VERSION, NAMESPACES_MAX};
use crate::reader::{ReadError, Reader};

/// ALPN of clients.
pub const ALPN_CLIENT: &[u8] = b"outcrop/1";

/// First byte of the session's stream.
pub const STREAM_HELLO: u8 = 1;
/// First byte of a lane: many small frames each way, replies in any order.
pub const STREAM_LANE: u8 = 2;
/// First byte of a stream for one request and its reply (large values).
pub const STREAM_SINGLE: u8 = 3;
/// First byte of a scan: one request, many replies.
pub const STREAM_SCAN: u8 = 4;
/// First byte of a unidirectional stream from the node: one reply, too large for the lane that its request came on.
pub const STREAM_LARGE_REPLY: u8 = 5;

/// Why a node closes a connection: the application error code of QUIC's CONNECTION_CLOSE.
///
/// The node shuts down.
pub const CLOSE_DRAINING: u32 = 1;
/// The client broke the protocol.
pub const CLOSE_PROTOCOL: u32 = 2;
/// The node has as many connections as it may have.
pub const CLOSE_TOO_MANY_CONNECTIONS: u32 = 3;
/// The client's version isn't spoken here.
pub const CLOSE_VERSION: u32 = 4;

/// A namespace's number on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespaceId(pub u16);

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Format version that the client speaks.
    pub version: u8,
    /// Name and version of the client, for logs; at most 255 bytes.
    pub agent: String,
}

impl Hello {
    /// A hello of this build.
    pub fn new(agent: &str) -> Self {
        Hello { version: FORMAT_VERSION, agent: agent.chars().take(60).collect() }
    }

    /// Appends `u8 version, u8 length, agent`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.version);
        out.push(self.agent.len().min(255) as u8);
        out.extend_from_slice(&self.agent.as_bytes()[..self.agent.len().min(255)]);
    }

    /// Reads a hello; the version is judged by the caller, so that it can answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        let len = reader.u8("agent length")?;
        Ok(Hello { version, agent: reader.text(len.into(), "agent")?.to_owned() })
    }
}

/// One namespace of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its number on this connection.
    pub id: NamespaceId,
    /// Its name.
    pub name: String,
    /// Archived bytes of a record, at most.
    pub record_bytes_max: u32,
}

/// What the node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Format version that the node speaks; the client closes if it doesn't.
    pub version: u8,
    /// The node's identity, kept over restarts.
    pub node_id: u64,
    /// Lanes that this connection may open.
    pub lanes_max: u16,
    /// The namespaces.
    pub namespaces: Vec<NamespaceInfo>,
    /// Who serves this connection; `None`: an older node, which doesn't say.
    pub worker: Option<WorkerPlace>,
}

/// Which of the node's workers serves a connection. The kernel picks it by the client's address and port, so of a few
/// connections all may fall to one worker; a client that cares connects anew from another port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPlace {
    /// Its number, from 0.
    pub number: u16,
    /// How many there are.
    pub count: u16,
}

impl WorkerPlace {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(WorkerPlace { number: reader.u16("worker")?, count: reader.u16("workers")? })
    }
}

impl Welcome {
    /// Appends `u8 version, u64 node, u16 lanes, u16 count, {u16 id, u32 record bytes, u8 length, name}*`, and, unless it
    /// isn't told, `u16 worker, u16 workers`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.version);
        out.extend_from_slice(&self.node_id.to_le_bytes());
        out.extend_from_slice(&self.lanes_max.to_le_bytes());
        out.extend_from_slice(&(self.namespaces.len() as u16).to_le_bytes());
        for namespace in &self.namespaces {
            out.extend_from_slice(&namespace.id.0.to_le_bytes());
            out.extend_from_slice(&namespace.record_bytes_max.to_le_bytes());
            out.push(namespace.name.len() as u8);
            out.extend_from_slice(namespace.name.as_bytes());
        }
        if let Some(worker) = self.worker {
            out.extend_from_slice(&worker.number.to_le_bytes());
            out.extend_from_slice(&worker.count.to_le_bytes());
        }
    }

    /// Reads a welcome.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        let node_id = reader.u64("node")?;
        let lanes_max = reader.u16("lanes")?;
        let count = reader.u16("namespaces")?;
        let mut namespaces = Vec::new();
        for _ in 0..usize::from(count).min(NAMESPACES_MAX) {
            let id = NamespaceId(reader.u16("namespace id")?);
            let record_bytes_max = reader.u32("record bytes")?;
            let len = reader.u8("name length")?;
            let name = reader.text(len.into(), "namespace name")?.to_owned();
            if check_namespace_name(&name).is_ok() {
                namespaces.push(NamespaceInfo { id, name, record_bytes_max });
            }
        }
        // What follows more namespaces than there may be isn't at its place.
        let told = usize::from(count) <= NAMESPACES_MAX && !reader.is_empty();
        let worker = told.then(|| WorkerPlace::decode(&mut reader)).transpose()?;
        Ok(Welcome { version, node_id, lanes_max, namespaces, worker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(worker: Option<WorkerPlace>) -> Welcome {
        let namespaces = vec![NamespaceInfo { id: NamespaceId(0), name: "shop".to_owned(), record_bytes_max: 1 << 20 }];
        Welcome { version: FORMAT_VERSION, node_id: 9, lanes_max: 4, namespaces, worker }
    }

    #[test]
    fn a_welcome_that_tells_no_worker_is_one_of_an_older_node() {
        let (mut older, mut newer) = (Vec::new(), Vec::new());
        welcome(None).encode(&mut older);
        assert_eq!(Welcome::decode(&older), Ok(welcome(None)));
        let told = welcome(Some(WorkerPlace { number: 1, count: 2 }));
        told.encode(&mut newer);
        assert_eq!(Welcome::decode(&newer), Ok(told));
        assert_eq!(newer[..older.len()], older, "a client that doesn't know of workers reads what it knows");
    }

    #[test]
    fn half_a_worker_is_malformed() {
        let mut bytes = Vec::new();
        welcome(Some(WorkerPlace { number: 1, count: 2 })).encode(&mut bytes);
        assert!(Welcome::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
