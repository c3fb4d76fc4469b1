//! How long a new series' blocks are, and which points fall into which block.

use std::collections::BTreeMap;

use super::types::Point;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The spans that are chosen from.
const SPANS_MS: [i64; 17] = [
    SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    7 * DAY,
    90 * DAY,
    365 * DAY,
    3_650 * DAY,
];
/// Of a series of which only one time is known.
const SPAN_DEFAULT_MS: i64 = DAY;
/// Points that a block should have at most: several full chunks, so that it compresses well and a query has few records
/// to read, and yet little enough to be written anew with each append.
const POINTS_WANTED: i64 = 32_768;

/// The longest span in which points at the usual distance of these don't come to more than [`POINTS_WANTED`].
pub(super) fn span_for(points: &[Point]) -> i64 {
    let mut times: Vec<i64> = points.iter().map(|point| point.at_ms).collect();
    times.sort_unstable();
    times.dedup();
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    if gaps.is_empty() {
        return SPAN_DEFAULT_MS;
    }
    let middle = gaps.len() / 2;
    let (_, usual, _) = gaps.select_nth_unstable(middle);
    let longest = usual.saturating_mul(POINTS_WANTED);
    SPANS_MS.into_iter().rev().find(|span| *span <= longest).unwrap_or(SPANS_MS[0])
}

/// Points by the number of their block, in the order in which they came.
pub(super) fn by_block(points: &[Point], span_ms: i64) -> BTreeMap<i64, Vec<Point>> {
    let mut blocks: BTreeMap<i64, Vec<Point>> = BTreeMap::new();
    // Most of the time the next point falls into the block of the one before.
    let mut rest = points;
    while let Some(first) = rest.first() {
        let number = first.at_ms.div_euclid(span_ms);
        let len = rest.iter().take_while(|point| point.at_ms.div_euclid(span_ms) == number).count();
        let (run, behind) = rest.split_at(len);
        blocks.entry(number).or_default().extend_from_slice(run);
        rest = behind;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(gap_ms: i64, points: i64) -> Vec<Point> {
        (0..points).map(|n| Point::new(n * gap_ms, 0.0)).collect()
    }

    #[test]
    fn a_span_holds_thousands_of_points() {
        for (gap_ms, span_ms) in [(1, 30 * SECOND), (SECOND, 6 * HOUR), (MINUTE, 7 * DAY), (30 * MINUTE, 365 * DAY)] {
            assert_eq!(span_for(&every(gap_ms, 100)), span_ms, "a point each {gap_ms} ms");
            assert!((4_000..=POINTS_WANTED).contains(&(span_ms / gap_ms)));
        }
        assert_eq!(span_for(&every(DAY, 2)), 3_650 * DAY);
        assert_eq!(span_for(&every(0, 5)), DAY, "one time says nothing");
        assert_eq!(span_for(&[Point::new(i64::MIN, 0.0), Point::new(i64::MAX, 0.0)]), 3_650 * DAY);
        let mut gappy = every(SECOND, 100);
        gappy.push(Point::new(i64::MAX, 0.0));
        gappy.reverse();
        assert_eq!(span_for(&gappy), 6 * HOUR, "the usual distance counts, in any order");
    }

    #[test]
    fn points_fall_into_their_blocks() {
        let points = [5, -1, 9, 10, -11, 3].map(|at| Point::new(at, at as f64));
        let blocks = by_block(&points, 10);
        let times: Vec<(i64, Vec<i64>)> =
            blocks.iter().map(|(number, run)| (*number, run.iter().map(|point| point.at_ms).collect())).collect();
        assert_eq!(times, [(-2, vec![-11]), (-1, vec![-1]), (0, vec![5, 9, 3]), (1, vec![10])]);
    }
}
