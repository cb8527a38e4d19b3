//! Whether a name's holder is silent, by the clock of whoever waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::position::Position;

/// A holder whose beats were seen to be this many times as far apart as is allowed is not taken for gone any sooner
/// than that: the place is slow, and whoever takes a name would be as slow as who has it.
const MOST_TIMES: u32 = 8;

/// What is known of one name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    /// Where it was found to stand.
    at: Position,
    /// When the first answer that said so had arrived.
    since: Instant,
    /// The longest time that one holder took from a beat to the next, as far as it was seen.
    longest: Duration,
}

impl Observed {
    /// It was found there for the first time.
    pub(crate) fn first(at: Position, answered: Instant) -> Self {
        Self { at, since: answered, longest: Duration::ZERO }
    }

    /// The place was asked again at one time and has answered at another that it stands there. Returns for how long it
    /// has certainly stood still: from the first answer to when it was asked last.
    pub(crate) fn again(&mut self, at: Position, asked: Instant, answered: Instant) -> Duration {
        if self.at.is(&at) {
            return asked.saturating_duration_since(self.since);
        }
        let gap = answered.saturating_duration_since(self.since);
        let same_holder = self.at.owner == at.owner;
        let longest = if same_holder { self.longest.max(gap) } else { Duration::ZERO };
        *self = Self { at, since: answered, longest };
        Duration::ZERO
    }

    /// The place did not answer: then nobody could beat either, and what was seen before says nothing.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.since = now;
    }

    /// How long it must have stood still until its holder counts as gone.
    pub(crate) fn limit(&self, silence: Duration) -> Duration {
        silence.max(self.longest * 2).min(silence * MOST_TIMES)
    }
}

/// Whether somebody has the name: its offset is odd, and grows whenever it is taken or given back.
pub(crate) fn is_taken(at: &Position) -> bool {
    at.offset.is_some_and(|times| times % 2 != 0)
}

/// Where a name stands once it was taken by whoever has this mark, be it free or another's.
pub(crate) fn taken(at: &Position, owner: u64) -> Position {
    let times = at.offset.unwrap_or(0);
    Position { offset: Some(times + 1 + times % 2), ..beaten(at, owner) }
}

/// Where a name stands once its holder has given it back.
pub(crate) fn given_back(at: &Position) -> Position {
    let times = at.offset.unwrap_or(0);
    Position { offset: Some(times + times % 2), ..beaten(at, at.owner) }
}

/// Where a name stands after a beat.
pub(crate) fn beaten(at: &Position, owner: u64) -> Position {
    Position { commit: at.commit + 1, owner, ..*at }
}
