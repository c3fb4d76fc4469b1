//! Replies read in place: a record as it came off the network, and what the other verbs tell.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use outcrop_wire::archive::{ArchiveError, access_bins, archive_bins, decode_bins};
use outcrop_wire::record::ArchivedBins;
use outcrop_wire::{Bins, KeyRef, Record, ReplyHeader, StoredHeader, StoredRecord};
use serde::de::DeserializeOwned;
use yoke::Yoke;

use crate::error::ClientError;

/// What a write tells.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
/// let written = client.set_bytes(&key, b"hello", outcrop_client::Ttl::Secs(60)).await?;
/// println!("generation {}, expires at {:?}", written.generation, written.expiry_secs);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The record's generation after the write.
    pub generation: u32,
    /// When it expires, in seconds since 1970 (UTC); `None`: never.
    pub expiry_secs: Option<u32>,
    /// The epoch of its partition.
    pub epoch: u64,
    /// Its place among its partition's writes; (epoch, sequence) orders writes.
    pub sequence: u64,
}

/// What `exists` tells of a record.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
/// if let Some(meta) = client.exists(&key).await? {
///     println!("generation {}", meta.generation);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMeta {
    /// Its write counter.
    pub generation: u32,
    /// When it expires, in seconds since 1970 (UTC); `None`: never.
    pub expiry_secs: Option<u32>,
    /// The epoch of its partition.
    pub epoch: u64,
    /// Its place among its partition's writes.
    pub sequence: u64,
}

fn expiry(secs: u32) -> Option<u32> {
    (secs != 0).then_some(secs)
}

impl Written {
    pub(crate) fn parse(header: &ReplyHeader, body: &[u8]) -> Result<Self, ClientError> {
        let secs = outcrop_wire::reader::Reader::new(body).u32("expiry").map_err(ClientError::protocol)?;
        let ReplyHeader { generation, epoch, sequence, .. } = *header;
        Ok(Written { generation, expiry_secs: expiry(secs), epoch, sequence })
    }
}

impl RecordMeta {
    pub(crate) fn parse(header: &ReplyHeader, body: &[u8]) -> Result<Self, ClientError> {
        let Written { generation, expiry_secs, epoch, sequence } = Written::parse(header, body)?;
        Ok(RecordMeta { generation, expiry_secs, epoch, sequence })
    }
}

type Validated = Yoke<&'static ArchivedBins, Arc<Bytes>>;

/// One record as it came off the network, read in place. Its bins are validated once, when first asked for.
///
/// ```no_run
/// use outcrop_client::ArchivedValue;
/// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
/// if let Some(record) = client.get(&key).await? {
///     if let Some(ArchivedValue::Text(name)) = record.bins()?.get("name") {
///         println!("{} of generation {}", name.as_str(), record.generation());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RecordView {
    /// The stored record: header, set, key, archive.
    stored: Bytes,
    header: StoredHeader,
    archive_at: u32,
    validated: OnceLock<Result<Validated, ArchiveError>>,
}

impl RecordView {
    /// Takes a stored record apart; the archive isn't looked into yet.
    pub(crate) fn parse(stored: Bytes) -> Result<Self, ClientError> {
        let record = StoredRecord::parse(&stored).map_err(ClientError::protocol)?;
        let archive_at = (stored.len() - record.archive.len()) as u32;
        Ok(RecordView { header: record.header, archive_at, validated: OnceLock::new(), stored })
    }

    /// Its write counter: 1 for the first write.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let options = outcrop_client::PutOptions::default().if_generation(record.generation());
    /// # Ok(())
    /// # }
    /// ```
    pub fn generation(&self) -> u32 {
        self.header.generation
    }

    /// When it expires, in seconds since 1970 (UTC); `None`: never.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// println!("expires: {:?}", record.expiry_secs());
    /// # Ok(())
    /// # }
    /// ```
    pub fn expiry_secs(&self) -> Option<u32> {
        expiry(self.header.expiry_secs)
    }

    /// When it was last written, in milliseconds since 1970 (UTC), by the node's clock; for people, never for order.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// println!("written {} ms after 1970", record.last_update_ms());
    /// # Ok(())
    /// # }
    /// ```
    pub fn last_update_ms(&self) -> u64 {
        self.header.last_update_ms
    }

    /// The epoch of its partition when it was written.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let order = (record.epoch(), record.sequence());
    /// # Ok(())
    /// # }
    /// ```
    pub fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// Its place among its partition's writes; (epoch, sequence) orders writes.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let order = (record.epoch(), record.sequence());
    /// # Ok(())
    /// # }
    /// ```
    pub fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// Its set and user key.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// println!("{} of set {}", record.key().user_key, record.key().set);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self) -> KeyRef<'_> {
        StoredRecord::parse(&self.stored).expect("these bytes were taken apart when the view was made").key
    }

    /// The archived bins as bytes: what [`outcrop_wire::archive::access_bins`] reads. Empty if no bins were asked for.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let bins = outcrop_wire::archive::decode_bins(&record.archive())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn archive(&self) -> Bytes {
        self.stored.slice(self.archive_at as usize..)
    }

    /// The whole stored record: header, set, key and archived bins, as a node keeps it.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// println!("{} bytes", record.stored().len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// Whether bins came with it: a scan that asks for none gives keys, generations and expiries only.
    fn has_archive(&self) -> bool {
        (self.archive_at as usize) < self.stored.len()
    }

    /// The bins, read in place; [`ArchivedBins::get`] finds one by its name. An error: the archive is damaged.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let has_name = record.bins()?.get("name").is_some();
    /// # Ok(())
    /// # }
    /// ```
    pub fn bins(&self) -> Result<&ArchivedBins, ClientError> {
        let validated = self.validated.get_or_init(|| {
            let archive = match self.has_archive() {
                true => self.archive(),
                false => archive_bins(&Bins::new())?.into(),
            };
            Yoke::try_attach_to_cart(Arc::new(archive), |bytes| access_bins(bytes))
        });
        match validated {
            Ok(bins) => Ok(bins.get()),
            Err(error) => Err(ClientError::Archive(error.clone())),
        }
    }

    /// The bytes (or text) of the unnamed bin, as a slice of the reply; `None` if there is no such bin.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// if let Some(bytes) = record.unnamed_bytes()? {
    ///     println!("{} bytes", bytes.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn unnamed_bytes(&self) -> Result<Option<Bytes>, ClientError> {
        match self.validated.get() {
            Some(_) => Ok(self.bins()?.unnamed_bytes().map(|bytes| self.stored.slice_ref(bytes))),
            None if !self.has_archive() => Ok(None),
            // Validating for one look costs less than keeping what was validated.
            None => unnamed_of(&self.archive()),
        }
    }

    /// The bins as an owned copy.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// println!("{:?}", record.to_bins()?.get("name"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_bins(&self) -> Result<Bins, ClientError> {
        match self.has_archive() {
            true => Ok(decode_bins(&self.stored[self.archive_at as usize..])?),
            false => Ok(Bins::new()),
        }
    }

    /// The whole record as an owned copy.
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let owned: outcrop_client::Record = record.to_record()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_record(&self) -> Result<Record, ClientError> {
        Ok(Record {
            bins: self.to_bins()?,
            generation: self.generation(),
            expiry_secs: self.expiry_secs(),
            last_update_ms: self.last_update_ms(),
            epoch: self.epoch(),
            sequence: self.sequence(),
        })
    }

    /// The bins as a serde type: see [`crate::bins`].
    ///
    /// ```no_run
    /// # async fn example(record: outcrop_client::RecordView) -> Result<(), outcrop_client::ClientError> {
    /// let fields: std::collections::BTreeMap<String, i64> = record.decode()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        crate::bins::from_archived(self.bins()?)
    }
}

impl fmt::Debug for RecordView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RecordView");
        debug.field("key", &self.key()).field("header", &self.header);
        match self.to_bins() {
            Ok(bins) => debug.field("bins", &bins.bins).finish(),
            Err(error) => debug.field("bins", &error).finish(),
        }
    }
}

/// The bytes of the unnamed bin of archived bins, as a slice of them.
pub(crate) fn unnamed_of(archive: &Bytes) -> Result<Option<Bytes>, ClientError> {
    Ok(access_bins(archive)?.unnamed_bytes().map(|bytes| archive.slice_ref(bytes)))
}

#[cfg(test)]
mod tests {
    use outcrop_wire::{Digest, Key, Value};

    use super::*;

    fn stored(bins: &Bins) -> Bytes {
        let key = Key::new("test", "people", "alice");
        let header = StoredHeader {
            generation: 3,
            epoch: 1,
            sequence: 9,
            last_update_ms: 1_000,
            expiry_secs: 0,
            digest: Digest::of(key.borrow()),
            flags: 0,
        };
        let archive = archive_bins(bins).expect("within the limits");
        let mut bytes = Vec::new();
        header.encode(key.borrow(), archive.len(), &mut bytes);
        bytes.extend_from_slice(&archive);
        Bytes::from(bytes)
    }

    #[test]
    fn values_are_slices_of_the_reply() {
        let bytes = stored(&Bins::unnamed(vec![7_u8; 1_000]));
        let view = RecordView::parse(bytes.clone()).expect("a stored record");
        let range = bytes.as_ptr_range();
        for _ in 0..2 {
            let value = view.unnamed_bytes().expect("valid").expect("there");
            assert_eq!(value, vec![7_u8; 1_000]);
            assert!(range.contains(&value.as_ptr()), "not copied");
            view.bins().expect("valid");
        }
        assert_eq!((view.generation(), view.expiry_secs(), view.sequence()), (3, None, 9));
        assert_eq!(view.key(), Key::new("test", "people", "alice").borrow());
    }

    #[test]
    fn a_record_without_its_bins_has_none() {
        let bytes = stored(&Bins::unnamed("x"));
        let archive_at = StoredRecord::parse(&bytes).map(|record| bytes.len() - record.archive.len()).expect("stored");
        let mut bytes = bytes.slice(..archive_at).to_vec();
        bytes[8..12].fill(0);
        let view = RecordView::parse(Bytes::from(bytes)).expect("header and key");
        assert_eq!((view.to_bins().expect("none"), view.unnamed_bytes().expect("none")), (Bins::new(), None));
        assert_eq!(view.bins().expect("none").bins.len(), 0);
    }

    #[test]
    fn a_damaged_archive_is_an_error_each_time() {
        let mut bytes = stored(&Bins::new().with("a", Value::from("b"))).to_vec();
        let end = bytes.len();
        bytes[end - 8..].fill(0xff);
        let view = RecordView::parse(Bytes::from(bytes)).expect("header and key are whole");
        assert!(matches!(view.bins(), Err(ClientError::Archive(_))));
        assert!(matches!(view.bins(), Err(ClientError::Archive(_))));
        assert!(matches!(view.unnamed_bytes(), Err(ClientError::Archive(_))));
        assert!(format!("{view:?}").contains("alice"));
    }
}
