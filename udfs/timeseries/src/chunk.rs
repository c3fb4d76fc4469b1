//! Chunks: up to 4,096 points in time order, compressed column by column, with a summary in front that answers most
//! questions without unpacking.
//!
//! ```text
//!  0  u8   format (1)        16  i64  last time, ms       48  f64  greatest value
//!  1  u8   flags             24  f64  first value         56  f64  sum of the values
//!  2  u16  zero              32  f64  last value          64  f64  sum of squares about the mean
//!  4  u32  points            40  f64  least value         72  u32  bytes of the times; the times, then the values
//!  8  i64  first time, ms
//! ```
//!
//! Flag bit 0: the times are raw 8-byte integers; bit 1: the values are raw 8-byte floats. A column is raw where
//! compression would make it longer, so that noise never costs more than it is.

use outcrop_udf::Error;
use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use crate::point::{Point, Summary};

/// Points of a chunk, at most.
pub const CHUNK_POINTS_MAX: usize = 4_096;
const FORMAT: u8 = 1;
const RAW_TIMES: u8 = 1;
const RAW_VALUES: u8 = 2;
const HEADER_BYTES: usize = 76;
/// Beyond this level the compressor takes longer and gains next to nothing on series.
const LEVEL: usize = 6;

/// Packs points that are in time order, each time once; 1 to [`CHUNK_POINTS_MAX`] of them.
pub fn pack(points: &[Point], out: &mut Vec<u8>) -> Result<(), Error> {
    let Some(summary) = Summary::of(points) else { return Ok(()) };
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    let times: Vec<i64> = points.iter().map(|point| point.at_ms).collect();
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let mut packed_times = simple_compress(&times, &config).map_err(Error::of)?;
    let mut packed_values = simple_compress(&values, &config).map_err(Error::of)?;
    let mut flags = 0;
    if packed_times.len() >= points.len() * 8 {
        flags |= RAW_TIMES;
        packed_times = times.iter().flat_map(|time| time.to_le_bytes()).collect();
    }
    if packed_values.len() >= points.len() * 8 {
        flags |= RAW_VALUES;
        packed_values = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    }
    out.extend_from_slice(&[FORMAT, flags, 0, 0]);
    out.extend_from_slice(&(points.len() as u32).to_le_bytes());
    out.extend_from_slice(&summary.first.at_ms.to_le_bytes());
    out.extend_from_slice(&summary.last.at_ms.to_le_bytes());
    for number in [summary.first.value, summary.last.value, summary.min, summary.max, summary.sum, summary.squares] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&(packed_times.len() as u32).to_le_bytes());
    out.extend_from_slice(&packed_times);
    out.extend_from_slice(&packed_values);
    Ok(())
}

/// A packed chunk, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    flags: u8,
    /// What its points come to.
    pub summary: Summary,
    times: &'a [u8],
    values: &'a [u8],
}

fn malformed(what: &str) -> Error {
    Error::new(Error::MALFORMED, format!("a block's chunk can't be read: {what}"))
}

impl<'a> Chunk<'a> {
    /// Takes a chunk's header apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or_else(|| malformed("it is cut off"))?;
        let eight = |at: usize| -> [u8; 8] { std::array::from_fn(|byte| head[at + byte]) };
        let four = |at: usize| -> [u8; 4] { std::array::from_fn(|byte| head[at + byte]) };
        let (int, float) = (|at| i64::from_le_bytes(eight(at)), |at| f64::from_le_bytes(eight(at)));
        if head[0] != FORMAT {
            return Err(malformed(&format!("format {}", head[0])));
        }
        let count = u32::from_le_bytes(four(4));
        if count == 0 || count as usize > CHUNK_POINTS_MAX {
            return Err(malformed(&format!("{count} points")));
        }
        let summary = Summary {
            count: count.into(),
            first: Point { at_ms: int(8), value: float(24) },
            last: Point { at_ms: int(16), value: float(32) },
            min: float(40),
            max: float(48),
            sum: float(56),
            squares: float(64),
        };
        let columns = &bytes[HEADER_BYTES..];
        let (times, values) = columns
            .split_at_checked(u32::from_le_bytes(four(72)) as usize)
            .ok_or_else(|| malformed("its columns are cut off"))?;
        Ok(Chunk { flags: head[1], summary, times, values })
    }

    /// Bytes of the whole chunk.
    pub fn byte_len(&self) -> usize {
        HEADER_BYTES + self.times.len() + self.values.len()
    }

    /// Unpacks all points, behind those that `out` holds.
    pub fn unpack(&self, out: &mut Vec<Point>) -> Result<(), Error> {
        let count = self.summary.count as usize;
        let mut times = vec![0_i64; count];
        let mut values = vec![0_f64; count];
        if self.flags & RAW_TIMES != 0 {
            read_raw(self.times, &mut times, i64::from_le_bytes)?;
        } else {
            unpack_column(self.times, &mut times)?;
        }
        self.unpack_values(&mut values)?;
        out.extend(times.iter().zip(&values).map(|(at_ms, value)| Point { at_ms: *at_ms, value: *value }));
        Ok(())
    }

    /// Unpacks the values alone, in time order, into `values`, which has to be as long as there are points.
    pub fn unpack_values(&self, values: &mut [f64]) -> Result<(), Error> {
        match self.flags & RAW_VALUES != 0 {
            true => read_raw(self.values, values, f64::from_le_bytes),
            false => unpack_column(self.values, values),
        }
    }
}

fn unpack_column<T: pco::data_types::Number>(packed: &[u8], into: &mut [T]) -> Result<(), Error> {
    let progress = simple_decompress_into(packed, into).map_err(|error| malformed(&error.to_string()))?;
    match progress.finished && progress.n_processed == into.len() {
        true => Ok(()),
        false => Err(malformed("a column has another number of points")),
    }
}

fn read_raw<T>(bytes: &[u8], into: &mut [T], read: impl Fn([u8; 8]) -> T) -> Result<(), Error> {
    let (whole, rest) = bytes.as_chunks::<8>();
    if whole.len() != into.len() || !rest.is_empty() {
        return Err(malformed("a raw column has another length"));
    }
    for (place, bytes) in into.iter_mut().zip(whole) {
        *place = read(*bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(at, value)| Point { at_ms: at as i64 * 60_000, value }).collect()
    }

    fn packed(points: &[Point]) -> Vec<u8> {
        let mut out = Vec::new();
        pack(points, &mut out).expect("packed");
        out
    }

    #[test]
    fn points_come_out_as_they_went_in() {
        let series = points((0..4_096).map(|n| f64::from(n % 97) * 0.5));
        let bytes = packed(&series);
        assert!(bytes.len() < series.len() * 2, "{} bytes", bytes.len());
        let chunk = Chunk::parse(&bytes).expect("a chunk");
        let mut again = Vec::new();
        chunk.unpack(&mut again).expect("points");
        assert_eq!(again, series);
        assert_eq!(Some(chunk.summary), Summary::of(&series));
        let odd = points([f64::NAN, -0.0, f64::INFINITY, f64::MIN_POSITIVE]);
        let mut again = Vec::new();
        Chunk::parse(&packed(&odd)).expect("a chunk").unpack(&mut again).expect("points");
        assert!(again.iter().zip(&odd).all(|(a, b)| a.value.to_bits() == b.value.to_bits()));
    }

    #[test]
    fn noise_costs_no_more_than_it_is() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        let mut noise: Vec<Point> =
            (0..4_096).map(|_| Point { at_ms: (random() >> 1) as i64, value: f64::from_bits(random()) }).collect();
        noise.sort_by_key(|point| point.at_ms);
        noise.dedup_by_key(|point| point.at_ms);
        let bytes = packed(&noise);
        assert!(bytes.len() <= noise.len() * 16 + HEADER_BYTES, "{} bytes", bytes.len());
        let mut again = Vec::new();
        Chunk::parse(&bytes).expect("a chunk").unpack(&mut again).expect("points");
        assert!(again.iter().zip(&noise).all(|(a, b)| a.at_ms == b.at_ms && a.value.to_bits() == b.value.to_bits()));
    }

    #[test]
    fn damaged_chunks_are_refused() {
        let bytes = packed(&points((0..100).map(f64::from)));
        for cut in 0..bytes.len() {
            let read = Chunk::parse(&bytes[..cut]).and_then(|chunk| chunk.unpack(&mut Vec::new()));
            assert!(read.is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x55;
            // Whatever it gives, it gives it without a panic.
            let _ = Chunk::parse(&wrong).map(|chunk| chunk.unpack(&mut Vec::new()));
        }
    }
}
