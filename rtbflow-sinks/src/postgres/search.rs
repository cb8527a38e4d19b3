//! The search for the records that a place refuses, among many that it refuses as a whole.
//!
//! Records are tried from the left to the right, and what is taken stays taken: of two that cannot both be
//! taken the first is. A range that is refused is halved until one record is left. Where records that are
//! refused lie close together, the next range is about as wide as the last gap.

use std::ops::Range;

use rtbflow::BadRecord;

/// A search among this many records, by their numbers.
#[derive(Debug)]
pub(crate) struct Search {
    /// All before this one are decided.
    next: usize,
    end: usize,
    /// A range from `next` to here is refused as a whole.
    refused_to: Option<usize>,
    /// How many to try where nothing is known.
    width: usize,
    refused: Vec<(usize, BadRecord)>,
}

impl Search {
    /// A search among these, which are refused as a whole.
    pub(crate) fn among(count: usize) -> Self {
        let refused_to = (count > 0).then_some(count);
        Self { next: 0, end: count, refused_to, width: count, refused: Vec::new() }
    }

    /// What to try next; none at the end.
    pub(crate) fn range(&self) -> Option<Range<usize>> {
        let width = match self.refused_to {
            Some(end) => (end - self.next) / 2,
            None => self.width.min(self.end - self.next),
        };
        (self.next < self.end).then(|| self.next..self.next + width.max(1))
    }

    /// The range was taken.
    pub(crate) fn taken(&mut self, range: &Range<usize>) {
        self.next = range.end;
        match self.refused_to {
            // The last of a range that was refused, taken by itself: things have changed meanwhile.
            Some(end) if end <= self.next => self.refused_to = None,
            // The rest of a range that was refused has what is refused in it.
            Some(_) => {}
            None => self.width = self.width.saturating_mul(2),
        }
    }

    /// The range was refused.
    pub(crate) fn refuse(&mut self, range: &Range<usize>, reason: BadRecord) {
        // Halved by the next call of `range`.
        if range.len() > 1 {
            self.refused_to = Some(range.end);
            return;
        }
        self.width = match self.refused.last() {
            Some((last, _)) => (2 * (range.start - last)).saturating_sub(1),
            None => self.end,
        };
        self.refused.push((range.start, reason));
        self.next = range.end;
        self.refused_to = None;
    }

    /// Those that were taken so far.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = usize> {
        let mut refused = self.refused.iter().map(|(at, _)| *at).peekable();
        (0..self.next).filter(move |at| refused.next_if_eq(at).is_none())
    }

    /// Those that were refused so far, each with the reason.
    pub(crate) fn refused(&self) -> &[(usize, BadRecord)] {
        &self.refused
    }

    /// Whether all are decided.
    pub(crate) fn is_over(&self) -> bool {
        self.next >= self.end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Searches; returns what was refused and how many ranges were tried.
    fn search(
        count: usize,
        takes: impl Fn(&[usize], &Range<usize>) -> bool,
    ) -> (Vec<usize>, usize) {
        let mut search = Search::among(count);
        let mut tries = 0;
        while let Some(range) = search.range() {
            tries += 1;
            let accepted: Vec<usize> = search.accepted().collect();
            match takes(&accepted, &range) {
                true => search.taken(&range),
                false => search.refuse(&range, BadRecord::new("no")),
            }
        }
        assert!(search.is_over());
        (search.refused().iter().map(|(at, _)| *at).collect(), tries)
    }

    fn among(count: usize, bad: &[usize]) -> (Vec<usize>, usize) {
        search(count, |_, range| !bad.iter().any(|at| range.contains(at)))
    }

    #[test]
    fn one_among_many_is_found_by_halves() {
        for at in [0, 1, 4_095, 8_190, 8_191] {
            let (found, tries) = among(8_192, &[at]);
            assert_eq!(found, [at]);
            assert!(tries <= 15, "{at}: {tries}");
        }
        assert_eq!(among(1, &[0]), (vec![0], 1));
        assert_eq!(among(0, &[]), (vec![], 0));
    }

    #[test]
    fn those_that_lie_close_together_cost_a_few_tries_each() {
        let all: Vec<usize> = (0..1_000).collect();
        let (found, tries) = among(1_000, &all);
        assert_eq!(found, all);
        assert!(tries < 1_040, "{tries}");
        let every_tenth: Vec<usize> = (0..10_000).step_by(10).collect();
        let (found, tries) = among(10_000, &every_tenth);
        assert_eq!(found, every_tenth);
        assert!(tries < 7 * 1_000, "{tries}");
    }

    #[test]
    fn what_is_taken_after_all_is_not_refused() {
        let (found, _) = search(64, |_, range| range.len() < 64);
        assert!(found.is_empty());
    }

    proptest! {
        #[test]
        fn all_that_are_bad_are_found_and_no_others(bad in prop::collection::btree_set(0_usize..300, 0..40)) {
            let bad: Vec<usize> = bad.into_iter().collect();
            prop_assert_eq!(among(300, &bad).0, bad);
        }

        #[test]
        fn of_those_that_do_not_fit_together_the_first_are_taken(sizes in prop::collection::vec(0_u32..40, 1..80)) {
            const CAPACITY: u32 = 100;
            let sum = |of: &mut dyn Iterator<Item = usize>| of.map(|at| sizes[at]).sum::<u32>();
            let (found, _) = search(sizes.len(), |accepted, range| {
                sum(&mut accepted.iter().copied()) + sum(&mut range.clone()) <= CAPACITY
            });
            let mut left = CAPACITY;
            let expected: Vec<usize> = (0..sizes.len())
                .filter(|at| match left.checked_sub(sizes[*at]) {
                    Some(less) => { left = less; false }
                    None => true,
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
