//! Which slots of a table are taken: a bit each, to find the nearest gap without reading the slots.

/// One bit a slot, set while it is taken.
#[derive(Default)]
pub(super) struct Gaps {
    words: Box<[u64]>,
}

impl Gaps {
    /// Makes room for so many slots, and up to twice as many; new ones are gaps, dropped ones must be.
    pub(super) fn resize(&mut self, slots: usize) {
        let words = slots.next_power_of_two().div_ceil(64) * usize::from(slots > 0);
        if words != self.words.len() {
            let mut list = std::mem::take(&mut self.words).into_vec();
            list.reserve_exact(words.saturating_sub(list.len()));
            list.resize(words, 0);
            self.words = list.into_boxed_slice();
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    #[inline]
    pub(super) fn take(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
    }

    #[inline]
    pub(super) fn free(&mut self, place: usize) {
        self.words[place / 64] &= !(1 << (place % 64));
    }

    /// The first gap at or after `place`; may lie beyond the last slot.
    pub(super) fn at_or_after(&self, place: usize) -> Option<usize> {
        let mut word = place / 64;
        let mut gaps = !*self.words.get(word)? & (u64::MAX << (place % 64));
        while gaps == 0 {
            word += 1;
            gaps = !*self.words.get(word)?;
        }
        Some(word * 64 + gaps.trailing_zeros() as usize)
    }

    /// The last gap before `place`.
    pub(super) fn before(&self, place: usize) -> Option<usize> {
        let last = place.checked_sub(1)?;
        let mut word = last / 64;
        let mut gaps = !*self.words.get(word)? & (u64::MAX >> (63 - last % 64));
        while gaps == 0 {
            word = word.checked_sub(1)?;
            gaps = !self.words[word];
        }
        Some(word * 64 + 63 - gaps.leading_zeros() as usize)
    }

    #[cfg(test)]
    pub(super) fn is_taken(&self, place: usize) -> bool {
        self.words[place / 64] >> (place % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_gap_across_words() {
        let mut gaps = Gaps::default();
        assert_eq!((gaps.at_or_after(0), gaps.before(0)), (None, None));
        gaps.resize(256);
        (0..256).for_each(|place| gaps.take(place));
        assert_eq!((gaps.at_or_after(0), gaps.before(256)), (None, None));
        for gap in [0, 63, 64, 127, 200, 255] {
            gaps.free(gap);
            for place in 0..256 {
                assert_eq!(gaps.at_or_after(place), (place <= gap).then_some(gap), "from {place}");
                assert_eq!(gaps.before(place), (place > gap).then_some(gap), "before {place}");
            }
            gaps.take(gap);
        }
    }
}
