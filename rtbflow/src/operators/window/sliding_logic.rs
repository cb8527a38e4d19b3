//! The state of sliding windows: key by key what each slice has, and what one window takes over from the
//! one before.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::barrier::Class;
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::window::aggregate::Merge;
use crate::operators::window::assign::{Aggregation, Apply, Windows};
use crate::operators::window::early::EarlyResults;
use crate::operators::window::grid::Grid;
use crate::operators::window::lane::Lane;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::parts::Part;
use crate::operators::window::recent::Recent;
use crate::operators::window::results::{Out, output, result};
use crate::operators::window::slices::Slices;
use crate::operators::window::sliding::Sliding;
use crate::operators::window::span::Window;
use crate::operators::window::stacks::Stacks;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{ChunkReader, ChunkWriter, Format};
use crate::table::Table;
use crate::time::{Timestamp, millis};

/// The bucket that says which windows were emitted; no slice ends there.
const PASSED: i64 = i64::MIN;
/// The bucket that says which window is being emitted, and from which key on.
const PUTTING: i64 = i64::MIN + 1;
const NEXT: &str = "window, next key and watermark";

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for [`Sliding`] windows.
///
/// A slice is a bucket of the state, known by its end; an entry is a key with its number in order of
/// arrival, its state in the slice and how many of its records were not emitted early.
pub struct SlidingLogic<K, T, F, L, A: Merge<T>> {
    key: F,
    windows: Sliding<L>,
    grid: Grid,
    lateness_ms: i64,
    aggregate: A,
    format: Format,
    early: EarlyResults,
    keys: Table<K, Lane<A::State>>,
    /// The number of the next key that comes.
    arrivals: u64,
    /// Keys that changed since the last barrier, by where they stand.
    changed: Vec<usize>,
    slices: Slices,
    recent: Recent,
    /// Parts that end here or before are forgotten.
    gone: i64,
    /// How many of the keys are forgotten.
    forgotten_count: usize,
    /// The windows that end until here were emitted.
    passed: i64,
    logged_passed: i64,
    /// The last watermark that was reported.
    watermark: i64,
    /// The end of the first window that is still to be emitted and has something in it.
    due: i64,
    /// While windows are emitted: the end of the one, and where the next key stands.
    putting: Option<(i64, usize)>,
    /// The same as the place knows it: the end of the window, the next key's number in order of arrival, and the
    /// watermark that made it due.
    logged_putting: Option<(i64, u64, i64)>,
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
    fn is_over(&self, end: i64, watermark: i64) -> bool {
        end.saturating_add(self.lateness_ms) <= watermark
    }

    fn window(&self, end: i64) -> Window {
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
        let key = (self.key)(&record.value);
        let Self { keys, arrivals, aggregate, changed, .. } = self;
        let at = match keys.position(&key) {
            Some(at) if keys.at(at).is_some_and(|(_, lane)| !lane.parts.is_empty()) => at,
            known => {
                *arrivals += 1;
                let lane = Lane::new(*arrivals);
                match known {
                    // It was forgotten, and stands behind all others now, as it does after a restart.
                    Some(at) => keys.renew(at, key, lane),
                    None => keys.insert_new(key, lane),
                }
            }
        };
        let Some(lane) = keys.at_mut(at) else { return (at, false) };
        let (part, is_new) = lane.parts.entry(slice_end, behind, || aggregate.empty());
        let Some(part) = part else { return (at, false) };
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
            self.due =
                self.due.min(self.grid.end_from(slice_end.max(self.passed.saturating_add(1))));
            out.due_at(Timestamp::from_millis(self.due));
        }
        (at, early)
    }

    /// A record of a slice that the watermark has passed, or of none.
    #[inline(never)]
    fn on_other_record(&mut self, record: Record<T>, out: &mut Outbox<Out<K, T, Sliding<L>, A>>)
    where
        F: Fn(&T) -> K,
    {
        let (at, watermark) = (record.timestamp.as_millis(), out.watermark_before().as_millis());
        let allowed = Windows::allowed_lateness(&self.windows);
        let Some((start, end)) = self.grid.slice_of(at) else {
            if at.saturating_add(self.lateness_ms) < watermark {
                return self.windows.late().late(record, record_end(at), allowed, out);
            }
            return out.account(Class::Filtered, record.origin);
        };
        let last = self.grid.last_end(start);
        if self.is_over(last, watermark) {
            return self.windows.late().late(record, Timestamp::from_millis(last), allowed, out);
        }
        // Whatever ends until here and has something in it was emitted.
        self.passed = self.passed.max(watermark);
        let (key_at, early) = self.add((end, 0), &record, out);
        if let Some(lane) = self.keys.at_mut(key_at)
            && lane.parts.position(end) < lane.stacks.len()
        {
            lane.stacks = Stacks::default();
        }
        let from = self.grid.end_from(end);
        self.correct(key_at, (from, last.min(watermark)), watermark, out);
        if early {
            self.emit_early(key_at, watermark, out);
        }
    }

    /// Emits a key's results again, of the windows that end between these two and are not over.
    fn correct(
        &mut self,
        at: usize,
        (first, last): (i64, i64),
        watermark: i64,
        out: &mut Outbox<Out<K, T, Sliding<L>, A>>,
    ) {
        let Some((key, lane)) = self.keys.at(at) else { return };
        let mut stacks = Stacks::default();
        let mut end = first;
        while end <= last {
            if !self.is_over(end, watermark) {
                let window = self.window(end);
                stacks.slide(&lane.parts, (window.start.as_millis(), end), &self.aggregate);
                let value = stacks.make(&self.aggregate, |state| {
                    output((key, window), (&self.aggregate, state), out)
                });
                if let Some(value) = value.flatten() {
                    out.push(result::<K, T, Sliding<L>, A>(key.clone(), window, value));
                }
            }
            let next = self.grid.next(end);
            if next == end {
                break;
            }
            end = next;
        }
    }

    /// Emits a key's results of open windows that changed since they were last emitted early.
    fn emit_early(
        &mut self,
        at: usize,
        watermark: i64,
        out: &mut Outbox<Out<K, T, Sliding<L>, A>>,
    ) {
        let Some((_, lane)) = self.keys.at(at) else { return };
        let unseen = || lane.parts.iter().filter(|part| part.unseen_count > 0).map(|part| part.end);
        if let (Some(first), Some(newest)) = (unseen().min(), unseen().max()) {
            let from = self.grid.end_from(first.max(watermark.saturating_add(1)));
            let (start, _) =
                self.grid.slice_of(newest.saturating_sub(1)).unwrap_or((newest, newest));
            self.correct(at, (from, self.grid.last_end(start)), watermark, out);
        }
        let Some(lane) = self.keys.at_mut(at) else { return };
        if lane.seen() {
            self.changed.push(at);
        }
    }

    /// Emits some of the window that ends there, and forgets what only it needed; returns whether there
    /// may be more of it.
    fn emit(&mut self, end: i64, from: usize, out: &mut Outbox<Out<K, T, Sliding<L>, A>>) -> bool {
        let window = self.window(end);
        let start = window.start.as_millis();
        let gone = self.gone_by(end);
        let mut room = out.room();
        for at in from..self.keys.len() {
            let Some((key, lane)) = self.keys.at_with_key_mut(at) else { continue };
            if lane.parts.is_empty() {
                continue;
            }
            lane.slide((start, end), &self.aggregate);
            if (self.early.never() || lane.has_unseen_in_window())
                && let Some(value) = lane.stacks.make(&self.aggregate, |state| {
                    output((key, window), (&self.aggregate, state), out)
                })
            {
                if let Some(value) = value {
                    out.push(result::<K, T, Sliding<L>, A>(key.clone(), window, value));
                }
                room -= 1;
            }
            lane.forget(gone, &self.aggregate);
            self.forgotten_count += usize::from(lane.parts.is_empty());
            if room == 0 {
                self.putting = Some((end, at + 1));
                return true;
            }
        }
        self.gone = self.gone.max(gone);
        false
    }

    /// The end of the first window that ends after this time and has something in it.
    fn first_end_after(&self, time: i64) -> i64 {
        let next = self.grid.end_from(time.saturating_add(1));
        let start = self.grid.start_of(next);
        let mut first = i64::MAX;
        for (_, lane) in self.keys.iter() {
            let mut parts = lane.parts.iter().skip(lane.stacks.before_count());
            if let Some(part) = parts.find(|part| part.end > start) {
                first = first.min(self.grid.end_from(part.end).max(next));
            }
            // No window is earlier, and in nearly all streams the first key has something in it.
            if first == next {
                break;
            }
        }
        first
    }

    /// Where the parts end that are forgotten with the window that ends there. What the next window needs
    /// stays, although it may be one with nothing in it.
    fn gone_by(&self, end: i64) -> i64 {
        self.gone_after(self.watermark).min(self.grid.start_of(self.grid.next(end)))
    }

    /// Forgets of a key what ends until there.
    fn forget_of(&mut self, at: usize, gone: i64) {
        if let Some(lane) = self.keys.at_mut(at).filter(|lane| !lane.parts.is_empty()) {
            lane.forget(gone, &self.aggregate);
            self.forgotten_count += usize::from(lane.parts.is_empty());
        }
    }

    /// Where the parts end that no window needs any more which may be emitted, or corrected, after this
    /// watermark.
    fn gone_after(&self, watermark: i64) -> i64 {
        let alive = watermark.saturating_sub(self.lateness_ms).saturating_add(1);
        if watermark == i64::MAX { i64::MAX } else { self.grid.start_of(self.grid.end_from(alive)) }
    }

    /// All windows that the watermark passed were emitted, and this is the end of the next that has
    /// something in it: forgets what no window needs any more.
    fn passed(&mut self, next: i64) {
        (self.passed, self.putting, self.due) = (self.watermark, None, next);
        let gone = self.gone_after(self.watermark);
        if self.gone < gone {
            self.gone = gone;
            for at in 0..self.keys.len() {
                self.forget_of(at, gone);
            }
        }
        self.slices.end_until(gone);
        // Now and then, so that a key costs no more than it did to come.
        if self.forgotten_count > self.keys.len() / 2 {
            self.forgotten_count = 0;
            self.keys.retain(|_, lane| !lane.parts.is_empty());
            let changed = self.keys.iter().enumerate();
            let changed = changed.filter(|(_, (_, lane))| lane.has_changed());
            self.changed = changed.map(|(at, _)| at).collect();
        }
    }
}

const VERSION: u16 = 1;

/// The end that a late record between two windows is reported to be late for.
fn record_end(at: i64) -> Timestamp {
    Timestamp::from_millis(at.saturating_add(1))
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
        let found = self.recent.find(at).or_else(|| {
            let slice = self.grid.slice_of(at)?;
            self.recent.note(slice);
            Some((slice.1, 0))
        });
        let Some((end, behind)) = found else { return self.on_other_record(record, out) };
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
        self.slices.write(&self.format, &mut self.keys, self.changed.drain(..), snapshot);
        let next = |at| self.keys.at(at).map_or(u64::MAX, |(_, lane)| lane.arrival);
        // The end of all time is that of one run: another may go on from here.
        let watermark = |end| if self.watermark == i64::MAX { end } else { self.watermark };
        let putting = self.putting.map(|(end, at)| (end, next(at), watermark(end)));
        if self.logged_putting != putting {
            self.logged_putting = putting;
            match putting {
                Some(putting) => {
                    let mut entry = ChunkWriter::new(Format::new(VERSION, NEXT));
                    entry.put(&putting);
                    snapshot.replace(PUTTING, entry);
                }
                None => snapshot.drop_bucket(PUTTING),
            }
        }
        // The end of all time is that of one run: another may go on from here.
        if self.passed > self.logged_passed && self.passed < i64::MAX {
            self.logged_passed = self.passed;
            let mut entry = ChunkWriter::new(Format::of_watermark(VERSION));
            entry.put(&self.passed);
            snapshot.replace(PASSED, entry);
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        if chunk.bucket == PASSED {
            let passed = ChunkReader::open(chunk, Format::of_watermark(VERSION))?.only_entry()?;
            if let Some(passed) = passed {
                (self.passed, self.logged_passed, self.watermark) = (passed, passed, passed);
            }
            return Ok(());
        }
        if chunk.bucket == PUTTING {
            self.logged_putting =
                ChunkReader::open(chunk, Format::new(VERSION, NEXT))?.only_entry()?;
            return Ok(());
        }
        let mut entries = ChunkReader::open(chunk, self.format.clone())?;
        let end = chunk.bucket;
        while let Some((key, arrival, state, unseen_count)) =
            entries.next_entry::<(K, u64, A::State, u32)>()?
        {
            let (_, lane) = self.keys.entry(key, || Lane::new(arrival));
            let Some(lane) = lane else { continue };
            let (part, is_new) = lane.parts.entry(end, 0, || self.aggregate.empty());
            self.slices.restored(end, is_new);
            if let Some(part) = part {
                *part = Part { unseen_count, logged: true, ..Part::new(end, state) };
            }
        }
        Ok(())
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        let mut lanes: Vec<(K, Lane<A::State>)> = self.keys.take().collect();
        lanes.sort_by_key(|(_, lane)| lane.arrival);
        for (key, mut lane) in lanes {
            self.arrivals = self.arrivals.max(lane.arrival);
            lane.unseen_count = 0;
            for part in lane.parts.iter_mut() {
                self.early.restored(&mut part.unseen_count);
                lane.unseen_count = lane.unseen_count.saturating_add(part.unseen_count);
                let first = part.end.max(self.passed.saturating_add(1));
                let end = self.grid.end_from(first);
                if self.grid.start_of(end) < part.end {
                    self.due = self.due.min(end);
                }
            }
            lane.parts.settle(self.passed);
            self.keys.insert_new(key, lane);
        }
        // What was being emitted is due: it goes on there, by the watermark that made it due. By a lower one
        // less would be forgotten, and what is forgotten counts for no early result.
        if let Some((end, arrival, watermark)) = self.logged_putting {
            let next = self.keys.iter().position(|(_, lane)| lane.arrival >= arrival);
            let next = next.unwrap_or(self.keys.len());
            self.putting = Some((end, next));
            self.watermark = watermark;
            // The keys before it have had their turn.
            let gone = self.gone_by(end);
            for at in 0..next {
                self.forget_of(at, gone);
            }
        }
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
