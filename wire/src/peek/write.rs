//! Archives put together from what was peeked at and from new values, without owned copies in between.

use super::layout::INLINE_BYTES;
use super::{PeekError, PeekKey, PeekValue};
use crate::archive::{ArchiveError, check_unique, check_value};
use crate::limits::{BIN_NAME_BYTES_MAX, BINS_MAX, RECORD_BYTES_CEILING};
use crate::operation::MapKey;
use crate::value::Value;

impl From<PeekError> for ArchiveError {
    fn from(error: PeekError) -> Self {
        match error {
            PeekError::TooDeep => ArchiveError::TooDeep,
            other => ArchiveError::Malformed(other.to_string()),
        }
    }
}

/// The eight bytes of a string, vector or number, whose offset is known once its own place is.
#[derive(Debug, Clone, Copy)]
enum Cell {
    InPlace([u8; 8]),
    Text { target: u32, encoded_len: u32 },
    Vector { target: u32, count: u32 },
}

/// A value or a map's key: its tag and its cell.
#[derive(Debug, Clone, Copy)]
struct Item {
    tag: u8,
    cell: Cell,
}

/// Writes archived bins one by one: the bytes are those that [`crate::archive::archive_bins`] makes.
///
/// Values that were peeked at are copied as they are: where they were valid, so is what is written.
///
/// ```
/// use outcrop_wire::peek::{BinsWriter, PeekBins};
/// use outcrop_wire::{Bins, archive::archive_bins};
///
/// let old = archive_bins(&Bins::new().with("name", "lamp").with("price", 1_999))?;
/// let mut writer = BinsWriter::new();
/// for bin in PeekBins::new(&old)?.iter() {
///     match bin? {
///         ("price", _) => writer.push("price", &1_599.into())?,
///         (name, value) => writer.push_peeked(name, value)?,
///     }
/// }
/// assert_eq!(writer.finish()?, archive_bins(&Bins::new().with("name", "lamp").with("price", 1_599))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct BinsWriter {
    out: Vec<u8>,
    bins: Vec<(Cell, Item)>,
    /// Items whose tables aren't written yet; kept, so that nested values allocate once.
    pending: Vec<Item>,
}

impl BinsWriter {
    /// No bins.
    pub fn new() -> Self {
        BinsWriter::default()
    }

    /// No bins, with room for an archive of so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        BinsWriter { out: Vec::with_capacity(bytes.min(RECORD_BYTES_CEILING)), ..BinsWriter::default() }
    }

    /// Adds a bin with a new value.
    pub fn push(&mut self, name: &str, value: &Value) -> Result<(), ArchiveError> {
        check_value(value)?;
        let name = self.name(name)?;
        let value = self.value(value)?;
        self.bins.push((name, value));
        Ok(())
    }

    /// Adds a bin with a value out of another archive.
    pub fn push_peeked(&mut self, name: &str, value: PeekValue<'_>) -> Result<(), ArchiveError> {
        let name = self.name(name)?;
        let value = self.peeked(value)?;
        self.bins.push((name, value));
        Ok(())
    }

    /// The archive. Names that are there twice, and more than the limits allow, are refused.
    pub fn finish(mut self) -> Result<Vec<u8>, ArchiveError> {
        let BinsWriter { out, bins, .. } = &self;
        let twice = |name: &&[u8]| ArchiveError::DuplicateBin(String::from_utf8_lossy(name).into_owned());
        check_unique(bins.len(), |place| name_of(out, &bins[place].0), twice)?;
        let target = self.out.len() as u32;
        for (name, value) in std::mem::take(&mut self.bins) {
            self.put_cell(name)?;
            self.put(value)?;
        }
        let count = (self.out.len() as u32 - target) / super::layout::BIN_BYTES as u32;
        self.put_cell(Cell::Vector { target, count })?;
        Ok(self.out)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let total = self.out.len() + bytes.len();
        if total > RECORD_BYTES_CEILING {
            return Err(ArchiveError::TooLarge { bytes: total, limit: RECORD_BYTES_CEILING });
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn put(&mut self, item: Item) -> Result<(), ArchiveError> {
        self.append(&[item.tag])?;
        self.put_cell(item.cell)
    }

    fn put_cell(&mut self, cell: Cell) -> Result<(), ArchiveError> {
        let at = self.out.len() as i64;
        // Within the ceiling of a record, so within 32 bits.
        let offset = |target: u32| ((i64::from(target) - at) as i32).to_le_bytes();
        let mut bytes = [0; 8];
        match cell {
            Cell::InPlace(content) => bytes = content,
            Cell::Text { target, encoded_len } => {
                bytes[..4].copy_from_slice(&encoded_len.to_le_bytes());
                bytes[4..].copy_from_slice(&offset(target));
            }
            Cell::Vector { target, count } => {
                bytes[..4].copy_from_slice(&offset(target));
                bytes[4..].copy_from_slice(&count.to_le_bytes());
            }
        }
        self.append(&bytes)
    }

    fn name(&mut self, name: &str) -> Result<Cell, ArchiveError> {
        if name.len() > BIN_NAME_BYTES_MAX {
            return Err(ArchiveError::BinName(name.len()));
        }
        if self.bins.len() >= BINS_MAX {
            return Err(ArchiveError::TooManyBins(self.bins.len() + 1));
        }
        self.text(name)
    }

    fn text(&mut self, text: &str) -> Result<Cell, ArchiveError> {
        if text.len() <= INLINE_BYTES {
            let mut bytes = [0xFF; INLINE_BYTES];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            return Ok(Cell::InPlace(bytes));
        }
        let target = self.out.len() as u32;
        self.append(text.as_bytes())?;
        Ok(Cell::Text { target, encoded_len: super::layout::encoded_len(text.len()) })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Cell, ArchiveError> {
        let target = self.out.len() as u32;
        self.append(bytes)?;
        Ok(Cell::Vector { target, count: bytes.len() as u32 })
    }

    /// Writes the table of what is pending from `base` on, `per_entry` items an entry.
    fn table(&mut self, base: usize, per_entry: usize) -> Result<Cell, ArchiveError> {
        let (target, count) = (self.out.len() as u32, ((self.pending.len() - base) / per_entry) as u32);
        for place in base..self.pending.len() {
            self.put(self.pending[place])?;
        }
        self.pending.truncate(base);
        Ok(Cell::Vector { target, count })
    }

    fn value(&mut self, value: &Value) -> Result<Item, ArchiveError> {
        let base = self.pending.len();
        let (tag, cell) = match value {
            Value::Null => (0, Cell::InPlace([0; 8])),
            Value::Bool(value) => (1, boolean(*value)),
            Value::Int(number) => (2, Cell::InPlace(number.to_le_bytes())),
            Value::Float(number) => (3, Cell::InPlace(number.to_le_bytes())),
            Value::Text(text) => (4, self.text(text)?),
            Value::Bytes(bytes) => (5, self.bytes(bytes)?),
            Value::List(items) => {
                for item in items {
                    let item = self.value(item)?;
                    self.pending.push(item);
                }
                (6, self.table(base, 1)?)
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let key = match key {
                        MapKey::Int(number) => PeekKey::Int(*number),
                        MapKey::Text(text) => PeekKey::Text(text),
                        MapKey::Bytes(bytes) => PeekKey::Bytes(bytes),
                    };
                    let entry = [self.key(key)?, self.value(value)?];
                    self.pending.extend(entry);
                }
                (7, self.table(base, 2)?)
            }
        };
        Ok(Item { tag, cell })
    }

    fn peeked(&mut self, value: PeekValue<'_>) -> Result<Item, ArchiveError> {
        let base = self.pending.len();
        let (tag, cell) = match value {
            PeekValue::Null => (0, Cell::InPlace([0; 8])),
            PeekValue::Bool(value) => (1, boolean(value)),
            PeekValue::Int(number) => (2, Cell::InPlace(number.to_le_bytes())),
            PeekValue::Float(number) => (3, Cell::InPlace(number.to_le_bytes())),
            PeekValue::Text(text) => (4, self.text(text)?),
            PeekValue::Bytes(bytes) => (5, self.bytes(bytes)?),
            PeekValue::List(list) => {
                for item in list.iter() {
                    let item = self.peeked(item?)?;
                    self.pending.push(item);
                }
                (6, self.table(base, 1)?)
            }
            PeekValue::Map(map) => {
                for entry in map.iter() {
                    let (key, value) = entry?;
                    let entry = [self.key(key)?, self.peeked(value)?];
                    self.pending.extend(entry);
                }
                (7, self.table(base, 2)?)
            }
        };
        Ok(Item { tag, cell })
    }

    fn key(&mut self, key: PeekKey<'_>) -> Result<Item, ArchiveError> {
        let (tag, cell) = match key {
            PeekKey::Int(number) => (0, Cell::InPlace(number.to_le_bytes())),
            PeekKey::Text(text) => (1, self.text(text)?),
            PeekKey::Bytes(bytes) => (2, self.bytes(bytes)?),
        };
        Ok(Item { tag, cell })
    }
}

fn boolean(value: bool) -> Cell {
    Cell::InPlace([value.into(), 0, 0, 0, 0, 0, 0, 0])
}

/// The bytes of a name that was written.
fn name_of<'a>(out: &'a [u8], cell: &'a Cell) -> &'a [u8] {
    match cell {
        Cell::InPlace(bytes) => {
            let len = bytes.iter().position(|byte| *byte == 0xFF).unwrap_or(INLINE_BYTES);
            &bytes[..len]
        }
        Cell::Text { target, encoded_len } => {
            let start = *target as usize;
            &out[start..start + super::layout::decoded_len(*encoded_len)]
        }
        Cell::Vector { .. } => &[],
    }
}
