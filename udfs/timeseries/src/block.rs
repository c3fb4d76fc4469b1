//! Blocks: a record's points of one span of time. An append in time order adds to the end; what comes late rewrites its
//! own block and no other.
//!
//! A block is a list of packed chunks and a tail of raw points that is packed once it is long enough. Chunks and tail
//! are in time order, do not overlap, and hold each time once: so a summary is exact, and a reader unpacks only the
//! chunks that a window cuts through.

use outcrop_udf::Error;
use serde::{Deserialize, Serialize};

use crate::chunk::{CHUNK_POINTS_MAX, Chunk, pack};
use crate::point::{Point, Summary};

/// Raw points that a block keeps before it packs them.
pub const TAIL_POINTS_MAX: usize = 256;
/// Chunks shorter than the longest that a block may have at its end before it packs those anew.
const SHORT_CHUNKS_MAX: usize = 16;
/// Points of a block, at most; beyond it, a shorter span is called for. Noise, which doesn't compress, has to fit a record.
pub const BLOCK_POINTS_MAX: u64 = 1 << 17;
/// Code of a point whose time is there already, under [`Duplicates::Refuse`].
pub const DUPLICATE: &str = "duplicate-time";
/// Code of a block that has all the points that it takes.
pub const BLOCK_FULL: &str = "block-full";

/// What becomes of a point whose time is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// The later write counts.
    #[default]
    Last,
    /// The earlier write stays.
    First,
    /// The whole append is refused.
    Refuse,
    /// Both values are added up, as of counters that arrive in parts.
    Sum,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Appended {
    /// Points that are new.
    pub added: u64,
    /// Points whose time was there already.
    pub duplicates: u64,
    /// Whether some came before the block's latest, so that the block was written anew.
    pub late: bool,
}

/// A block's content, as its record's two bins hold it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// Packed chunks, each with a little-endian `u32` length in front.
    pub chunks: Vec<u8>,
    /// Raw points, 16 bytes each: time, value.
    pub tail: Vec<u8>,
}

/// The chunks of `bytes`.
pub fn chunks(bytes: &[u8]) -> impl Iterator<Item = Result<Chunk<'_>, Error>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = rest
            .split_first_chunk::<4>()
            .and_then(|(len, behind)| behind.split_at_checked(u32::from_le_bytes(*len) as usize));
        let Some((chunk, behind)) = taken else {
            rest = &[];
            return Some(Err(Error::new(Error::MALFORMED, "a block's list of chunks is cut off")));
        };
        rest = behind;
        Some(Chunk::parse(chunk))
    })
}

/// The raw points of `bytes`.
pub fn tail_points(bytes: &[u8]) -> Result<Vec<Point>, Error> {
    let (whole, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(Error::new(Error::MALFORMED, "a block's tail is cut off"));
    }
    let half = |bytes: &[u8; 16], at: usize| -> [u8; 8] { std::array::from_fn(|byte| bytes[at + byte]) };
    let point = |bytes| Point { at_ms: i64::from_le_bytes(half(bytes, 0)), value: f64::from_le_bytes(half(bytes, 8)) };
    Ok(whole.iter().map(point).collect())
}

/// Points as raw bytes.
pub fn tail_of(points: &[Point]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(points.len() * 16);
    for point in points {
        bytes.extend_from_slice(&point.at_ms.to_le_bytes());
        bytes.extend_from_slice(&point.value.to_le_bytes());
    }
    bytes
}

impl Block {
    /// What all its points come to.
    pub fn summary(&self) -> Result<Option<Summary>, Error> {
        let mut whole: Option<Summary> = None;
        let mut take = |part: Summary| match &mut whole {
            Some(whole) => whole.merge(&part),
            None => whole = Some(part),
        };
        for chunk in chunks(&self.chunks) {
            take(chunk?.summary);
        }
        if let Some(tail) = Summary::of(&tail_points(&self.tail)?) {
            take(tail);
        }
        Ok(whole)
    }

    /// All its points.
    #[cfg(test)]
    pub fn points(&self) -> Result<Vec<Point>, Error> {
        let mut points = Vec::new();
        for chunk in chunks(&self.chunks) {
            chunk?.unpack(&mut points)?;
        }
        points.extend(tail_points(&self.tail)?);
        Ok(points)
    }

    /// Adds points in any order.
    pub fn append(&mut self, mut new: Vec<Point>, policy: Duplicates) -> Result<Appended, Error> {
        // Stable, so that of two points of one time the later in the call stays the later.
        new.sort_by_key(|point| point.at_ms);
        let mut done = Appended::default();
        let before = new.len();
        let new = settle(new, policy)?;
        done.duplicates = (before - new.len()) as u64;
        let Some(first) = new.first() else { return Ok(done) };
        let summary = self.summary()?;
        let held = summary.map_or(0, |summary| summary.count);
        if held + new.len() as u64 > BLOCK_POINTS_MAX {
            let message = format!("a block takes {BLOCK_POINTS_MAX} points and has {held}: use a shorter span");
            return Err(Error::new(BLOCK_FULL, message));
        }
        if summary.is_none_or(|summary| summary.last.at_ms < first.at_ms) {
            done.added = new.len() as u64;
            self.extend(&new)?;
            return Ok(done);
        }
        done.late = true;
        let news = new.len();
        done.added = self.insert(new, policy)? as u64;
        done.duplicates += news as u64 - done.added;
        Ok(done)
    }

    /// Takes points in that don't all lie behind the latest; how many are new. Only the chunks that they fall into are
    /// written anew.
    fn insert(&mut self, new: Vec<Point>, policy: Duplicates) -> Result<usize, Error> {
        let mut merged = Block::default();
        let (mut left, mut at, mut added) = (&new[..], 0, 0);
        for chunk in chunks(&self.chunks) {
            let chunk = chunk?;
            let bytes = &self.chunks[at..at + 4 + chunk.byte_len()];
            at += bytes.len();
            // What lies in front of a chunk goes into it.
            let (mine, later) = left.split_at(left.partition_point(|p| p.at_ms <= chunk.summary.last.at_ms));
            left = later;
            if mine.is_empty() {
                merged.chunks.extend_from_slice(bytes);
                continue;
            }
            let mut points = Vec::with_capacity(chunk.summary.count as usize + mine.len());
            chunk.unpack(&mut points)?;
            let before = points.len();
            let points = merge(points, mine, policy)?;
            added += points.len() - before;
            merged.pack(&points, points.len().div_ceil(points.len().div_ceil(CHUNK_POINTS_MAX)))?;
        }
        let tail = tail_points(&self.tail)?;
        let before = tail.len();
        let tail = merge(tail, left, policy)?;
        added += tail.len() - before;
        merged.extend(&tail)?;
        *self = merged;
        Ok(added)
    }

    /// Adds points that are later than all that are there.
    fn extend(&mut self, new: &[Point]) -> Result<(), Error> {
        if self.tail.len() / 16 + new.len() <= TAIL_POINTS_MAX {
            self.tail.extend(tail_of(new));
            return Ok(());
        }
        let mut loose = tail_points(&self.tail)?;
        self.tail.clear();
        loose.extend_from_slice(new);
        self.pack(&loose, CHUNK_POINTS_MAX)?;
        let (start, short) = self.short_run()?;
        if short > SHORT_CHUNKS_MAX {
            let mut run = Vec::new();
            for chunk in chunks(&self.chunks[start..]) {
                chunk?.unpack(&mut run)?;
            }
            self.chunks.truncate(start);
            self.pack(&run, CHUNK_POINTS_MAX)?;
        }
        Ok(())
    }

    /// Where the short chunks at the end begin, and how many they are: all that packing anew has to touch.
    fn short_run(&self) -> Result<(usize, usize), Error> {
        let (mut at, mut start, mut short) = (0, 0, 0);
        for chunk in chunks(&self.chunks) {
            let chunk = chunk?;
            at += 4 + chunk.byte_len();
            if chunk.summary.count as usize == CHUNK_POINTS_MAX {
                (start, short) = (at, 0);
            } else {
                short += 1;
            }
        }
        Ok((start, short))
    }

    fn pack(&mut self, points: &[Point], chunk_points: usize) -> Result<(), Error> {
        for run in points.chunks(chunk_points) {
            let start = self.chunks.len();
            self.chunks.extend_from_slice(&[0; 4]);
            pack(run, &mut self.chunks)?;
            let len = (self.chunks.len() - start - 4) as u32;
            self.chunks[start..start + 4].copy_from_slice(&len.to_le_bytes());
        }
        Ok(())
    }
}

/// Points that are there with new ones, both in time order and each time once.
fn merge(mut points: Vec<Point>, new: &[Point], policy: Duplicates) -> Result<Vec<Point>, Error> {
    if new.is_empty() {
        return Ok(points);
    }
    points.extend_from_slice(new);
    // Stable, so that what was there comes first.
    points.sort_by_key(|point| point.at_ms);
    settle(points, policy)
}

/// Of points in time order, one for each time.
fn settle(points: Vec<Point>, policy: Duplicates) -> Result<Vec<Point>, Error> {
    let mut settled: Vec<Point> = Vec::with_capacity(points.len());
    for point in points {
        match settled.last_mut().filter(|last| last.at_ms == point.at_ms) {
            None => settled.push(point),
            Some(last) => match policy {
                Duplicates::Last => last.value = point.value,
                Duplicates::First => {}
                Duplicates::Sum => last.value += point.value,
                Duplicates::Refuse => {
                    let message = format!("there is a point at {} ms already; nothing was appended", point.at_ms);
                    return Err(Error::new(DUPLICATE, message));
                }
            },
        }
    }
    Ok(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ms: i64, value: f64) -> Point {
        Point { at_ms, value }
    }

    #[test]
    fn points_in_order_never_unpack_what_is_there() {
        let mut block = Block::default();
        for start in 0..30 {
            let run = (0..4_096).map(|n| at(start * 4_096 + n, f64::from(n as i32))).collect();
            let done = block.append(run, Duplicates::Refuse).expect("appended");
            assert_eq!((done.added, done.late), (4_096, false));
        }
        assert_eq!(chunks(&block.chunks).count(), 30);
        assert_eq!(block.summary().expect("readable").map(|summary| summary.count), Some(30 * 4_096));
    }

    #[test]
    fn single_points_gather_in_long_chunks() {
        let mut block = Block::default();
        for n in 0..20_000 {
            block.append(vec![at(n, 1.0)], Duplicates::Refuse).expect("appended");
        }
        let lengths: Vec<u64> = chunks(&block.chunks).map(|chunk| chunk.expect("a chunk").summary.count).collect();
        assert!(lengths.len() < 24, "{lengths:?}");
        assert_eq!(block.points().expect("points").len(), 20_000);
    }

    #[test]
    fn any_order_gives_the_same_points() {
        let all: Vec<Point> = (0..3_000).map(|n| at(n * 10, f64::from(n as i32 % 7))).collect();
        for step in [1, 7, 1_213] {
            let mut block = Block::default();
            let mut order: Vec<Point> = Vec::new();
            for offset in 0..step {
                order.extend(all.iter().skip(offset).step_by(step));
            }
            for run in order.chunks(97) {
                block.append(run.to_vec(), Duplicates::Refuse).expect("appended");
            }
            assert_eq!(block.points().expect("points"), all, "every {step}th");
            assert_eq!(
                block.summary().expect("readable").map(|s| (s.count, s.sum)),
                Summary::of(&all).map(|s| (s.count, s.sum))
            );
        }
    }

    #[test]
    fn a_time_is_there_once() {
        let kept = |policy| {
            let mut block = Block::default();
            block.append(vec![at(1, 1.0), at(2, 2.0)], policy).expect("appended");
            let again = block.append(vec![at(2, 20.0), at(3, 3.0), at(3, 30.0)], policy);
            (again.map_err(|error| error.code().to_owned()), block.points().expect("points"))
        };
        let done = Ok(Appended { added: 1, duplicates: 2, late: true });
        assert_eq!(kept(Duplicates::Last), (done.clone(), vec![at(1, 1.0), at(2, 20.0), at(3, 30.0)]));
        assert_eq!(kept(Duplicates::First), (done.clone(), vec![at(1, 1.0), at(2, 2.0), at(3, 3.0)]));
        assert_eq!(kept(Duplicates::Sum), (done, vec![at(1, 1.0), at(2, 22.0), at(3, 33.0)]));
        assert_eq!(kept(Duplicates::Refuse), (Err(DUPLICATE.to_owned()), vec![at(1, 1.0), at(2, 2.0)]));
    }

    #[test]
    fn a_block_has_an_end() {
        let mut block = Block::default();
        let run: Vec<Point> = (0..=BLOCK_POINTS_MAX as i64).map(|n| at(n, 0.0)).collect();
        assert_eq!(block.append(run, Duplicates::Last).expect_err("too many").code(), BLOCK_FULL);
        assert_eq!(block, Block::default());
    }
}
