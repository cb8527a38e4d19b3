//! Windows over event time: what belongs together, when it is put out, and what becomes of late records.
//!
//! A window `[start, end)` is put out when the watermark reaches its end. A record is *late* for it once
//! `end + allowed lateness ≤ watermark`; what happens to late records must be said, or the pipeline
//! does not compile:
//!
//! ```compile_fail
//! use std::time::Duration;
//! use rtbflow::operators::window::{Count, Tumbling};
//! use rtbflow::testing::{run, values};
//!
//! run(values([1, 2]), |flow| {
//!     flow.key_by(|n| n % 2).window(Tumbling::of(Duration::from_mins(5))).aggregate("counts", Count)
//! });
//! ```

mod aggregate;
mod assign;
mod calendar;
mod closing;
mod count_window;
mod distinct;
mod lane;
mod late;
mod lateness;
mod logic;
mod numbers;
mod open;
mod parts;
mod quantiles;
mod recent;
mod results;
mod session;
mod session_logic;
mod shorthands;
mod slices;
mod sliding;
mod sliding_logic;
mod stacks;
#[cfg(feature = "time-zones")]
mod time_zone;
#[cfg(feature = "time-zones")]
mod time_zone_rules;
mod top_n;
mod tumbling;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use aggregate::{Aggregate, Count, Fold, Merge, Reduce};
pub use assign::{Apply, Assigner, Decided, Statement, Windows};
pub use calendar::Calendar;
pub use count_window::{CountLogic, CountWindow, SlidingCount};
pub use distinct::{Distinct, Registers};
pub use late::{Late, LateFlow, LatePolicy, Undecided};
pub use logic::WindowLogic;
pub use numbers::{Max, Mean, Min, Number, Sum};
pub use quantiles::Quantiles;
pub use session::Session;
pub use session_logic::SessionLogic;
pub use sliding::Sliding;
pub use sliding_logic::SlidingLogic;
#[cfg(feature = "time-zones")]
pub use time_zone_rules::TimeZoneRules;
pub use top_n::TopN;
pub use tumbling::Tumbling;

pub use crate::sketch::Sketch;

use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::Stateful;
use crate::operators::window::assign::Panes;
use crate::operators::window::results::Early;
use crate::time::Timestamp;
use crate::topology::Tip;

/// A span of event time: `start` belongs to it, `end` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first time that belongs to it.
    pub start: Timestamp,
    /// The first time after it.
    pub end: Timestamp,
}

impl Window {
    /// Whether a time belongs to it.
    #[inline]
    #[must_use]
    pub fn holds(&self, timestamp: Timestamp) -> bool {
        self.start <= timestamp && timestamp < self.end
    }
}

/// A window's result for one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// The result.
    pub value: V,
}

/// A keyed flow in windows: what an aggregate is applied to.
#[must_use = "a flow does nothing until it ends in a sink"]
pub struct WindowedFlow<S, F, W> {
    stream: S,
    key: F,
    windows: W,
    panes: Panes,
    early: Early,
    tip: Tip,
}

impl<S, F, W> fmt::Debug for WindowedFlow<S, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowedFlow({:?})", self.panes)
    }
}

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Lays windows over event time, for each key.
    ///
    /// # Time and state
    /// See [`aggregate`](WindowedFlow::aggregate).
    pub fn window<W: Decided>(self, windows: W) -> WindowedFlow<S, F, W> {
        let Self { stream, key, tip } = self;
        WindowedFlow { stream, key, windows, panes: Panes::Accumulating, early: Early::Never, tip }
    }
}

impl<S, F, W: Windows> WindowedFlow<S, F, W> {
    /// Each result stands only for the records since the one before, instead of for all records of the
    /// window: for sinks that add. Partial results of several partitions then merge in the place, and
    /// nothing is kept once a window has been put out.
    pub fn discarding(mut self) -> Self
    where
        W: Assigner,
    {
        self.panes = Panes::Discarding;
        self
    }

    /// Also puts out, every so often by the wall clock, what changed in windows that are still open.
    /// `None` puts them out at their end only. At its end only that of a window is put out which changed
    /// since.
    pub fn early(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.early = every.into().map_or(Early::Never, Early::Every);
        self
    }

    /// Also puts out a key's result in a window that is still open after every so many of its records; 0
    /// is taken for 1. At its end only that is put out which changed since.
    pub fn early_after(mut self, records: u32) -> Self {
        self.early = Early::Records(records.max(1));
        self
    }
}

impl<S, K, F, W> WindowedFlow<S, F, W>
where
    S: Elements,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Aggregates the records of each key and window. `name` is what its state is kept by.
    ///
    /// # Time and state
    /// Keeps one state a key and open window, until the watermark reaches the window's end (with
    /// [`discarding`](Self::discarding)) or its end plus the allowed lateness. A record that comes in
    /// between puts out a corrected result (or, discarding, one that stands for it alone) at once. Results
    /// come in order of the windows' ends, within a window in the order in which the keys came first;
    /// their timestamp is the last millisecond of the window.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::{Count, Late, Tumbling};
    /// use rtbflow::testing::{run, timed};
    ///
    /// let five = Tumbling::of(Duration::from_millis(5)).late(Late::Drop);
    /// let counts = run(timed([('a', 1), ('b', 2), ('a', 4), ('a', 5)]), |flow| {
    ///     flow.key_by(|letter| *letter).window(five).aggregate("counts", Count)
    /// });
    /// let counts: Vec<_> = counts.iter().map(|w| (w.key, w.window.start.as_millis(), w.value)).collect();
    /// assert_eq!(counts, [('a', 0, 2), ('b', 0, 1), ('a', 5, 1)]);
    /// ```
    pub fn aggregate<A>(self, name: &str, aggregate: A) -> Flow<Stateful<S, W::Logic>>
    where
        W: Apply<K, S::Value, F, A>,
    {
        let Self { stream, key, windows, panes, early, tip } = self;
        let tip = tip.then_named("window", name, &windows.detail());
        let logic = windows.apply(Statement { key, aggregate, panes, early });
        Flow { stream: Stateful::new(stream, name, logic, &tip), tip }
    }
}
