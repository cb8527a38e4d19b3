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
use crate::operators::window::assign::Panes;
use crate::operators::window::assign::{Aggregation, Apply, Assigner, Windows};
use crate::operators::window::closing::Closing;
use crate::operators::window::early::EarlyResults;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::open::{Open, Slot};
use crate::operators::window::results::{Out, output, result};
use crate::operators::window::span::Window;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{Bucket, ChunkReader, ChunkWriter, Format};
use crate::time::Timestamp;

const VERSION: u16 = 2;
/// The bucket of the watermark; no window ends there.
const WATERMARK: i64 = i64::MIN;
/// The bucket that says how much was emitted of windows that are being emitted.
const EMITTED: i64 = i64::MIN + 1;
const COUNTS: &str = "emitted results";

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for windows that each
/// time belongs to exactly one of.
///
/// A window is a bucket of the state, known by its end; an entry is a key with its state and how many
/// of its records were not emitted early.
pub struct WindowLogic<K, T, F, W, A: Aggregate<T>> {
    key: F,
    windows: W,
    aggregate: A,
    format: Format,
    panes: Panes,
    /// How long a window that was emitted is kept, to be corrected.
    kept: Duration,
    early: EarlyResults,
    /// The last watermark that was reported.
    watermark: Timestamp,
    logged_watermark: Timestamp,
    /// In order of their ends; mostly one or two.
    open: Vec<Open<K, A::State>>,
    /// The lowest watermark at which a window is emitted or dropped.
    due: Timestamp,
    /// Windows that are over and still to be emitted.
    closing: VecDeque<Closing<K, A::State>>,
    /// By their ends, how many entries of the log of windows were emitted, as the place knows it.
    emitted: Vec<(i64, usize)>,
    /// Windows that the place still has and that are to be dropped there.
    ended: Vec<i64>,
    /// A window that is over, for the memory of its table.
    spare: Option<Open<K, A::State>>,
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
            emitted: Vec::new(),
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
    fn keeps(&self) -> bool {
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
            if let Some(value) = output((&key, window), (&self.aggregate, &state), out) {
                out.push(result::<K, T, W, A>(key, window, value));
            }
            return;
        }
        let at = self.open(window, passed);
        out.due_at(self.due);
        let Some(open) = self.open.get_mut(at) else { return };
        let position = open.add(key, &record, &self.aggregate);
        if passed {
            if let Some((key, slot)) = open.keys.at(position)
                && let Some(value) = output((key, window), (&self.aggregate, &slot.state), out)
            {
                out.push(result::<K, T, W, A>(key.clone(), window, value));
            }
        } else {
            let early = (&self.early, self.panes);
            early_after::<K, T, W, A>(open, position, early, &self.aggregate, out);
        }
    }

    /// The watermark has risen: the windows that it passed are to be emitted, and those that are over
    /// are dropped.
    #[inline(never)]
    fn pass(&mut self) {
        let (watermark, kept) = (self.watermark, self.kept);
        let over = self.open.partition_point(|open| open.window.end + kept <= watermark);
        for mut open in self.open.drain(..over) {
            if open.passed {
                open.keys.drain().for_each(drop);
                if open.logged {
                    self.ended.push(open.window.end.as_millis());
                }
            } else {
                let entries = open.keys.take();
                self.closing.push_back(Closing::new(&open, entries, 0));
            }
            self.spare = Some(Open { keys: open.keys, ..Open::new(open.window) });
        }
        self.due = Timestamp::MAX;
        for open in &mut self.open {
            if open.window.end > watermark {
                self.due = self.due.min(open.window.end);
                continue;
            }
            self.due = self.due.min(open.window.end + kept);
            if !std::mem::replace(&mut open.passed, true) {
                open.unseen.clear();
                open.unput = Some(0);
            }
        }
    }

    /// Emits what changed in open windows since they were last emitted early, as far as there is room for it;
    /// returns whether that was all.
    fn emit_early(&mut self, out: &mut Outbox<Out<K, T, W, A>>) -> bool {
        let most = out.room_at_barrier();
        let mut all = true;
        for open in self.open.iter_mut().filter(|open| !open.passed) {
            let room = most.saturating_sub(out.len());
            if room == 0 && (!open.keys.is_empty() || !open.unseen.is_empty()) {
                all = false;
                break;
            }
            if self.panes == Panes::Discarding {
                for (key, slot) in open.keys.drain() {
                    let made = (&self.aggregate, &slot.state);
                    if let Some(value) = output((&key, open.window), made, out) {
                        out.push(result::<K, T, W, A>(key, open.window, value));
                    }
                }
                open.changed.clear();
                open.unseen.clear();
                open.fresh = 0;
                if std::mem::take(&mut open.logged) {
                    open.bucket = Bucket::default();
                    self.ended.push(open.window.end.as_millis());
                }
                continue;
            }
            all &= open.unseen.len() <= room;
            for position in open.unseen.drain(..room.min(open.unseen.len())) {
                if let Some(slot) = open.keys.at_mut(position) {
                    slot.unseen_count = 0;
                }
                let Some((key, slot)) = open.keys.at(position) else { continue };
                let made = (&self.aggregate, &slot.state);
                if let Some(value) = output((key, open.window), made, out) {
                    out.push(result::<K, T, W, A>(key.clone(), open.window, value));
                }
            }
        }
        self.open.retain(|open| !open.keys.is_empty());
        all
    }

    /// Emits some of a window that is kept.
    fn emit_kept(&mut self, room: usize, out: &mut Outbox<Out<K, T, W, A>>) -> bool {
        let Some(open) = self.open.iter_mut().find(|open| open.unput.is_some()) else {
            return false;
        };
        let mut room = room;
        let mut at = open.unput.unwrap_or(0);
        while let Some((key, slot)) = open.keys.at(at).filter(|_| room > 0) {
            at += 1;
            if self.early.ends_with(slot.unseen_count) {
                let made = (&self.aggregate, &slot.state);
                if let Some(value) = output((key, open.window), made, out) {
                    out.push(result::<K, T, W, A>(key.clone(), open.window, value));
                }
                room -= 1;
            }
        }
        open.unput = (at < open.keys.len()).then_some(at);
        // After a restart its watermark may not have been reported yet.
        self.watermark = self.watermark.max(open.window.end);
        true
    }

    /// Hands over how much was emitted of the windows that are being emitted, if the place knows otherwise.
    fn write_emitted(&mut self, emitted: Vec<(i64, usize)>, snapshot: &mut Snapshot) {
        if self.emitted == emitted {
            return;
        }
        self.emitted = emitted;
        if self.emitted.is_empty() {
            return snapshot.drop_bucket(EMITTED);
        }
        let mut entries = ChunkWriter::new(Format::new(VERSION, COUNTS));
        self.emitted.iter().for_each(|emitted| entries.put(emitted));
        snapshot.replace(EMITTED, entries);
    }

    /// After a restart: this many entries of the log of a window were emitted, and the others are due.
    fn resume(&mut self, end: i64, count: usize) {
        let keeps = self.keeps();
        let ends = |open: &Open<K, A::State>| open.window.end.as_millis() == end;
        let Some(at) = self.open.iter().position(ends) else { return };
        let Some(open) = self.open.get_mut(at) else { return };
        if keeps {
            open.unput = Some(count);
            return;
        }
        let mut open = self.open.remove(at);
        let mut entries = open.keys.take();
        entries.by_ref().take(count).for_each(drop);
        self.closing.push_back(Closing::new(&open, entries, count));
    }

    /// The watermark until whose windows all were emitted.
    fn emitted_until(&self) -> Timestamp {
        let kept = self.open.iter().filter(|open| open.unput.is_some()).map(|open| open.window.end);
        let closing = self.closing.iter().map(|closing| closing.window.end);
        let next = closing.chain(kept).min();
        next.map_or(self.watermark, |end| self.watermark.min(end - Duration::from_millis(1)))
    }
}

/// A record of the entry with this number was added to an open window, of which something may be emitted
/// early.
#[inline]
fn early_after<K, T, W, A>(
    open: &mut Open<K, A::State>,
    position: usize,
    (early, panes): (&EarlyResults, Panes),
    aggregate: &A,
    out: &mut Outbox<Out<K, T, W, A>>,
) where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
    T: Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    if early.never() {
        return;
    }
    let Some(slot) = open.keys.at_mut(position) else { return };
    if early.count(&mut slot.unseen_count) {
        slot.unseen_count = 0;
        let Some((key, slot)) = open.keys.at(position) else { return };
        if let Some(value) = output((key, open.window), (aggregate, &slot.state), out) {
            out.push(result::<K, T, W, A>(key.clone(), open.window, value));
        }
        if panes == Panes::Discarding
            && let Some(slot) = open.keys.at_mut(position)
        {
            slot.state = aggregate.empty();
        }
    } else if early.by_clock() && slot.unseen_count == 1 {
        open.unseen.push(position);
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
                early_after::<K, T, W, A>(open, position, early, &self.aggregate, out);
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
        self.watermark = watermark;
        if watermark >= self.due {
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
                let Some((key, _)) = entries.next() else { break };
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
        self.write_emitted(emitted, snapshot);
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
            let mut entries = ChunkReader::open(chunk, Format::new(VERSION, COUNTS))?;
            while let Some(emitted) = entries.next_entry()? {
                self.emitted.push(emitted);
            }
            return Ok(());
        }
        if chunk.bucket == WATERMARK {
            let watermark =
                ChunkReader::open(chunk, Format::of_watermark(VERSION))?.only_entry()?;
            self.watermark = watermark.unwrap_or(self.watermark);
            self.logged_watermark = self.watermark;
            return Ok(());
        }
        let mut entries = ChunkReader::open(chunk, self.format.clone())?;
        let Some(first) = entries.next_head::<Timestamp>()? else { return Ok(()) };
        let end = Timestamp::from_millis(chunk.bucket);
        let at = self.open(Window { start: first, end }, false);
        let Some(open) = self.open.get_mut(at) else { return Ok(()) };
        open.read(&mut entries)
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        // One that was reported before the state is reported again.
        self.watermark = self.logged_watermark;
        self.due = Timestamp::MAX;
        for (end, count) in self.emitted.clone() {
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
