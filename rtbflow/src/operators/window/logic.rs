//! The state of windows: window by window, so that closing one drains one table.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::barrier::Class;
use crate::element::Record;
use crate::error::{BadRecord, Result};
use crate::operators::window::{Aggregate, Late, Panes, Window, Windowed, Windows};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::state::{Bucket, Chunk, Reader, Writer};
use crate::table::Table;
use crate::time::Timestamp;

/// The bucket of the watermark; no window ends there.
const WATERMARK: i64 = i64::MIN;

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate).
///
/// A window is a bucket of the state, known by its end; an entry is a key with its state and the
/// window's start.
pub struct WindowLogic<K, T, F, W, A: Aggregate<T>> {
    key: F,
    windows: W,
    aggregate: A,
    panes: Panes,
    /// How long a window that was put out is kept, to be corrected.
    kept: Duration,
    early: Option<Duration>,
    last_early: Option<Timestamp>,
    watermark: Timestamp,
    logged_watermark: Timestamp,
    /// In order of their ends; mostly one or two.
    open: Vec<Open<K, A::State>>,
    /// The lowest end of a window that has not been put out.
    next_end: Timestamp,
    /// Windows that the place still has and that are to be dropped there.
    ended: Vec<i64>,
    /// A window that is over, for the memory of its table.
    spare: Option<Open<K, A::State>>,
    values: PhantomData<fn(T)>,
}

/// A window that has not ended for good.
struct Open<K, S> {
    window: Window,
    keys: Table<K, Slot<S>>,
    /// Entries that changed since the last barrier, by their number.
    changed: Vec<usize>,
    /// Entries that changed since they were last put out early.
    unseen: Vec<usize>,
    bucket: Bucket,
    /// Whether the place has anything of it.
    logged: bool,
}

struct Slot<S> {
    state: S,
    changed: bool,
    unseen: bool,
}

impl<K: Hash + Eq, S> Open<K, S> {
    /// Adds a record of a key; returns the key's number.
    #[inline]
    fn add<T, A>(&mut self, key: K, record: &Record<T>, aggregate: &A, early: bool) -> usize
    where
        A: Aggregate<T, State = S>,
    {
        let empty = || Slot { state: aggregate.empty(), changed: false, unseen: false };
        let (position, slot) = self.keys.entry(key, empty);
        let Some(slot) = slot else { return position };
        aggregate.add(&mut slot.state, record);
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(position);
        }
        if early && !std::mem::replace(&mut slot.unseen, true) {
            self.unseen.push(position);
        }
        position
    }
}

impl<K, S> Open<K, S> {
    fn new(window: Window) -> Self {
        Self {
            window,
            keys: Table::default(),
            changed: Vec::new(),
            unseen: Vec::new(),
            bucket: Bucket::default(),
            logged: false,
        }
    }
}

impl<K, T, F, W, A: Aggregate<T>> fmt::Debug for WindowLogic<K, T, F, W, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowLogic({} open, watermark {})", self.open.len(), self.watermark)
    }
}

impl<K, T, F, W, A> WindowLogic<K, T, F, W, A>
where
    K: Hash + Eq + Clone,
    W: Windows,
    A: Aggregate<T>,
{
    pub(crate) fn new(
        key: F,
        windows: W,
        aggregate: A,
        panes: Panes,
        early: Option<Duration>,
    ) -> Self {
        let kept = match panes {
            Panes::Accumulating => windows.allowed_lateness(),
            Panes::Discarding => Duration::ZERO,
        };
        Self {
            key,
            windows,
            aggregate,
            panes,
            kept,
            early,
            last_early: None,
            watermark: Timestamp::MIN,
            logged_watermark: Timestamp::MIN,
            open: Vec::new(),
            next_end: Timestamp::MAX,
            ended: Vec::new(),
            spare: None,
            values: PhantomData,
        }
    }

    /// The number of the window in `open`; it is opened if need be.
    fn open(&mut self, window: Window) -> usize {
        let at = self.open.partition_point(|open| open.window.end < window.end);
        if self.open.get(at).is_none_or(|open| open.window.end != window.end) {
            let spare = self.spare.take().map(|spare| Open { window, ..spare });
            self.open.insert(at, spare.unwrap_or_else(|| Open::new(window)));
        }
        if window.end > self.watermark {
            self.next_end = self.next_end.min(window.end);
        }
        at
    }

    /// Whether windows that were put out are kept.
    #[inline]
    fn keeps(&self) -> bool {
        !self.kept.is_zero()
    }

    fn result(&self, key: K, window: Window, state: &A::State) -> Record<Windowed<K, A::Output>> {
        let value = self.aggregate.output(state);
        let last = window.end - Duration::from_millis(1);
        Record::derived(Windowed { key, window, value }, last)
    }

    fn reject(&self, record: &Record<T>, window: Window, out: &mut Outbox<Windowed<K, A::Output>>) {
        let class = Class::Late;
        match self.windows.late() {
            Late::Drop => out.account(class, record.origin),
            Late::DeadLetter => {
                let reason = format!(
                    "late: its window ended at {}, the watermark is {}",
                    window.end, self.watermark
                );
                out.dead_letter(class, record.origin, BadRecord::new(reason));
            }
        }
    }

    /// A record of another window than the newest, or of one that was put out.
    fn on_other_record(&mut self, record: Record<T>, out: &mut Outbox<Windowed<K, A::Output>>)
    where
        F: Fn(&T) -> K,
    {
        let window = self.windows.window_of(record.timestamp);
        let passed = window.end <= self.watermark;
        if passed && window.end + self.windows.allowed_lateness() <= self.watermark {
            return self.reject(&record, window, out);
        }
        let key = (self.key)(&record.value);
        if passed && self.panes == Panes::Discarding {
            let mut state = self.aggregate.empty();
            self.aggregate.add(&mut state, &record);
            return out.push(self.result(key, window, &state));
        }
        let at = self.open(window);
        let early = self.early.is_some() && !passed;
        let Some(open) = self.open.get_mut(at) else { return };
        let position = open.add(key, &record, &self.aggregate, early);
        if passed
            && let Some((key, slot)) = self.open.get(at).and_then(|open| open.keys.at(position))
        {
            out.push(self.result(key.clone(), window, &slot.state));
        }
    }

    /// The watermark has risen: puts out the windows that it passed, and lets go of those that are over.
    fn put_out(&mut self, before: Timestamp, out: &mut Outbox<Windowed<K, A::Output>>) {
        let (watermark, kept) = (self.watermark, self.kept);
        let mut open = std::mem::take(&mut self.open);
        let over = open.partition_point(|open| open.window.end + kept <= watermark);
        for mut open in open.drain(..over) {
            let due = open.window.end > before;
            for (key, slot) in open.keys.drain().filter(|_| due) {
                out.push(self.result(key, open.window, &slot.state));
            }
            if open.logged {
                self.ended.push(open.window.end.as_millis());
            }
            self.spare = Some(Open { keys: open.keys, ..Open::new(open.window) });
        }
        let due =
            |open: &&Open<K, A::State>| open.window.end > before && open.window.end <= watermark;
        for open in open.iter().filter(due) {
            for (key, slot) in open.keys.iter() {
                out.push(self.result(key.clone(), open.window, &slot.state));
            }
        }
        let next = open.iter().map(|open| open.window.end).find(|end| *end > watermark);
        self.next_end = next.unwrap_or(Timestamp::MAX);
        self.open = open;
    }

    /// Puts out what changed in open windows since they were last put out early.
    fn put_out_early(&mut self, out: &mut Outbox<Windowed<K, A::Output>>) {
        let mut open = std::mem::take(&mut self.open);
        for open in &mut open {
            if open.window.end <= self.watermark {
                continue;
            }
            if self.panes == Panes::Discarding {
                for (key, slot) in open.keys.drain() {
                    out.push(self.result(key, open.window, &slot.state));
                }
                open.changed.clear();
                open.unseen.clear();
                if std::mem::take(&mut open.logged) {
                    open.bucket = Bucket::default();
                    self.ended.push(open.window.end.as_millis());
                }
                continue;
            }
            for position in std::mem::take(&mut open.unseen) {
                if let Some(slot) = open.keys.at_mut(position) {
                    slot.unseen = false;
                }
                if let Some((key, slot)) = open.keys.at(position) {
                    out.push(self.result(key.clone(), open.window, &slot.state));
                }
            }
        }
        self.open = open;
        self.open.retain(|open| !open.keys.is_empty());
    }
}

impl<K, T, F, W, A> Logic for WindowLogic<K, T, F, W, A>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    type In = T;
    type Out = Windowed<K, A::Output>;
    const VERSION: u16 = 1;

    #[inline]
    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Self::Out>) {
        // Nearly every record belongs to the newest window.
        let (at, watermark, early) = (record.timestamp, self.watermark, self.early.is_some());
        match self.open.last_mut() {
            Some(open) if open.window.holds(at) && watermark < open.window.end => {
                open.add((self.key)(&record.value), &record, &self.aggregate, early);
            }
            _ => self.on_other_record(record, out),
        }
    }

    #[inline]
    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let before = std::mem::replace(&mut self.watermark, watermark);
        if watermark >= self.next_end || self.keeps() {
            self.put_out(before, out);
        }
        Some(watermark)
    }

    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        let Some(every) = self.early else { return };
        let last = *self.last_early.get_or_insert(wall_clock);
        if wall_clock >= last + every {
            self.last_early = Some(wall_clock);
            self.put_out_early(out);
        }
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        for bucket in self.ended.drain(..) {
            snapshot.drop_bucket(bucket);
        }
        for open in &mut self.open {
            if open.changed.is_empty() {
                continue;
            }
            let bucket = open.window.end.as_millis();
            let mut entries = Writer::new(Self::VERSION);
            entries.put(&open.window.start);
            open.logged = true;
            if open.bucket.rewrites(open.keys.len(), open.changed.len()) {
                open.keys.iter().for_each(|(key, slot)| entries.put(&(key, &slot.state)));
                snapshot.replace(bucket, entries);
            } else {
                let changed = open.changed.iter().filter_map(|position| open.keys.at(*position));
                changed.for_each(|(key, slot)| entries.put(&(key, &slot.state)));
                snapshot.append(bucket, entries);
            }
            for position in open.changed.drain(..) {
                if let Some(slot) = open.keys.at_mut(position) {
                    slot.changed = false;
                }
            }
        }
        // The end of all time is that of one run: another may go on from here.
        if self.keeps() && self.watermark > self.logged_watermark && self.watermark < Timestamp::MAX
        {
            self.logged_watermark = self.watermark;
            let mut entry = Writer::new(Self::VERSION);
            entry.put(&self.watermark);
            snapshot.replace(WATERMARK, entry);
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        let mut entries = Reader::open(chunk, Self::VERSION)?;
        let Some(first) = entries.next_entry::<Timestamp>()? else { return Ok(()) };
        if chunk.bucket == WATERMARK {
            self.watermark = first;
            self.logged_watermark = first;
            return Ok(());
        }
        let end = Timestamp::from_millis(chunk.bucket);
        let at = self.open(Window { start: first, end });
        let early = self.early.is_some();
        let Some(open) = self.open.get_mut(at) else { return Ok(()) };
        open.logged = true;
        while let Some((key, state)) = entries.next_entry::<(K, A::State)>()? {
            open.bucket.restored(1);
            match open.keys.find_mut(&key) {
                Some(slot) => slot.state = state,
                None => {
                    let slot = Slot { state, changed: false, unseen: early };
                    let position = open.keys.insert_new(key, slot);
                    if early {
                        open.unseen.push(position);
                    }
                }
            }
        }
        Ok(())
    }
}
