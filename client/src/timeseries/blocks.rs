//! Which blocks a series has, as runs of numbers: a series of a second's blocks over years has hundreds of millions.

use std::collections::VecDeque;

use super::types::Series;

/// Numbers of blocks that there may be, in order; taken from either end, never all made at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    runs: VecDeque<(i64, i64)>,
}

impl Blocks {
    /// All blocks of a series.
    pub(super) fn all(series: &Series) -> Self {
        Blocks { runs: series.blocks.iter().copied().filter(|(first, last)| first <= last).collect() }
    }

    /// Those of a stretch of time, its end excluded.
    pub(super) fn between(series: &Series, from_ms: i64, to_ms: i64) -> Self {
        if series.span_ms <= 0 || from_ms >= to_ms {
            return Blocks::default();
        }
        let (first, last) = (from_ms.div_euclid(series.span_ms), (to_ms - 1).div_euclid(series.span_ms));
        let cut = series.blocks.iter().map(|run| (run.0.max(first), run.1.min(last)));
        Blocks { runs: cut.filter(|(first, last)| first <= last).collect() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        let of_run = |run: &(i64, i64)| run.1.abs_diff(run.0).saturating_add(1);
        self.runs.iter().map(of_run).fold(0, u64::saturating_add)
    }

    /// Takes the first ones.
    pub(super) fn take_first(&mut self, count: usize) -> Vec<i64> {
        let mut taken = Vec::new();
        while let Some((first, last)) = self.runs.pop_front() {
            let left = count - taken.len();
            let end = first.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)).saturating_sub(1);
            if left > 0 {
                taken.extend(first..=last.min(end));
            }
            if left == 0 || end < last {
                self.runs.push_front((if left == 0 { first } else { end + 1 }, last));
                break;
            }
        }
        taken
    }

    /// Takes the last ones; they come in order.
    pub(super) fn take_last(&mut self, count: usize) -> Vec<i64> {
        let mut taken = Vec::new();
        while let Some((first, last)) = self.runs.pop_back() {
            let left = count - taken.len();
            let begin = last.saturating_sub(i64::try_from(left).unwrap_or(i64::MAX)).saturating_add(1);
            if left > 0 {
                taken.extend((first.max(begin)..=last).rev());
            }
            if left == 0 || begin > first {
                self.runs.push_back((first, if left == 0 { last } else { begin - 1 }));
                break;
            }
        }
        taken.reverse();
        taken
    }
}

/// Whether a block is among those of a series.
pub(super) fn has_block(series: &Series, number: i64) -> bool {
    let behind = series.blocks.partition_point(|run| run.0 <= number);
    behind > 0 && series.blocks[behind - 1].1 >= number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(blocks: &[(i64, i64)]) -> Series {
        Series { span_ms: 10, blocks: blocks.to_vec(), ..Series::default() }
    }

    #[test]
    fn only_blocks_of_the_time_are_taken() {
        let series = series(&[(-3, -1), (4, 6), (100, 100)]);
        let between = |from_ms, to_ms| Blocks::between(&series, from_ms, to_ms).take_first(100);
        assert_eq!(between(i64::MIN, i64::MAX), [-3, -2, -1, 4, 5, 6, 100]);
        assert_eq!(between(-10, 50), [-1, 4]);
        assert_eq!(between(-10, 51), [-1, 4, 5]);
        assert_eq!(between(70, 1_000), Vec::<i64>::new());
        assert_eq!(between(50, 50), Vec::<i64>::new());
    }

    #[test]
    fn any_number_is_taken_from_either_end() {
        let series = series(&[(-3, -1), (4, 6), (100, 100)]);
        for size in 1..9 {
            let (mut first, mut last) = (Blocks::all(&series), Blocks::all(&series));
            let (mut forth, mut back) = (Vec::new(), Vec::new());
            loop {
                let (some, more) = (first.take_first(size), last.take_last(size));
                assert_eq!(some.len(), more.len());
                assert!(some.len() == size || first.count() == 0);
                if some.is_empty() {
                    break;
                }
                forth.extend(some);
                back.splice(0..0, more);
            }
            assert_eq!(forth, [-3, -2, -1, 4, 5, 6, 100], "{size} at a time");
            assert_eq!(back, forth);
        }
        let mut endless = Blocks::all(&Series { blocks: vec![(i64::MIN, i64::MAX)], ..Series::default() });
        assert_eq!(endless.count(), u64::MAX);
        assert_eq!(endless.take_first(2), [i64::MIN, i64::MIN + 1]);
        assert_eq!(endless.take_last(2), [i64::MAX - 1, i64::MAX]);
    }

    #[test]
    fn blocks_are_found_in_their_runs() {
        let known = series(&[(-3, -3), (0, 4), (9, 9)]);
        let found: Vec<i64> = (-5..12).filter(|number| has_block(&known, *number)).collect();
        assert_eq!(found, [-3, 0, 1, 2, 3, 4, 9]);
        assert!(!has_block(&series(&[]), 0));
    }
}
