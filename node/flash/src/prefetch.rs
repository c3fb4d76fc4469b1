//! Asking the processor for memory ahead of time, so that several places come at once instead of one after the other.
//!
//! A load that misses holds up what depends on it, and every atomic operation in between holds up all later loads. A
//! prefetch is forgotten the moment it is issued: locks and counters between two of them cost nothing. It changes no
//! byte, and an address that isn't mapped is passed over.
//!
//! On processors other than x86-64 these are no-ops: stable Rust has no prefetch for them.

/// Bytes of one line of the cache.
const LINE_BYTES: usize = 64;

/// Asks for the line where this place begins.
#[inline]
pub fn prefetch<T: ?Sized>(place: &T) {
    line(std::ptr::from_ref(place).cast());
}

/// Asks for the lines of up to `bytes_max` bytes from the front.
#[inline]
pub fn prefetch_bytes(bytes: &[u8], bytes_max: usize) {
    let bytes = bytes.get(..bytes_max).unwrap_or(bytes);
    bytes.iter().step_by(LINE_BYTES).for_each(prefetch);
    // Bytes that don't begin with a line end in one more than their length tells.
    bytes.last().into_iter().for_each(prefetch);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn line(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads and writes nothing that the program can see and never faults, whatever the address; the
    // instruction belongs to SSE, which every x86-64 has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
#[inline]
fn line(_address: *const i8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_memory_changes_none_of_it() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for bytes_max in [0, 1, 63, 64, 65, 4_096, usize::MAX] {
            for from in [0, 1, 63, 9_999, 10_000] {
                prefetch_bytes(&bytes[from..], bytes_max);
            }
        }
        prefetch(&bytes);
        assert!(bytes.iter().zip((0..=255_u8).cycle()).all(|(is, was)| *is == was));
    }
}
