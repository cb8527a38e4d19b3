//! The state of windows that each time belongs to one of: window by window, so that closing one drains
//! one table.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::window::aggregate::Aggregate;
use crate::operators::window::assign::{Aggregation, Apply, Assigner, Panes, Windows};
use crate::operators::window::closing::Closing;
use crate::operators::window::early::EarlyResults;
use crate::operators::window::emitted::Emitted;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::open::{Open, Slot};
use crate::operators::window::results::{Out, emit, output, result};
use crate::operators::window::span::Window;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{ChunkReader, ChunkWriter, Format};
use crate::time::Timestamp;

const VERSION: u16 = 2;
/// The bucket of the watermark; no window ends there.
const WATERMARK: i64 = i64::MIN;
/// The bucket that says how much was emitted of windows that are being emitted.
const EMITTED: i64 = i64::MIN + 1;

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for windows that each
/// time belongs to exactly one of.
///
/// A window is a bucket of the state, known by its end; an entry is a key with its state and how many
/// of its records were not emitted early.
pub struct WindowLogic<K, T, F, W, A: Aggregate<T>> {
    key: F,
    windows: W,
    pub(super) aggregate: A,
    format: Format,
    pub(super) panes: Panes,
    /// How long a window that was emitted is kept, to be corrected.
    pub(super) kept: Duration,
    pub(super) early: EarlyResults,
    /// The last watermark that was reported.
    pub(super) watermark: Timestamp,
    logged_watermark: Timestamp,
    /// In order of their ends; mostly one or two.
    pub(super) open: Vec<Open<K, A::State>>,
    /// The lowest watermark at which a window is emitted or dropped.
    pub(super) due: Timestamp,
    /// Windows that are over and still to be emitted.
    pub(super) closing: VecDeque<Closing<K, A::State>>,
    emitted: Emitted,
    /// Windows that the place still has and that are to be dropped there.
    pub(super) ended: Vec<i64>,
    /// A window that is over, for the memory of its table.
    pub(super) spare: Option<Open<K, A::State>>,
    values: PhantomData<fn(T)>,
}

impl<K, T, F, W, A: Aggregate<T>> fmt::Debug for WindowLogic<K, T, F, W, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowLogic({} open, watermark {})", self.open.len(), self.watermark)
    }
}

impl<K, T, F, W, A> WindowLogic<K, T, F, W, A>
where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
    T: Send + 'static,
    W: Assigner,
    A: Aggregate<T>,
{
    pub(crate) fn new(windows: W, statement: Aggregation<F, A>) -> Self {
        let Aggregation { key, aggregate, panes, early } = statement;
        let kept = match panes {
            Panes::Accumulating => windows.allowed_lateness(),
            Panes::Discarding => Duration::ZERO,
        };
        let discarding = if panes == Panes::Discarding { ", discarding" } else { "" };
        let format = format!("{}, {}{discarding}", windows.layout(), aggregate.describe());
        Self {
            key,
            windows,
            aggregate,
            format: Format::new(VERSION, format).emptied_at_end(),
            panes,
            kept,
            early: EarlyResults::new(early),
            watermark: Timestamp::MIN,
            logged_watermark: Timestamp::MIN,
            open: Vec::new(),
            due: Timestamp::MAX,
            closing: VecDeque::new(),
            emitted: Emitted::default(),
            ended: Vec::new(),
            spare: None,
            values: PhantomData,
        }
    }

    /// The number of the window in `open`; it is opened if need be.
    fn open(&mut self, window: Window, passed: bool) -> usize {
        let at = self.open.partition_point(|open| open.window.end < window.end);
        if self.open.get(at).is_none_or(|open| open.window.end != window.end) {
            let spare = self.spare.take().map(|spare| Open { window, ..spare });
            let open = spare.unwrap_or_else(|| Open::new(window));
            self.open.insert(at, Open { passed, ..open });
            let due = if passed { window.end + self.kept } else { window.end };
            self.due = self.due.min(due);
        }
        at
    }

    /// Whether windows that were emitted are kept.
    #[inline]
    pub(super) fn keeps(&self) -> bool {
        !self.kept.is_zero()
    }

    /// A record of another window than the newest, or of one that was emitted.
    #[inline(never)]
    fn on_other_record(&mut self, record: Record<T>, out: &mut Outbox<Out<K, T, W, A>>)
    where
        F: Fn(&T) -> K,
    {
        let (window, watermark) =
            (self.windows.window_of(record.timestamp), out.watermark_before().max(self.watermark));
        let passed = window.end <= watermark;
        if passed && window.end + self.windows.allowed_lateness() <= watermark {
            return self.windows.late().late(
                record,
                window.end,
                self.windows.allowed_lateness(),
                out,
            );
        }
        let key = (self.key)(&record.value);
        if passed && self.panes == Panes::Discarding {
            let mut state = self.aggregate.empty();
            self.aggregate.add(&mut state, &record);
            return emit::<K, T, W, A>((&key, window), (&self.aggregate, &state), out);
        }
        let at = self.open(window, passed);
        out.due_at(self.due);
        self.add(at, (key, &record), out);
    }

    /// Adds a record to a window that is open; one that was passed emits it again.
    fn add(
        &mut self,
        at: usize,
        (key, record): (K, &Record<T>),
        out: &mut Outbox<Out<K, T, W, A>>,
    ) {
        let Some(open) = self.open.get_mut(at) else {
            return Error::broken("the window of a record was not opened").spoil_epoch();
        };
        let position = open.add(key, record, &self.aggregate);
        if open.passed {
            open.emit::<T, W, A>(position, &self.aggregate, out);
        } else {
            let early = (&self.early, self.panes);
            open.early_after::<T, W, A>(position, early, &self.aggregate, out);
        }
    }
}

impl<K, T, F, W, A> Logic for WindowLogic<K, T, F, W, A>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    W: Assigner,
    A: Aggregate<T>,
{
    type In = T;
    type Out = Out<K, T, W, A>;
    const VERSION: u16 = VERSION;
    const RESUMES: bool = true;
    const SAYS_DUE: bool = true;

    #[inline]
    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Self::Out>) {
        // Nearly every record belongs to the newest window.
        match self.open.last_mut() {
            Some(open) if open.window.holds(record.timestamp) && !open.passed => {
                let position = open.add((self.key)(&record.value), &record, &self.aggregate);
                let early = (&self.early, self.panes);
                open.early_after::<T, W, A>(position, early, &self.aggregate, out);
            }
            _ => self.on_other_record(record, out),
        }
    }

    #[inline]
    fn due(&self) -> Timestamp {
        self.due
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let _ = out;
        // The one before may be higher: it follows from what was emitted at the end of all time of a run that was
        // interrupted. A lower one would be noted as that until which all was emitted, and windows emitted again.
        self.watermark = self.watermark.max(watermark);
        if self.watermark >= self.due {
            self.pass();
        }
        Some(watermark)
    }

    #[inline(never)]
    fn more(&mut self, out: &mut Outbox<Self::Out>) -> bool {
        // Emits some of what is due, the windows in order of their ends.
        let wanted = |slot: &Slot<A::State>| self.early.ends_with(slot.unseen_count);
        let most = out.room();
        let mut room = most;
        while let Some(Closing { window, entries, logged, .. }) = self.closing.front_mut() {
            while let Some((key, slot)) = entries.as_slice().first() {
                if !wanted(slot) {
                    entries.next();
                    continue;
                }
                // Read where it stands: it need not be moved for that.
                let value = output((key, *window), (&self.aggregate, &slot.state), out);
                let Some((key, _)) = entries.next() else {
                    Error::broken("an entry that was just read is gone").spoil_epoch();
                    break;
                };
                if let Some(value) = value {
                    out.push(result::<K, T, W, A>(key, *window, value));
                }
                room -= 1;
                if room == 0 {
                    return true;
                }
            }
            if *logged {
                self.ended.push(window.end.as_millis());
            }
            self.closing.pop_front();
        }
        // Those that are kept after them.
        self.emit_kept(room, out) || room < most
    }

    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        if self.early.is_time(wall_clock) {
            let all = self.emit_early(out);
            self.early.emitted(all, wall_clock, out);
        }
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        for bucket in self.ended.drain(..) {
            snapshot.drop_bucket(bucket);
        }
        for open in &mut self.open {
            open.write(&self.format, snapshot);
        }
        let mut emitted = Vec::new();
        for closing in &mut self.closing {
            let count = closing.write(&self.format, snapshot);
            emitted.push((closing.window.end.as_millis(), count));
        }
        let kept = self.open.iter().filter_map(|open| Some((open.window.end, open.unput?)));
        emitted.extend(kept.map(|(end, count)| (end.as_millis(), count)));
        emitted.retain(|(_, count)| *count > 0);
        self.emitted.write(emitted, (EMITTED, VERSION), snapshot);
        // The end of all time is that of one run: another may go on from here.
        let watermark = self.emitted_until();
        if self.keeps() && watermark > self.logged_watermark && watermark < Timestamp::MAX {
            self.logged_watermark = watermark;
            let mut entry = ChunkWriter::new(Format::of_watermark(VERSION));
            entry.put(&watermark);
            snapshot.replace(WATERMARK, entry);
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        if chunk.bucket == EMITTED {
            return self.emitted.restore(VERSION, chunk);
        }
        if chunk.bucket == WATERMARK {
            let watermark =
                ChunkReader::open(chunk, Format::of_watermark(VERSION))?.only_entry()?;
            // A chunk without an entry, which none writes, says nothing.
            self.watermark = watermark.unwrap_or(self.watermark);
            self.logged_watermark = self.watermark;
            return Ok(());
        }
        let mut entries = ChunkReader::open(chunk, self.format.clone())?;
        let Some(start) = entries.next_head::<Timestamp>()? else {
            // A chunk without an entry: nothing is in the window.
            return Ok(());
        };
        let at = self.open(Window { start, end: Timestamp::from_millis(chunk.bucket) }, false);
        match self.open.get_mut(at) {
            Some(open) => open.read(&mut entries),
            None => Err(Error::broken("the window of a chunk was not opened")),
        }
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        // One that was reported before the state is reported again.
        self.watermark = self.logged_watermark;
        self.due = Timestamp::MAX;
        for (end, count) in self.emitted.logged() {
            self.resume(end, count);
        }
        for open in &mut self.open {
            open.passed = open.window.end <= self.watermark || open.unput.is_some();
            let due = if open.passed { open.window.end + self.kept } else { open.window.end };
            self.due = self.due.min(due);
            if self.early.by_clock() {
                open.all_unseen(&self.early);
            }
        }
    }
}

impl<K, T, F, A, W> Apply<K, T, F, A> for W
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    W: Assigner,
    A: Aggregate<T>,
{
    type Logic = WindowLogic<K, T, F, W, A>;

    fn detail(&self) -> String {
        self.describe()
    }

    fn validate(&self, aggregate: &A) -> Result<()> {
        Error::all([Windows::validate(self), aggregate.validate()])
    }

    fn apply(self, statement: Aggregation<F, A>) -> Self::Logic {
        WindowLogic::new(self, statement)
    }
}
