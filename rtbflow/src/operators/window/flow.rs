//! A keyed flow in windows.

use std::fmt;
use std::time::Duration;

use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::stateful::{Logic, Stateful};
use crate::operators::window::assign::{Aggregation, Apply, Assigner, Decided, Panes, Windows};
use crate::operators::window::early::Early;
use crate::topology::Tip;

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
    /// nothing is kept once a window has been emitted.
    pub fn discarding(mut self) -> Self
    where
        W: Assigner,
    {
        self.panes = Panes::Discarding;
        self
    }

    /// Also emits, at this interval of the wall clock, what changed in windows that are still open; `None`:
    /// at their end only. At its end a window then emits only what changed since.
    pub fn early(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.early = every.into().map_or(Early::Never, Early::Every);
        self
    }

    /// Also emits a key's result in a window that is still open, each time that this many more of its records
    /// came, at least one. At its end a window then emits only what changed since.
    pub fn early_after(mut self, records: u32) -> Self {
        self.early = Early::Records(records);
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
    /// Keeps one state per key and open window, until the watermark reaches the window's end (with
    /// [`discarding`](Self::discarding)) or its end plus the allowed lateness. A record that comes in
    /// between emits a corrected result (or, discarding, one that stands for it alone) at once. Results
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
    pub fn aggregate<A>(
        self,
        name: &str,
        aggregate: A,
    ) -> Flow<impl Elements<Value = <W::Logic as Logic>::Out>>
    where
        W: Apply<K, S::Value, F, A>,
    {
        let Self { stream, key, windows, panes, early, tip } = self;
        let tip = tip.then_named("window", name, &windows.detail());
        tip.check([windows.validate(&aggregate), early.check()]);
        let logic = windows.apply(Aggregation { key, aggregate, panes, early });
        Flow { stream: Stateful::new(stream, name, logic, &tip), tip }
    }
}
