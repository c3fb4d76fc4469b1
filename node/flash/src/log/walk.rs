//! Walks the bytes of a segment from entry to entry; where one can't be read, finds the next one that can.

use std::ops::Range;

use crate::location::{ENTRY_ALIGN, SegmentId};
use crate::log::entry::{HEADER_BYTES, Header, Kind, Mark, Seed, next_block};

/// Which bytes are to be read, and what they must match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentMeta {
    pub id: SegmentId,
    pub sequence: u64,
    pub seed: Seed,
    /// Where reading starts: an entry's or a block's start.
    pub start: usize,
    /// Where entries end, or the segment's end if that isn't known.
    pub end: usize,
}

/// What a walk met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An intact entry.
    Entry { offset: usize, payload_len: usize, kind: Kind },
    /// The end of a flush group and where the next one starts.
    Mark { mark: Mark, next: usize },
    /// Bytes that hold no intact entry.
    Damage(Range<usize>),
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The segment's end was reached.
    Done,
    /// The window's end was reached.
    More,
    /// The entry at this offset goes on behind the window.
    Straddles { offset: usize, total: usize },
}

/// A walk through one segment, window by window.
#[derive(Debug)]
pub(crate) struct Walker {
    seed: Seed,
    at: usize,
    end: usize,
    lost_from: Option<usize>,
    done: bool,
}

impl Walker {
    pub fn new(meta: &SegmentMeta) -> Self {
        Walker { seed: meta.seed, at: meta.start, end: meta.end, lost_from: None, done: meta.start >= meta.end }
    }

    /// Whether nothing follows.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Walks `bytes`, which lie at `base` of the segment. `verify` checks payloads too (not needed for what never left RAM).
    pub fn walk(&mut self, bytes: &[u8], base: usize, verify: bool, out: &mut impl FnMut(Step)) -> Pause {
        let window_end = base + bytes.len();
        let limit = window_end.min(self.end);
        while !self.done && self.at + HEADER_BYTES <= limit {
            let here = &bytes[self.at - base..];
            let header = Header::parse(self.seed, self.at, here).filter(|header| self.at + header.total() <= self.end);
            let Some(header) = header else {
                self.lost_from.get_or_insert(self.at);
                self.at += ENTRY_ALIGN;
                continue;
            };
            if self.at + header.total() > window_end {
                return Pause::Straddles { offset: self.at, total: header.total() };
            }
            self.take(header, &here[HEADER_BYTES..HEADER_BYTES + header.payload_len], verify, out);
        }
        if !self.done && self.at + HEADER_BYTES <= self.end {
            return Pause::More;
        }
        if let Some(from) = self.lost_from.take() {
            out(Step::Damage(from..self.end));
        }
        self.done = true;
        Pause::Done
    }

    /// The entry at `at` with its whole payload: judges it and moves behind it.
    pub fn take(&mut self, header: Header, payload: &[u8], verify: bool, out: &mut impl FnMut(Step)) {
        let (offset, total) = (self.at, header.total());
        let mark = if header.kind == Kind::Mark { Mark::decode(payload) } else { None };
        let intact = (!verify || header.matches(payload)) && (header.kind != Kind::Mark || mark.is_some());
        if !intact {
            // The header is right, so its length is: exactly one entry is lost.
            self.lost_from.get_or_insert(offset);
            self.at += total;
            return;
        }
        if let Some(from) = self.lost_from.take() {
            out(Step::Damage(from..offset));
        }
        match mark {
            Some(mark) => {
                self.at = next_block(offset + total);
                self.done = mark.seals;
                out(Step::Mark { mark, next: self.at });
            }
            None => {
                self.at += total;
                out(Step::Entry { offset, payload_len: header.payload_len, kind: header.kind });
            }
        }
    }

    /// Checks an entry that was put together from several windows, then goes on behind it.
    pub fn take_stitched(&mut self, entry: &[u8], out: &mut impl FnMut(Step)) {
        match Header::parse(self.seed, self.at, entry) {
            Some(header) if entry.len() >= HEADER_BYTES + header.payload_len => {
                self.take(header, &entry[HEADER_BYTES..HEADER_BYTES + header.payload_len], true, out);
            }
            _ => {
                self.lost_from.get_or_insert(self.at);
                self.at += ENTRY_ALIGN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Lsn;
    use crate::log::entry::{header, total_bytes};

    const SEED: Seed = Seed(0x1234_5678_9abc_def0);

    fn put(bytes: &mut Vec<u8>, payload: &[u8]) -> usize {
        let offset = bytes.len();
        bytes.extend(header(SEED, offset, Kind::Data, payload.len(), crc32c::crc32c(payload)));
        bytes.extend(payload);
        bytes.resize(offset + total_bytes(payload.len()), 0);
        offset
    }

    fn mark(bytes: &mut Vec<u8>, seals: bool) {
        let offset = bytes.len();
        bytes.extend(Mark { durable: Lsn(1), seals }.encode(SEED, offset));
        bytes.resize(next_block(bytes.len()), 0);
    }

    fn steps(bytes: &[u8], end: usize) -> Vec<Step> {
        let meta = SegmentMeta { id: SegmentId(0), sequence: 1, seed: SEED, start: 0, end };
        let mut walker = Walker::new(&meta);
        let mut steps = Vec::new();
        assert_eq!(walker.walk(bytes, 0, true, &mut |step| steps.push(step)), Pause::Done);
        assert!(walker.is_done());
        steps
    }

    fn entries(steps: &[Step]) -> Vec<usize> {
        steps
            .iter()
            .filter_map(|step| if let Step::Entry { offset, .. } = step { Some(*offset) } else { None })
            .collect()
    }

    #[test]
    fn walks_entries_over_group_borders_to_the_sealing_mark() {
        let mut bytes = Vec::new();
        let mut offsets = vec![put(&mut bytes, b"one"), put(&mut bytes, b"")];
        mark(&mut bytes, false);
        offsets.push(put(&mut bytes, &[9; 5_000]));
        mark(&mut bytes, true);
        put(&mut bytes, b"an entry behind the seal is none");
        let found = steps(&bytes, bytes.len());
        assert_eq!(entries(&found), offsets);
        assert!(!found.iter().any(|step| matches!(step, Step::Damage(_))));
    }

    #[test]
    fn a_rotten_payload_costs_one_entry_and_a_rotten_header_is_stepped_over() {
        let mut bytes = Vec::new();
        let offsets: Vec<usize> = (0..9).map(|index| put(&mut bytes, &[index; 100])).collect();
        mark(&mut bytes, false);
        bytes[offsets[2] + 50] ^= 4;
        bytes[offsets[5] + 5] ^= 4;
        bytes[offsets[6] + 12] ^= 4;
        let found = steps(&bytes, bytes.len());
        let left: Vec<usize> = [0, 1, 3, 4, 7, 8].map(|index| offsets[index]).to_vec();
        assert_eq!(entries(&found), left);
        let damage: Vec<&Step> = found.iter().filter(|step| matches!(step, Step::Damage(_))).collect();
        assert_eq!(damage, [&Step::Damage(offsets[2]..offsets[3]), &Step::Damage(offsets[5]..offsets[7])]);
    }

    #[test]
    fn what_never_was_written_is_damage_to_the_end() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"x");
        mark(&mut bytes, false);
        let end = bytes.len();
        bytes.resize(end + 8_192, 0);
        assert_eq!(steps(&bytes, bytes.len()).last(), Some(&Step::Damage(end..end + 8_192)));
        assert_eq!(steps(&bytes, end).len(), 2, "a known end is the end");
    }

    #[test]
    fn an_entry_that_straddles_windows_pauses_the_walk() {
        let mut bytes = Vec::new();
        put(&mut bytes, &[1; 100]);
        let second = put(&mut bytes, &[2; 200]);
        mark(&mut bytes, true);
        let meta = SegmentMeta { id: SegmentId(0), sequence: 1, seed: SEED, start: 0, end: bytes.len() };
        let (mut walker, mut seen) = (Walker::new(&meta), Vec::new());
        let pause = walker.walk(&bytes[..256], 0, true, &mut |step| seen.push(step));
        assert_eq!(pause, Pause::Straddles { offset: second, total: 224 });
        walker.take_stitched(&bytes[second..second + 224], &mut |step| seen.push(step));
        assert_eq!(walker.walk(&bytes[256..], 256, true, &mut |step| seen.push(step)), Pause::Done);
        assert_eq!(entries(&seen), [0, second]);
    }
}
