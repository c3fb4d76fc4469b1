//! Rows in order of their keys, in bounded memory.

use outcrop_client::UserKey;

use super::Order;
use crate::failure::Failure;

/// Keys and rows held, at most.
const HELD_BYTES_MAX: usize = 1 << 30;

/// Holds rows back until all are there, if they have to be in order.
pub(super) struct Sorter {
    order: Order,
    rows: Vec<(UserKey, Vec<u8>)>,
    held_bytes: usize,
}

impl Sorter {
    pub(super) fn new(order: Order) -> Self {
        Sorter { order, rows: Vec::new(), held_bytes: 0 }
    }

    /// Takes a row; gives it back at once where order doesn't matter.
    pub(super) fn hold(&mut self, key: UserKey, row: Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        if self.order == Order::None {
            return Ok(Some(row));
        }
        self.held_bytes += size_of::<(UserKey, Vec<u8>)>() + key.borrow().byte_len() + row.len();
        if self.held_bytes > HELD_BYTES_MAX {
            let message = format!("the export is over {HELD_BYTES_MAX} bytes, more than is put in order in memory");
            return Err(Failure::usage(message, "Leave --order out, and sort the file."));
        }
        self.rows.push((key, row));
        Ok(None)
    }

    /// All rows that were held, in order. A record that was written meanwhile comes once, as it was last seen.
    pub(super) fn sorted(mut self) -> impl Iterator<Item = Vec<u8>> {
        // Stable, so that of two rows of one key the later one follows.
        self.rows.sort_by(|a, b| a.0.cmp(&b.0));
        let mut rows = self.rows.into_iter().peekable();
        std::iter::from_fn(move || {
            let mut next = rows.next()?;
            while let Some(later) = rows.next_if(|later| later.0 == next.0) {
                next = later;
            }
            Some(next.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_by_key_and_once() {
        let mut sorter = Sorter::new(Order::Key);
        let keys: [UserKey; 6] = ["b".into(), 10.into(), 9.into(), "a".into(), vec![0_u8].into(), 9.into()];
        for (place, key) in keys.into_iter().enumerate() {
            assert_eq!(sorter.hold(key, vec![place as u8]), Ok(None));
        }
        assert_eq!(sorter.sorted().collect::<Vec<_>>(), vec![vec![5], vec![1], vec![3], vec![0], vec![4]]);
    }
}
