//! The state of windows that each time belongs to one of: window by window, so that closing one drains
//! one table.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::element::Record;
use crate::error::Result;
use crate::operators::window::assign::{Early, Panes};
use crate::operators::window::{
    Aggregate, Assigner, LatePolicy, Statement, Window, Windowed, Windows,
};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::state::{Bucket, Chunk, Reader, Writer};
use crate::table::Table;
use crate::time::Timestamp;

/// The bucket of the watermark; no window ends there.
const WATERMARK: i64 = i64::MIN;

/// So many results are put out at a time.
const PORTION: usize = 128;

/// What comes out of windows `W` with the aggregate `A`.
pub(crate) type Out<K, T, W, A> =
    <<W as Windows>::Late as LatePolicy>::Out<Windowed<K, <A as Aggregate<T>>::Output>, T>;

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for windows that each
/// time belongs to exactly one of.
///
/// A window is a bucket of the state, known by its end; an entry is a key with its state and how many
/// of its records were not put out early.
pub struct WindowLogic<K, T, F, W, A: Aggregate<T>> {
    key: F,
    windows: W,
    aggregate: A,
    panes: Panes,
    /// How long a window that was put out is kept, to be corrected.
    kept: Duration,
    early: Early,
    last_early: Option<Timestamp>,
    /// The last watermark that was told.
    watermark: Timestamp,
    logged_watermark: Timestamp,
    /// In order of their ends; mostly one or two.
    open: Vec<Open<K, A::State>>,
    /// The lowest watermark at which a window is put out or let go of.
    due: Timestamp,
    /// Windows that are over and still to be put out.
    closing: VecDeque<(Window, std::vec::IntoIter<(K, Slot<A::State>)>)>,
    /// Windows that the place still has and that are to be dropped there.
    ended: Vec<i64>,
    /// A window that is over, for the memory of its table.
    spare: Option<Open<K, A::State>>,
    values: PhantomData<fn(T)>,
}

/// A window that has not ended for good.
struct Open<K, S> {
    window: Window,
    /// Whether the watermark has passed its end.
    passed: bool,
    /// Whether it is kept and still to be put out.
    unput: bool,
    keys: Table<K, Slot<S>>,
    /// Entries before `fresh` that changed since the last barrier, by their number.
    changed: Vec<usize>,
    /// Entries from this number on are new since the last barrier.
    fresh: usize,
    /// Entries with something that was not put out early.
    unseen: Vec<usize>,
    bucket: Bucket,
    /// Whether the place has anything of it.
    logged: bool,
}

struct Slot<S> {
    state: S,
    /// How many records were not put out early.
    unseen_count: u32,
    changed: bool,
}

impl<K: Hash + Eq, S> Open<K, S> {
    /// Adds a record of a key; returns the key's number.
    #[inline]
    fn add<T, A>(&mut self, key: K, record: &Record<T>, aggregate: &A) -> usize
    where
        A: Aggregate<T, State = S>,
    {
        let empty = || Slot { state: aggregate.empty(), unseen_count: 0, changed: true };
        let (position, slot) = self.keys.entry(key, empty);
        let Some(slot) = slot else { return position };
        aggregate.add(&mut slot.state, record);
        if !slot.changed {
            slot.changed = true;
            self.changed.push(position);
        }
        position
    }
}

impl<K, S> Open<K, S> {
    fn new(window: Window) -> Self {
        Self {
            window,
            passed: false,
            unput: false,
            keys: Table::default(),
            changed: Vec::new(),
            fresh: 0,
            unseen: Vec::new(),
            bucket: Bucket::default(),
            logged: false,
        }
    }
}

impl<K: Hash + Eq, S> Open<K, S> {
    fn change_count(&self) -> usize {
        self.changed.len() + self.keys.len() - self.fresh
    }

    /// What changed was handed over.
    fn unchanged(&mut self) {
        let fresh = std::mem::replace(&mut self.fresh, self.keys.len());
        for position in self.changed.drain(..).chain(fresh..self.keys.len()) {
            if let Some(slot) = self.keys.at_mut(position) {
                slot.changed = false;
            }
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
    K: Hash + Eq + Clone + Send + 'static,
    T: Send + 'static,
    W: Assigner,
    A: Aggregate<T>,
{
    pub(crate) fn new(windows: W, statement: Statement<F, A>) -> Self {
        let Statement { key, aggregate, panes, early } = statement;
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
            due: Timestamp::MAX,
            closing: VecDeque::new(),
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

    /// Whether windows that were put out are kept.
    #[inline]
    fn keeps(&self) -> bool {
        !self.kept.is_zero()
    }

    /// A record of another window than the newest, or of one that was put out.
    #[inline(never)]
    fn on_other_record(&mut self, record: Record<T>, out: &mut Outbox<Out<K, T, W, A>>)
    where
        F: Fn(&T) -> K,
    {
        let (window, watermark) =
            (self.windows.window_of(record.timestamp), out.watermark_before());
        let passed = window.end <= watermark;
        if passed && window.end + self.windows.allowed_lateness() <= watermark {
            return self.windows.late().late(record, window.end, out);
        }
        let key = (self.key)(&record.value);
        if passed && self.panes == Panes::Discarding {
            let mut state = self.aggregate.empty();
            self.aggregate.add(&mut state, &record);
            return out.push(result::<K, T, W, A>(key, window, self.aggregate.output(&state)));
        }
        let at = self.open(window, passed);
        let Some(open) = self.open.get_mut(at) else { return };
        let position = open.add(key, &record, &self.aggregate);
        if passed {
            if let Some((key, slot)) = open.keys.at(position) {
                out.push(result::<K, T, W, A>(
                    key.clone(),
                    window,
                    self.aggregate.output(&slot.state),
                ));
            }
        } else {
            let (early, panes) = (self.early, self.panes);
            early_after::<K, T, W, A>(open, position, (early, panes), &self.aggregate, out);
        }
    }

    /// The watermark has risen: the windows that it passed are to be put out, and those that are over
    /// are let go of.
    #[inline(never)]
    fn pass(&mut self) {
        let (watermark, kept) = (self.watermark, self.kept);
        let over = self.open.partition_point(|open| open.window.end + kept <= watermark);
        for mut open in self.open.drain(..over) {
            if open.passed {
                open.keys.drain().for_each(drop);
            } else {
                self.closing.push_back((open.window, open.keys.take()));
            }
            if open.logged {
                self.ended.push(open.window.end.as_millis());
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
                open.unput = true;
            }
        }
    }

    /// Puts out what changed in open windows since they were last put out early.
    fn put_out_early(&mut self, out: &mut Outbox<Out<K, T, W, A>>) {
        for open in self.open.iter_mut().filter(|open| !open.passed) {
            if self.panes == Panes::Discarding {
                for (key, slot) in open.keys.drain() {
                    out.push(result::<K, T, W, A>(
                        key,
                        open.window,
                        self.aggregate.output(&slot.state),
                    ));
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
            for position in open.unseen.drain(..) {
                if let Some(slot) = open.keys.at_mut(position) {
                    slot.unseen_count = 0;
                }
                if let Some((key, slot)) = open.keys.at(position) {
                    let key = key.clone();
                    out.push(result::<K, T, W, A>(
                        key,
                        open.window,
                        self.aggregate.output(&slot.state),
                    ));
                }
            }
        }
        self.open.retain(|open| !open.keys.is_empty());
    }
}

/// A result of a window.
#[inline]
pub(crate) fn result<K, T, W, A>(
    key: K,
    window: Window,
    value: A::Output,
) -> Record<Out<K, T, W, A>>
where
    K: Send + 'static,
    T: Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    let last = window.end - Duration::from_millis(1);
    W::Late::result::<_, T>(Record::derived(Windowed { key, window, value }, last))
}

/// A record of the entry with this number was added to an open window, of which something may be put out
/// early.
#[inline]
fn early_after<K, T, W, A>(
    open: &mut Open<K, A::State>,
    position: usize,
    (early, panes): (Early, Panes),
    aggregate: &A,
    out: &mut Outbox<Out<K, T, W, A>>,
) where
    K: Hash + Eq + Clone + Send + 'static,
    T: Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    if early == Early::Never {
        return;
    }
    let Some(slot) = open.keys.at_mut(position) else { return };
    slot.unseen_count = slot.unseen_count.saturating_add(1);
    match early {
        Early::Never => {}
        Early::Every(_) if slot.unseen_count == 1 => open.unseen.push(position),
        Early::Every(_) => {}
        Early::Records(after) if slot.unseen_count < after => {}
        Early::Records(_) => {
            slot.unseen_count = 0;
            let Some((key, slot)) = open.keys.at(position) else { return };
            out.push(result::<K, T, W, A>(key.clone(), open.window, aggregate.output(&slot.state)));
            if panes == Panes::Discarding
                && let Some(slot) = open.keys.at_mut(position)
            {
                slot.state = aggregate.empty();
            }
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
    const VERSION: u16 = 2;

    #[inline]
    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Self::Out>) {
        // Nearly every record belongs to the newest window.
        match self.open.last_mut() {
            Some(open) if open.window.holds(record.timestamp) && !open.passed => {
                let position = open.add((self.key)(&record.value), &record, &self.aggregate);
                let (early, panes) = (self.early, self.panes);
                early_after::<K, T, W, A>(open, position, (early, panes), &self.aggregate, out);
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
        // Puts out some of what is due, the windows in order of their ends.
        let never = self.early == Early::Never;
        let wanted = |slot: &Slot<A::State>| never || slot.unseen_count > 0;
        let mut room = PORTION;
        while let Some((window, entries)) = self.closing.front_mut() {
            let wanted = entries.filter(|(_, slot)| wanted(slot));
            for (key, slot) in wanted.take(room) {
                room -= 1;
                out.push(result::<K, T, W, A>(key, *window, self.aggregate.output(&slot.state)));
            }
            if room == 0 {
                return true;
            }
            self.closing.pop_front();
        }
        // Those that are kept after them, one at a time.
        let Some(open) = self.open.iter_mut().find(|open| open.unput) else {
            return room < PORTION;
        };
        open.unput = false;
        for (key, slot) in open.keys.iter().filter(|(_, slot)| wanted(slot)) {
            out.push(result::<K, T, W, A>(
                key.clone(),
                open.window,
                self.aggregate.output(&slot.state),
            ));
        }
        true
    }

    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        let Early::Every(every) = self.early else { return };
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
            let change_count = open.change_count();
            if change_count == 0 {
                continue;
            }
            let bucket = open.window.end.as_millis();
            let mut entries = Writer::new(Self::VERSION);
            entries.put(&open.window.start);
            open.logged = true;
            let mut put = |(key, slot): &(K, Slot<A::State>)| {
                entries.put(&(key, &slot.state, slot.unseen_count));
            };
            if open.bucket.rewrites(open.keys.len(), change_count) {
                open.keys.iter().for_each(&mut put);
                snapshot.replace(bucket, entries);
            } else {
                let changed = open.changed.iter().copied().chain(open.fresh..open.keys.len());
                changed.filter_map(|position| open.keys.at(position)).for_each(&mut put);
                snapshot.append(bucket, entries);
            }
            open.unchanged();
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
        let at = self.open(Window { start: first, end }, false);
        let Some(open) = self.open.get_mut(at) else { return Ok(()) };
        open.logged = true;
        while let Some((key, state, unseen_count)) = entries.next_entry::<(K, A::State, u32)>()? {
            open.bucket.restored(1);
            let slot = Slot { state, unseen_count, changed: false };
            match open.keys.find_mut(&key) {
                Some(known) => *known = slot,
                None => _ = open.keys.insert_new(key, slot),
            }
        }
        open.fresh = open.keys.len();
        Ok(())
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        self.due = Timestamp::MAX;
        for open in &mut self.open {
            open.passed = open.window.end <= self.watermark;
            let due = if open.passed { open.window.end + self.kept } else { open.window.end };
            self.due = self.due.min(due);
            // When it was put out early, nobody knows: it is put out once more.
            if let Early::Every(_) = self.early {
                open.unseen = (0..open.keys.len()).collect();
                for position in 0..open.keys.len() {
                    if let Some(slot) = open.keys.at_mut(position) {
                        slot.unseen_count = slot.unseen_count.max(1);
                    }
                }
            }
        }
    }
}
