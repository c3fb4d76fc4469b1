//! Edits of a valid example: how a few bytes of input become a nearly valid whole.

/// Bytes of one edit: where (u16), what (u8), with what (u8).
const EDIT_BYTES: usize = 4;
/// An example grows to this at most, so that a long list of edits can't take the memory.
const BYTES_MAX: usize = 1 << 20;

/// The bytes that a target works on; see the crate's page.
pub fn input(data: &[u8], examples: &[Vec<u8>]) -> Vec<u8> {
    match data {
        [kind, which, edits @ ..] if kind % 2 == 1 && !examples.is_empty() => {
            let mut bytes = examples[usize::from(*which) % examples.len()].clone();
            edits.chunks_exact(EDIT_BYTES).for_each(|edit| apply(&mut bytes, edit));
            bytes
        }
        [_, raw @ ..] => raw.to_vec(),
        [] => Vec::new(),
    }
}

/// Changes, removes, doubles or inserts at a place that is given as a fraction of the whole.
pub fn apply(bytes: &mut Vec<u8>, edit: &[u8]) {
    let &[low, high, what, with] = edit else { return };
    if bytes.is_empty() {
        return;
    }
    let fraction = u64::from(u16::from_le_bytes([low, high]));
    // Short examples are addressed byte by byte, long ones by their parts.
    let at = if bytes.len() <= usize::from(u16::MAX) {
        fraction as usize % bytes.len()
    } else {
        ((fraction * bytes.len() as u64) >> 16) as usize
    };
    let len = usize::from(with).min(bytes.len() - at);
    match what % 8 {
        0 | 1 => bytes[at] = with,
        2 => bytes[at] ^= 1 << (with % 8),
        3 => bytes[at] = bytes[at].wrapping_add(with),
        4 => drop(bytes.drain(at..at + len)),
        5 if bytes.len() + len <= BYTES_MAX => {
            let doubled = bytes[at..at + len].to_vec();
            bytes.splice(at..at, doubled);
        }
        6 => bytes[at..at + len].fill(if what & 8 == 0 { 0 } else { 0xFF }),
        7 => bytes.truncate(at),
        _ => {}
    }
}
