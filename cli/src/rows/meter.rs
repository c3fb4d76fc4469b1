//! A reader that counts, so that progress can be shown and an endless row is an error instead of all memory.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ROW_BYTES_MAX;

/// Counts bytes since the file's and since the row's beginning.
pub(super) struct Metered<R> {
    inner: R,
    read_bytes: Arc<AtomicU64>,
    row: RowMeter,
    row_bytes_max: usize,
}

/// Bytes since the row's beginning; whoever reads rows resets it.
#[derive(Clone, Default)]
pub(super) struct RowMeter(Rc<Cell<usize>>);

impl RowMeter {
    /// A new row begins.
    pub(super) fn reset(&self) {
        self.0.set(0);
    }
}

impl<R> Metered<R> {
    pub(super) fn new(inner: R, read_bytes: Arc<AtomicU64>) -> Self {
        Metered { inner, read_bytes, row: RowMeter::default(), row_bytes_max: usize::MAX }
    }

    /// From here on reading fails within a row of over [`ROW_BYTES_MAX`]: for a reader that keeps a row whole.
    pub(super) fn bounded(self) -> Self {
        Metered { row_bytes_max: ROW_BYTES_MAX, ..self }
    }

    pub(super) fn row_meter(&self) -> RowMeter {
        self.row.clone()
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.row.0.get() > self.row_bytes_max {
            return Err(io::Error::other(format!("it has over {ROW_BYTES_MAX} bytes; is a quote never closed?")));
        }
        let count = self.inner.read(buffer)?;
        self.row.0.set(self.row.0.get().saturating_add(count));
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
