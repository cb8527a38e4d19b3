//! Notices a partition that has records but delivers none.

/// Watches one partition. Time is counted in answers about the partition's end, so that a broker that
/// is away, and answers nothing, is never taken for a partition that stands still.
#[derive(Debug)]
pub(crate) struct Watchdog {
    patience: u32,
    at: i64,
    stalled: u32,
}

/// What to do about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// All is well.
    Nothing,
    /// Forward its native queue again, which costs nothing and cures a lost forwarding.
    Forward,
    /// Assign it again.
    Assign,
    /// Give the consumer up and make a new one.
    Reopen,
}

impl Watchdog {
    /// A watchdog that forwards again after a quarter of this many answers without progress, assigns again
    /// after all of them, and gives up after twice as many.
    pub(crate) fn new(patience: u32) -> Self {
        Self { patience: patience.clamp(2, u32::MAX / 4), at: -1, stalled: 0 }
    }

    /// Observes a partition that is read up to `at` and ends at `end`; `has_capacity` says whether its reader
    /// would take more.
    pub(crate) fn observe(&mut self, at: i64, end: i64, has_capacity: bool) -> Advice {
        let fine = at != self.at || at >= end || !has_capacity;
        self.at = at;
        if fine {
            self.stalled = 0;
            return Advice::Nothing;
        }
        self.stalled = self.stalled.saturating_add(1);
        if self.stalled >= 2 * self.patience {
            Advice::Reopen
        } else if self.stalled == self.patience {
            Advice::Assign
        } else if self.stalled > self.patience / 4 {
            Advice::Forward
        } else {
            Advice::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_is_cured_step_by_step() {
        let mut dog = Watchdog::new(4);
        let advice: Vec<Advice> = (0..9).map(|_| dog.observe(5, 9, true)).collect();
        let (n, f, a) = (Advice::Nothing, Advice::Forward, Advice::Assign);
        assert_eq!(advice, [n, n, f, f, a, f, f, f, Advice::Reopen]);
    }

    #[test]
    fn progress_a_full_reader_and_the_end_are_all_well() {
        let mut dog = Watchdog::new(2);
        for (at, end, has_capacity) in
            [(5, 9, true), (6, 9, true), (6, 9, false), (9, 9, true), (9, 9, true)]
        {
            assert_eq!(dog.observe(at, end, has_capacity), Advice::Nothing);
        }
    }
}
