//! The slices of times that come a little out of order, found without a division for each.

use crate::operators::window::grid::Grid;

/// The newest slice that a record came for, and how those before it are found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    newest: (i64, i64),
    slide_ms: i64,
    /// Slices a millisecond, in parts of 2^32, rounded up; 0 where not all are equally long.
    per_ms: u64,
}

impl Recent {
    pub(crate) fn new(grid: Grid) -> Self {
        let slide_ms = grid.even_slices_ms().unwrap_or(1);
        let per_ms = grid.even_slices_ms().map_or(0, |ms| (1 << 32) / ms.unsigned_abs() + 1);
        Self { newest: (i64::MIN, i64::MIN), slide_ms, per_ms }
    }

    /// The end of the slice that a time belongs to, and how many slices it lies before the newest; `None` is
    /// no answer.
    #[inline]
    pub(crate) fn find(&self, at: i64) -> Option<(i64, usize)> {
        let (start, end) = self.newest;
        if start <= at && at < end {
            return Some((end, 0));
        }
        if self.per_ms == 0 {
            return None;
        }
        // Within 49 days; at one slice a millisecond the product just fits.
        let before = u32::try_from(start.checked_sub(1)?.checked_sub(at)?).ok()?;
        let behind = u32::try_from((u64::from(before) * self.per_ms) >> 32).ok()?;
        let end = start.checked_sub(i64::from(behind).checked_mul(self.slide_ms)?)?;
        (end.checked_sub(self.slide_ms)? <= at && at < end).then_some((end, behind as usize + 1))
    }

    /// A record came for a slice. A straggler's is no newest one: most of those that come after it are not
    /// with it.
    pub(crate) fn note(&mut self, slice: (i64, i64)) {
        self.newest = self.newest.max(slice);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::operators::window::Sliding;

    #[test]
    fn finds_what_a_division_finds() {
        let ms = Duration::from_millis;
        for (size, slide, offset) in [(10, 1, 0), (60, 3, 1), (3_600_000, 1_000, 7), (7, 7, 2)] {
            let grid = Sliding::of(ms(size)).every(ms(slide)).offset(ms(offset)).grid;
            let mut recent = Recent::new(grid);
            assert_eq!(recent.find(5), None);
            recent.note(grid.slice_of(1_000_000));
            recent.note(grid.slice_of(10));
            let newest = recent.newest.1;
            for at in (newest - 9_000)..newest {
                let end = grid.slice_of(at).1;
                let behind = usize::try_from((newest - end) / recent.slide_ms).unwrap();
                let found = recent.find(at);
                assert!(
                    found == Some((end, behind)) || found.is_none(),
                    "{slide}: {at}, {found:?}"
                );
                assert!(found.is_some() || behind > 1_000, "{slide}: {at} is not far");
            }
            assert_eq!([newest, i64::MAX, i64::MIN].map(|at| recent.find(at)), [None; 3]);
        }
    }

    #[test]
    fn slices_of_two_lengths_have_no_short_way() {
        let grid = Sliding::of(Duration::from_millis(10)).every(Duration::from_millis(4)).grid;
        let mut recent = Recent::new(grid);
        recent.note((100, 102));
        assert_eq!([recent.find(101), recent.find(99)], [Some((102, 0)), None]);
    }
}
