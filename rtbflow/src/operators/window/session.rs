//! Windows of activity: a session lasts until nothing comes for a while.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::operators::late::Undecided;
use crate::operators::window::lateness::{Lateness, with_lateness};
use crate::time::millis;

/// Windows of activity: a key's records that follow one another within a gap are one session, from its
/// first record to a gap after its last. For windows that do not depend on the records take
/// [`Tumbling`](super::Tumbling); for the last record of each burst alone,
/// [`debounce`](crate::KeyedFlow::debounce).
///
/// Records just a gap apart are of one session still. A record that comes out of order may bridge two
/// sessions, which then are one; so the aggregate has to [`Merge`](super::Merge). It is late only if no session is
/// there that it belongs to.
///
/// # Time and state
/// Keeps one state for each session, until nothing has come for the gap and the allowed lateness. A key
/// without a pause has one session without an end: it is emitted when it pauses, or
/// [early](super::WindowedFlow::early).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Count, Late, Session};
/// use rtbflow::testing::{run, timed};
///
/// let visits = Session::gap(Duration::from_millis(5)).late(Late::Drop);
/// let counts = run(timed([('a', 0), ('a', 3), ('b', 4), ('a', 9)]), |flow| {
///     flow.key_by(|letter| *letter).window(visits).aggregate("visits", Count)
/// });
/// let counts: Vec<_> = counts
///     .iter()
///     .map(|w| (w.key, w.window.start.as_millis(), w.window.end.as_millis(), w.value))
///     .collect();
/// assert_eq!(counts, [('a', 0, 8, 2), ('b', 4, 9, 1), ('a', 9, 14, 1)]);
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Session<L = Undecided> {
    pub(crate) gap: Duration,
    lateness: Lateness<L>,
}

impl Session {
    /// Sessions that end when nothing comes for this long, in whole milliseconds, of which there must be one.
    pub fn gap(gap: Duration) -> Self {
        Self { gap, lateness: Lateness::UNDECIDED }
    }
}

impl<L> Session<L> {
    fn kind(&self) -> String {
        format!("session with gap {:?}", self.gap)
    }

    fn check(&self) -> Result<()> {
        Error::unless(millis(self.gap) > 0, || {
            format!("its gap is {:?}; give it a millisecond or more", self.gap)
        })
    }
}

with_lateness! {
    impl Session { gap }
    /// How long after its end a session still takes records. Default: not at all. One that goes on then,
    /// or is merged with another, is emitted anew; what was emitted of its parts is not taken back.
}
