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
    line_ending: LineEnding,
    last: u8,
}

/// Whether the file's first line ends with a carriage return, once that is known.
#[derive(Clone, Default)]
pub(super) struct LineEnding(Rc<Cell<Option<bool>>>);

impl LineEnding {
    /// Whether lines end with carriage return and line feed.
    pub(super) fn is_crlf(&self) -> bool {
        self.0.get() == Some(true)
    }
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
        let (row, line_ending) = (RowMeter::default(), LineEnding::default());
        Metered { inner, read_bytes, row, row_bytes_max: usize::MAX, line_ending, last: 0 }
    }

    /// From here on reading fails within a row of over [`ROW_BYTES_MAX`]: for a reader that keeps a row whole.
    pub(super) fn bounded(self) -> Self {
        Metered { row_bytes_max: ROW_BYTES_MAX, ..self }
    }

    pub(super) fn line_ending(&self) -> LineEnding {
        self.line_ending.clone()
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
        let read = buffer.get(..count).unwrap_or_default();
        if self.line_ending.0.get().is_none() {
            if let Some(place) = read.iter().position(|byte| *byte == b'\n') {
                let before = if place == 0 { self.last } else { read[place - 1] };
                self.line_ending.0.set(Some(before == b'\r'));
            }
            self.last = read.last().copied().unwrap_or(self.last);
        }
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
