//! What windows put out, and when they do so early.

use std::time::Duration;

use serde::Serialize;

use crate::error::BadRecord;
use crate::operators::Outbox;
use crate::operators::window::{Aggregate, LatePolicy, Window, Windowed, Windows};
use crate::record::Record;
use crate::refused_result::RefusedResult;
use crate::time::Timestamp;

/// What comes out of windows `W` with the aggregate `A`.
pub(crate) type Out<K, T, W, A> =
    <<W as Windows>::Late as LatePolicy>::Out<Windowed<K, <A as Aggregate<T>>::Output>, T>;

/// A result of a window.
#[inline]
pub(crate) fn result<K, T, W, A>(
    key: K,
    window: Window,
    value: A::Output,
) -> Record<Out<K, T, W, A>>
where
    K: Send + 'static,
    T: Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    let last = window.end - Duration::from_millis(1);
    W::Late::result::<_, T>(Record::derived(Windowed { key, window, value }, last))
}

/// What an aggregate makes of a state, if it has a result; else a dead letter has it.
#[inline]
pub(crate) fn output<K, T, A, U>(
    (key, window): (&K, Window),
    (aggregate, state): (&A, &A::State),
    out: &mut Outbox<U>,
) -> Option<A::Output>
where
    K: Serialize,
    A: Aggregate<T>,
{
    match aggregate.check(state) {
        Ok(()) => Some(aggregate.output(state)),
        Err(reason) => {
            refuse(key, window, state, reason, out);
            None
        }
    }
}

/// Makes a dead letter of what has no result.
#[cold]
#[inline(never)]
fn refuse<U>(
    key: &impl Serialize,
    window: Window,
    state: &impl Serialize,
    reason: BadRecord,
    out: &mut Outbox<U>,
) {
    #[derive(Serialize)]
    struct Whole<'a, K, S> {
        key: &'a K,
        window_start: String,
        window_end: String,
        state: &'a S,
    }

    let Window { start, end } = window;
    let whole = Whole { key, window_start: start.to_string(), window_end: end.to_string(), state };
    let of = format!("the window from {start} to {end}");
    let json = serde_json::to_vec(&whole).unwrap_or_else(|_| of.clone().into_bytes());
    let reason = BadRecord::new(format!("{of}: {}", reason.reason()));
    out.refuse(RefusedResult::new(json), reason);
}

/// What is put out of windows that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// Nothing.
    Never,
    /// Every so often by the wall clock, what changed.
    Every(Duration),
    /// A key's result in a window, after so many records.
    Records(u32),
}

/// Tells when results are put out early. Whoever has it counts, for each state, the records that were not.
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

    /// Whether a window that ends puts something out: all, or what changed since it was put out early.
    #[inline]
    pub(crate) fn ends_with(&self, unseen_count: u32) -> bool {
        self.never() || unseen_count > 0
    }

    /// Whether it is time, at a barrier.
    pub(crate) fn is_time(&mut self, wall_clock: Timestamp) -> bool {
        let Early::Every(every) = self.when else { return false };
        let last = *self.last.get_or_insert(wall_clock);
        let is_time = self.unfinished || wall_clock >= last + every;
        if is_time && !self.unfinished {
            self.last = Some(wall_clock);
        }
        is_time
    }

    /// Says whether all that was due was emitted: what was not is due at the next barrier, which is asked for.
    pub(crate) fn told<U>(&mut self, all: bool, wall_clock: Timestamp, out: &mut Outbox<U>) {
        self.unfinished = !all;
        if !all {
            out.wake_at(wall_clock);
        }
    }

    /// After a restart, nobody knows when the wall clock told last: everything is put out once more.
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
