//! The state of sliding windows: key by key what each slice has, and what one window takes over from the
//! one before.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::window::aggregate::Merge;
use crate::operators::window::assign::{Aggregation, Apply, Windows};
use crate::operators::window::early::EarlyResults;
use crate::operators::window::grid::Grid;
use crate::operators::window::lane::Lane;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::recent::Recent;
use crate::operators::window::results::Out;
use crate::operators::window::slices::Slices;
use crate::operators::window::sliding::Sliding;
use crate::operators::window::span::Window;
use crate::operators::window::stacks::Stacks;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::Format;
use crate::table::Table;
use crate::time::{Timestamp, millis};

pub(super) const VERSION: u16 = 1;

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for [`Sliding`] windows.
///
/// A slice is a bucket of the state, known by its end; an entry is a key with its number in order of
/// arrival, its state in the slice and how many of its records were not emitted early.
pub struct SlidingLogic<K, T, F, L, A: Merge<T>> {
    key: F,
    windows: Sliding<L>,
    pub(super) grid: Grid,
    pub(super) lateness_ms: i64,
    pub(super) aggregate: A,
    pub(super) format: Format,
    pub(super) early: EarlyResults,
    pub(super) keys: Table<K, Lane<A::State>>,
    /// The number of the next key that comes.
    pub(super) arrivals: u64,
    /// Keys that changed since the last barrier, by where they stand.
    pub(super) changed: Vec<usize>,
    pub(super) slices: Slices,
    recent: Recent,
    /// Parts that end here or before are forgotten.
    pub(super) gone: i64,
    /// How many of the keys are forgotten.
    pub(super) forgotten_count: usize,
    /// The windows that end until here were emitted.
    pub(super) passed: i64,
    pub(super) logged_passed: i64,
    /// The last watermark that was reported.
    pub(super) watermark: i64,
    /// The end of the first window that is still to be emitted and has something in it.
    pub(super) due: i64,
    /// While windows are emitted: the end of the one, and where the next key stands.
    pub(super) putting: Option<(i64, usize)>,
    /// The same as the place knows it: the end of the window, the next key's number in order of arrival, and the
    /// watermark that made it due.
    pub(super) logged_putting: Option<(i64, u64, i64)>,
    values: PhantomData<fn(T, L)>,
}

impl<K, T, F, L, A: Merge<T>> fmt::Debug for SlidingLogic<K, T, F, L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlidingLogic(passed {})", self.passed)
    }
}

impl<K, T, F, L, A> SlidingLogic<K, T, F, L, A>
where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
    T: Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    pub(crate) fn new(windows: Sliding<L>, statement: Aggregation<F, A>) -> Self {
        let Aggregation { key, aggregate, panes: _, early } = statement;
        let format = format!("{}, {}", Windows::layout(&windows), aggregate.describe());
        Self {
            key,
            windows,
            format: Format::new(VERSION, format).emptied_at_end(),
            grid: windows.grid,
            lateness_ms: millis(Windows::allowed_lateness(&windows)),
            aggregate,
            early: EarlyResults::new(early),
            keys: Table::new(),
            arrivals: 0,
            changed: Vec::new(),
            slices: Slices::default(),
            recent: Recent::new(windows.grid),
            gone: i64::MIN,
            forgotten_count: 0,
            passed: i64::MIN,
            logged_passed: i64::MIN,
            watermark: i64::MIN,
            due: i64::MAX,
            putting: None,
            logged_putting: None,
            values: PhantomData,
        }
    }

    /// Whether a window is over: no record comes into it any more.
    pub(super) fn is_over(&self, end: i64, watermark: i64) -> bool {
        end.saturating_add(self.lateness_ms) <= watermark
    }

    pub(super) fn window(&self, end: i64) -> Window {
        let at = Timestamp::from_millis;
        Window { start: at(self.grid.start_of(end)), end: at(end) }
    }

    /// Adds a record to its slice, which lies `behind` slices before the newest; says where its key stands,
    /// and whether it is due to be emitted early.
    #[inline]
    fn add(
        &mut self,
        (slice_end, behind): (i64, usize),
        record: &Record<T>,
        out: &mut Outbox<Out<K, T, Sliding<L>, A>>,
    ) -> (usize, bool)
    where
        F: Fn(&T) -> K,
    {
        let at = self.place_of((self.key)(&record.value));
        let Self { keys, aggregate, changed, .. } = self;
        let Some(lane) = keys.at_mut(at) else {
            Error::broken("the key of a record was not added").spoil_epoch();
            return (at, false);
        };
        let (part, is_new) = lane.parts.entry(slice_end, behind, || aggregate.empty());
        let Some(part) = part else {
            Error::broken("the slice of a record was not added to its key").spoil_epoch();
            return (at, false);
        };
        aggregate.add(&mut part.state, record);
        part.changed = true;
        let early = !self.early.never() && {
            self.early.count(&mut part.unseen_count);
            self.early.count(&mut lane.unseen_count)
        };
        if lane.change(slice_end) {
            changed.push(at);
        }
        if is_new && slice_end < self.due {
            self.note_due(slice_end);
            out.due_at(Timestamp::from_millis(self.due));
        }
        (at, early)
    }

    /// The first window that has a slice in it may be due before all others.
    fn note_due(&mut self, slice_end: i64) {
        let first = self.grid.end_from(slice_end.max(self.passed.saturating_add(1)));
        self.due = self.due.min(first);
    }

    /// Where a key stands among the others, which it does from now on if it has nothing there.
    #[inline]
    fn place_of(&mut self, key: K) -> usize {
        match self.keys.position(&key) {
            Some(at) if self.keys.at(at).is_some_and(|(_, lane)| !lane.parts.is_empty()) => at,
            known => {
                self.arrivals += 1;
                let lane = Lane::new(self.arrivals);
                match known {
                    // It was forgotten, and stands behind all others now, as it does after a restart.
                    Some(at) => self.keys.renew(at, key, lane),
                    None => self.keys.insert_new(key, lane),
                }
            }
        }
    }

    /// A record of a slice that the watermark has passed.
    #[inline(never)]
    fn on_other_record(&mut self, record: Record<T>, out: &mut Outbox<Out<K, T, Sliding<L>, A>>)
    where
        F: Fn(&T) -> K,
    {
        let (at, watermark) = (record.timestamp.as_millis(), out.watermark_before().as_millis());
        let allowed = Windows::allowed_lateness(&self.windows);
        let (start, end) = self.grid.slice_of(at);
        let last = self.grid.last_end(start);
        if self.is_over(last, watermark) {
            return self.windows.late().late(record, Timestamp::from_millis(last), allowed, out);
        }
        // Whatever ends until here and has something in it was emitted.
        self.passed = self.passed.max(watermark);
        let (key_at, early) = self.add((end, 0), &record, out);
        let Some(lane) = self.keys.at_mut(key_at) else {
            return Error::broken("the key of a record is not there").spoil_epoch();
        };
        if lane.parts.position(end) < lane.stacks.len() {
            lane.stacks = Stacks::default();
        }
        let from = self.grid.end_from(end);
        self.correct(key_at, (from, last.min(watermark)), watermark, out);
        if early {
            self.emit_early(key_at, watermark, out);
        }
    }
}

impl<K, T, F, L, A> Logic for SlidingLogic<K, T, F, L, A>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    type In = T;
    type Out = Out<K, T, Sliding<L>, A>;
    const VERSION: u16 = VERSION;
    const RESUMES: bool = true;
    const SAYS_DUE: bool = true;

    #[inline]
    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Self::Out>) {
        let (at, watermark) = (record.timestamp.as_millis(), out.watermark_before().as_millis());
        let (end, behind) = self.recent.find(at).unwrap_or_else(|| {
            let slice = self.grid.slice_of(at);
            self.recent.note(slice);
            (slice.1, 0)
        });
        if end <= watermark {
            return self.on_other_record(record, out);
        }
        let (key_at, early) = self.add((end, behind), &record, out);
        if early {
            self.emit_early(key_at, watermark, out);
        }
    }

    #[inline]
    fn due(&self) -> Timestamp {
        Timestamp::from_millis(self.due)
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let _ = out;
        self.watermark = watermark.as_millis();
        if self.watermark >= self.due {
            self.putting = Some((self.due, 0));
        }
        Some(watermark)
    }

    #[inline(never)]
    fn more(&mut self, out: &mut Outbox<Self::Out>) -> bool {
        // Without it, no window is being emitted.
        let Some((end, from)) = self.putting else { return false };
        if self.emit(end, from, out) {
            return true;
        }
        match self.first_end_after(end) {
            next if next == end => self.passed(i64::MAX),
            next if next > self.watermark => self.passed(next),
            next => self.putting = Some((next, 0)),
        }
        true
    }

    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        if !self.early.is_time(wall_clock) {
            return;
        }
        let (most, mut all) = (out.room_at_barrier(), true);
        for at in 0..self.keys.len() {
            if self.keys.at(at).is_some_and(|(_, lane)| lane.unseen_count > 0) {
                all = out.len() < most;
                if !all {
                    break;
                }
                self.emit_early(at, self.watermark, out);
            }
        }
        self.early.emitted(all, wall_clock, out);
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.write(snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.read(chunk)
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        self.resume();
    }
}

impl<K, T, F, A, L> Apply<K, T, F, A> for Sliding<L>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    type Logic = SlidingLogic<K, T, F, L, A>;

    fn detail(&self) -> String {
        self.describe()
    }

    fn validate(&self, aggregate: &A) -> Result<()> {
        Error::all([Windows::validate(self), aggregate.validate()])
    }

    fn apply(self, statement: Aggregation<F, A>) -> Self::Logic {
        SlidingLogic::new(self, statement)
    }
}
