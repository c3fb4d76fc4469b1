//! What every engine checks before it starts an I/O, and how a kernel error becomes a [`DeviceError`].

use std::io;

use crate::buffer::{BLOCK_BYTES, SegmentBuffer};
use crate::device::DeviceError;

/// Whole blocks, and an end that a `u64` can hold.
pub(crate) fn blocks(device: &str, offset: u64, len: usize) -> Result<(), DeviceError> {
    let whole = offset.is_multiple_of(BLOCK_BYTES as u64) && len.is_multiple_of(BLOCK_BYTES);
    if !whole {
        return Err(DeviceError::Misaligned { device: device.to_owned(), offset, len });
    }
    match offset.checked_add(len as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(DeviceError::Short { device: device.to_owned(), offset, len, got: 0 }),
    }
}

/// A write of whole blocks, of published bytes only, inside the device: a file that grows because of a wrong offset
/// would hide the mistake.
pub(crate) fn write(
    device: &str,
    byte_len: u64,
    offset: u64,
    buffer: &SegmentBuffer,
    start: usize,
    len: usize,
) -> Result<(), DeviceError> {
    blocks(device, offset, len)?;
    if !start.is_multiple_of(BLOCK_BYTES) {
        return Err(DeviceError::Misaligned { device: device.to_owned(), offset: start as u64, len });
    }
    let published = buffer.published();
    if start.checked_add(len).is_none_or(|end| end > published) {
        let message = format!("bytes {start}..+{len} of the buffer aren't written yet (it holds {published})");
        return Err(DeviceError::Io { device: device.to_owned(), operation: "write", offset, len, message });
    }
    if offset + len as u64 > byte_len {
        return Err(DeviceError::NoSpace { device: device.to_owned() });
    }
    Ok(())
}

/// Bytes of a partial transfer to go on from: O_DIRECT wants whole blocks, the rest is transferred again.
pub(crate) fn whole_blocks(count: usize) -> usize {
    count / BLOCK_BYTES * BLOCK_BYTES
}

/// Whether a read that returned `count` bytes may have more to come; a broken block is the end of the file.
pub(crate) fn continues(count: usize) -> bool {
    count.is_multiple_of(BLOCK_BYTES)
}

/// A kernel error as the log should see it.
pub(crate) fn kernel_error(
    device: &str,
    operation: &'static str,
    offset: u64,
    len: usize,
    error: &io::Error,
) -> DeviceError {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => DeviceError::NoSpace { device: device.to_owned() },
        _ => DeviceError::Io { device: device.to_owned(), operation, offset, len, message: error.to_string() },
    }
}
