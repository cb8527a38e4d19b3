//! Whose turn it is: finds the state of a key, lets the logic have it, and puts it back.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::Result;
use crate::operators::process::timers::{Edit, Queue, TimeDomain};
use crate::operators::process::turn::{Cause, KeyEntry};
use crate::operators::process::{Process, Retention};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{ChunkReader, ChunkWriter, Format, KeyedState};
use crate::time::Timestamp;

/// The logic behind [`KeyedFlow::process`](crate::KeyedFlow::process).
pub(crate) struct ProcessLogic<K, T, F, P: Process<K, T>> {
    key: F,
    pub(super) retention: Retention,
    pub(super) process: P,
    pub(super) kept: KeyedState<K, KeyEntry<P::State>>,
    pub(super) event_timers: Queue,
    pub(super) wall_timers: Queue,
    pub(super) next_number: u64,
    /// What the present turn did to the timers of its key.
    pub(super) edits: Vec<Edit>,
    pub(super) watermark: Timestamp,
    /// While event timers are worked off.
    working: Option<Working>,
    /// The same as the place knows it, with the watermark before.
    logged_working: Option<(Timestamp, Working)>,
    /// After a restart, the watermark that held when the last barrier passed: it is passed on before what is
    /// still due.
    held: Option<Timestamp>,
    /// Whether the end of all time has come.
    ended: Option<Ended>,
    values: PhantomData<fn(T)>,
}

/// The watermark whose timers are being worked off and, at the end of all time, the number of the first timer
/// that is not among them.
type Working = (Timestamp, Option<u64>);

/// A run has come to the end of all time, and timers were set by that: they wait until there is another, of which
/// a restart alone is no sign.
#[derive(Debug, Clone, Copy)]
struct Ended {
    working: Working,
    /// Whether the watermark that held before the end was reported: a restart begins with it.
    reported: bool,
}

/// The bucket that says so; keys have others.
const WORKING: i64 = -1;
const TIMERS: &str = "timers that are due";

impl<K, T, F, P: Process<K, T>> fmt::Debug for ProcessLogic<K, T, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessLogic({} keys, watermark {})", self.kept.len(), self.watermark)
    }
}

impl<K, T, F, P> ProcessLogic<K, T, F, P>
where
    K: Hash + Eq,
    P: Process<K, T>,
{
    pub(in crate::operators) fn new(key: F, retention: Retention, process: P) -> Self {
        let kept = KeyedState::new(Format::new(P::VERSION, process.describe()));
        Self {
            key,
            retention,
            process,
            kept,
            event_timers: Queue::default(),
            wall_timers: Queue::default(),
            next_number: 0,
            edits: Vec::new(),
            watermark: Timestamp::MIN,
            working: None,
            logged_working: None,
            held: None,
            ended: None,
            values: PhantomData,
        }
    }

    /// How many keys something is kept of.
    #[cfg(test)]
    pub(super) fn kept_count(&self) -> usize {
        self.kept.len()
    }

    /// The turn of the next event timer that is due at this watermark; false if none is.
    fn work_off_one(&mut self, watermark: Timestamp, out: &mut Outbox<P::Output>) -> bool {
        // No more are due.
        let Some((at, number, slot)) = self.event_timers.pop(watermark) else { return false };
        self.take(slot, number);
        self.turn(slot, Cause::EventTimer(at), out, |process, turn| {
            process.on_event_timer(at, turn);
        });
        true
    }

    /// The event timers that were set for a time that the watermark has reached.
    fn work_off(&mut self, out: &mut Outbox<P::Output>) {
        if self.event_timers.next().is_some_and(|next| next <= self.watermark) {
            while self.work_off_one(self.watermark, out) {}
        }
    }

    /// What had come to the end of all time goes on.
    #[cold]
    fn begin_anew(&mut self) {
        self.ended = None;
        self.event_timers.worked_off();
    }

    /// No more event timers are due.
    fn worked_off(&mut self, (watermark, first_set): Working) {
        self.working = None;
        if watermark == Timestamp::MAX {
            // It is that of one run: another may go on from here, but not with what was set by it.
            return match first_set.filter(|_| self.event_timers.defers()) {
                Some(_) => {
                    self.ended = Some(Ended { working: (watermark, first_set), reported: false })
                }
                None => self.event_timers.worked_off(),
            };
        }
        self.watermark = watermark;
        self.kept.forget_where(watermark, |kept| kept.timers.is_empty());
    }

    /// The timers of all keys are set again, those of event time that were set before this one as what was due is
    /// worked off.
    fn restore_timers(&mut self, first_set: u64) {
        for (slot, _, kept) in self.kept.iter() {
            for timer in &kept.timers {
                self.next_number = self.next_number.max(timer.number + 1);
                match timer.clock {
                    TimeDomain::Event if timer.number < first_set => {
                        self.event_timers.put(*timer, slot)
                    }
                    TimeDomain::Event => self.event_timers.set(*timer, slot),
                    TimeDomain::Wall => self.wall_timers.set(*timer, slot),
                }
            }
        }
    }
}

impl<K, T, F, P> Logic for ProcessLogic<K, T, F, P>
where
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    P: Process<K, T>,
{
    type In = T;
    type Out = P::Output;
    const VERSION: u16 = P::VERSION;
    const RESUMES: bool = true;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<P::Output>) {
        if self.ended.is_some() {
            self.begin_anew();
        }
        let key = (self.key)(&record.value);
        let found = match self.retention.by_record {
            true => self.kept.find_at_if(&key, record.timestamp, |kept| kept.timers.is_empty()),
            false => self.kept.find(&key),
        };
        match found {
            Some(slot) => self.turn(slot, Cause::Record(record.timestamp), out, |process, turn| {
                process.on_record(record, turn);
            }),
            None => self.first_turn(key, record, out),
        }
        self.work_off(out);
    }

    #[inline]
    fn results_due(&self) -> Timestamp {
        self.event_timers.next().unwrap_or(Timestamp::MAX)
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        _out: &mut Outbox<P::Output>,
    ) -> Option<Timestamp> {
        let is_last = watermark == Timestamp::MAX;
        if let Some(ended) = &mut self.ended {
            if is_last {
                return Some(watermark);
            }
            if std::mem::replace(&mut ended.reported, true) {
                self.begin_anew();
            }
        }
        if !is_last && self.event_timers.next().is_none_or(|next| next > watermark) {
            self.worked_off((watermark, None));
            return Some(watermark);
        }
        if is_last {
            // Whoever sets a timer by a timer would never come to the end of all time.
            self.event_timers.defer(watermark);
        }
        self.working = Some((watermark, is_last.then_some(self.next_number)));
        Some(watermark)
    }

    fn more(&mut self, out: &mut Outbox<P::Output>) -> bool {
        // Without it, no timers are being worked off.
        let Some(working) = self.working else { return false };
        let watermark = working.0;
        if let Some(held) = self.held.take().filter(|held| *held > Timestamp::MIN) {
            out.watermark(held);
            return true;
        }
        let room = out.room();
        while out.len() < room {
            if !self.work_off_one(watermark, out) {
                self.worked_off(working);
                return out.len() > 0;
            }
        }
        true
    }

    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<P::Output>) {
        // Those that are left are due at the next barrier.
        let room = out.room_at_barrier();
        self.wall_timers.defer(wall_clock);
        while out.len() < room
            && let Some((at, number, slot)) = self.wall_timers.pop(wall_clock)
        {
            self.take(slot, number);
            self.turn(slot, Cause::WallTimer(wall_clock), out, |process, turn| {
                process.on_wall_timer(at, turn);
            });
        }
        self.wall_timers.worked_off();
        self.work_off(out);
        if let Some(next) = self.wall_timers.next() {
            out.wake_at(next);
        }
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.kept.snapshot(snapshot);
        let working = self.working.or(self.ended.map(|ended| ended.working));
        let working = working.map(|working| (self.watermark, working));
        if self.logged_working != working {
            self.logged_working = working;
            match working {
                Some(working) => {
                    let mut entry = ChunkWriter::new(Format::new(P::VERSION, TIMERS));
                    entry.put(&working);
                    snapshot.replace(WORKING, entry);
                }
                None => snapshot.drop_bucket(WORKING),
            }
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        if chunk.bucket == WORKING {
            self.logged_working =
                ChunkReader::open(chunk, Format::new(P::VERSION, TIMERS))?.only_entry()?;
            return Ok(());
        }
        self.kept.restore(chunk)
    }

    fn restored(&mut self, out: &mut Outbox<P::Output>) {
        // What was being worked off is due, whatever the watermark will be: it goes on there.
        self.working = self.logged_working.map(|(_, working)| working);
        self.held = self.logged_working.map(|(before, _)| before);
        self.watermark = self.held.unwrap_or(self.watermark);
        let first_set = match self.working {
            Some((watermark, Some(first_set))) => {
                self.event_timers.defer(watermark);
                // Of those before it, the last may be gone.
                self.next_number = first_set;
                first_set
            }
            _ => u64::MAX,
        };
        self.restore_timers(first_set);
        if let Some(next) = self.wall_timers.next() {
            out.wake_at(next);
        }
    }
}
