//! When windows emit early.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::operators::stateful::Outbox;
use crate::time::Timestamp;

/// What is emitted of windows that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// Nothing.
    Never,
    /// What changed, at this interval of the wall clock.
    Every(Duration),
    /// A key's result in a window, after this many records.
    Records(u32),
}

impl Early {
    /// Whether it can be done.
    pub(crate) fn check(self) -> Result<()> {
        let (every, after) = (self == Self::Every(Duration::ZERO), self == Self::Records(0));
        let wrong = || {
            "it emits early all the time; give `early` a longer time, or leave it out".to_owned()
        };
        let apart = Error::unless(!every, wrong);
        let some = Error::unless(!after, || {
            "it emits early after 0 records; give `early_after` 1 or more, or leave it out"
                .to_owned()
        });
        Error::all([apart, some])
    }
}

/// Says when results are emitted early. Whoever has it counts, for each state, the records that were not.
#[derive(Debug)]
pub(crate) struct EarlyResults {
    when: Early,
    /// When that was last, by the wall clock.
    last: Option<Timestamp>,
    /// Whether what was due then was more than one epoch was to take.
    unfinished: bool,
}

impl EarlyResults {
    pub(crate) fn new(when: Early) -> Self {
        Self { when, last: None, unfinished: false }
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn never(&self) -> bool {
        self.when == Early::Never
    }

    /// Whether the wall clock tells.
    #[inline]
    pub(crate) fn by_clock(&self) -> bool {
        matches!(self.when, Early::Every(_))
    }

    /// Counts a record; returns whether a result is due by it.
    #[inline]
    pub(crate) fn count(&self, unseen_count: &mut u32) -> bool {
        if self.never() {
            return false;
        }
        *unseen_count = unseen_count.saturating_add(1);
        matches!(self.when, Early::Records(after) if *unseen_count >= after)
    }

    /// Whether a window that ends emits something: all, or what changed since it was emitted early.
    #[inline]
    pub(crate) fn ends_with(&self, unseen_count: u32) -> bool {
        self.never() || unseen_count > 0
    }

    /// Whether it is time, at a barrier.
    pub(crate) fn is_time(&mut self, wall_clock: Timestamp) -> bool {
        // Otherwise nothing is emitted by the wall clock.
        let Early::Every(every) = self.when else { return false };
        let last = *self.last.get_or_insert(wall_clock);
        let is_time = self.unfinished || wall_clock >= last + every;
        if is_time && !self.unfinished {
            self.last = Some(wall_clock);
        }
        is_time
    }

    /// Says whether all that was due was emitted: what was not is due at the next barrier, which is asked for.
    pub(crate) fn emitted<U>(&mut self, all: bool, wall_clock: Timestamp, out: &mut Outbox<U>) {
        self.unfinished = !all;
        if !all {
            out.wake_at(wall_clock);
        }
    }

    /// After a restart, nobody knows when the wall clock last made results due: everything is emitted once
    /// more.
    pub(crate) fn restored(&self, unseen_count: &mut u32) {
        if self.by_clock() {
            *unseen_count = (*unseen_count).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::at;

    #[test]
    fn by_the_clock_after_records_or_never() {
        let mut every = EarlyResults::new(Early::Every(Duration::from_millis(10)));
        let mut unseen = 0;
        assert_eq!(
            [5, 14, 15, 24, 40].map(|now| every.is_time(at(now))),
            [false, false, true, false, true]
        );
        assert!(
            !every.count(&mut unseen) && unseen == 1 && every.ends_with(1) && !every.ends_with(0)
        );
        let mut records = EarlyResults::new(Early::Records(2));
        unseen = 0;
        assert_eq!([records.count(&mut unseen), records.count(&mut unseen)], [false, true]);
        let mut never = EarlyResults::new(Early::Never);
        unseen = 0;
        assert!(!never.count(&mut unseen) && unseen == 0 && never.ends_with(0));
        assert!(!records.is_time(at(100)) && !never.is_time(at(100)));
        every.restored(&mut unseen);
        assert_eq!(unseen, 1);
    }
}
