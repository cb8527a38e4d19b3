//! The state of windows: window by window, so that closing one drains one table.

use std::collections::VecDeque;
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
    early: Option<Duration>,
    last_early: Option<Timestamp>,
    watermark: Timestamp,
    logged_watermark: Timestamp,
    /// In order of their ends; mostly one or two.
    open: VecDeque<Open<K, A::State>>,
    /// Windows that the place still has and that are to be dropped there.
    ended: Vec<i64>,
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
        Self {
            key,
            windows,
            aggregate,
            panes,
            early,
            last_early: None,
            watermark: Timestamp::MIN,
            logged_watermark: Timestamp::MIN,
            open: VecDeque::new(),
            ended: Vec::new(),
            values: PhantomData,
        }
    }

    /// The number of the window in `open`; it is opened if need be. The newest is looked at first.
    #[inline]
    fn open(&mut self, window: Window) -> usize {
        let newest = self.open.len().wrapping_sub(1);
        if self.open.get(newest).is_some_and(|open| open.window.end == window.end) {
            return newest;
        }
        let at = self.open.partition_point(|open| open.window.end < window.end);
        if self.open.get(at).is_none_or(|open| open.window.end != window.end) {
            self.open.insert(at, Open::new(window));
        }
        at
    }

    /// Whether windows that were put out are kept, to be corrected.
    fn keeps(&self) -> bool {
        self.panes == Panes::Accumulating && !self.windows.allowed_lateness().is_zero()
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
        let window = self.windows.window_of(record.timestamp);
        let passed = window.end <= self.watermark;
        if passed {
            if window.end + self.windows.allowed_lateness() <= self.watermark {
                return self.reject(&record, window, out);
            }
            if self.panes == Panes::Discarding {
                let mut state = self.aggregate.empty();
                self.aggregate.add(&mut state, &record);
                return out.push(self.result((self.key)(&record.value), window, &state));
            }
        }
        let key = (self.key)(&record.value);
        let early = self.early.is_some() && !passed;
        let at = self.open(window);
        let Self { open, aggregate, .. } = self;
        let Some(open) = open.get_mut(at) else { return };
        let position = match open.keys.position(&key) {
            Some(position) => position,
            None => {
                let slot = Slot { state: aggregate.empty(), changed: false, unseen: false };
                open.keys.insert_new(key, slot)
            }
        };
        let Some(slot) = open.keys.at_mut(position) else { return };
        aggregate.add(&mut slot.state, &record);
        if !std::mem::replace(&mut slot.changed, true) {
            open.changed.push(position);
        }
        if early && !std::mem::replace(&mut slot.unseen, true) {
            open.unseen.push(position);
        }
        if passed
            && let Some((key, slot)) = self.open.get(at).and_then(|open| open.keys.at(position))
        {
            out.push(self.result(key.clone(), window, &slot.state));
        }
    }

    #[inline]
    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let before = std::mem::replace(&mut self.watermark, watermark);
        if self.open.front().is_none_or(|open| watermark < open.window.end) {
            return Some(watermark);
        }
        let keeps = self.keeps();
        let lateness = self.windows.allowed_lateness();
        for open in &self.open {
            if open.window.end > before && open.window.end <= watermark {
                for (key, slot) in open.keys.iter() {
                    out.push(self.result(key.clone(), open.window, &slot.state));
                }
            }
        }
        while let Some(open) = self.open.front() {
            let end = if keeps { open.window.end + lateness } else { open.window.end };
            if watermark < end {
                break;
            }
            if open.logged {
                self.ended.push(open.window.end.as_millis());
            }
            self.open.pop_front();
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
        if self.keeps() && self.watermark > self.logged_watermark {
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
