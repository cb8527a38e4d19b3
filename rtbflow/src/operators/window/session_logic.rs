//! The state of sessions: for each key its sessions in order of time, and when to look at each.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::window::aggregate::Merge;
use crate::operators::window::assign::{Aggregation, Apply, Windows};
use crate::operators::window::early::EarlyResults;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::results::{Out, emit};
use crate::operators::window::session::Session;
use crate::operators::window::span::Window;
use crate::operators::window::visits::{Visit, Visits, touch};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{Format, KeyedState, SlotId};
use crate::time::Timestamp;

const VERSION: u16 = 1;

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for [`Session`] windows.
pub struct SessionLogic<K, T, F, L, A: Merge<T>> {
    key: F,
    windows: Session<L>,
    aggregate: A,
    early: EarlyResults,
    keys: KeyedState<K, Visits<A::State>>,
    /// The number of the last key that came.
    arrivals: u64,
    /// When to look at a session, in which order, and whose it is. Some are of sessions that are no more.
    timers: BTreeSet<(Timestamp, u64, SlotId)>,
    watermark: Timestamp,
    values: PhantomData<fn(T, L)>,
}

impl<K, T, F, L, A: Merge<T>> fmt::Debug for SessionLogic<K, T, F, L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionLogic({} keys)", self.keys.len())
    }
}

impl<K, T, F, L, A> SessionLogic<K, T, F, L, A>
where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
    T: Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    pub(crate) fn new(windows: Session<L>, statement: Aggregation<F, A>) -> Self {
        let Aggregation { key, aggregate, panes: _, early } = statement;
        let format = format!("{}, {}", Windows::layout(&windows), aggregate.describe());
        Self {
            key,
            windows,
            aggregate,
            early: EarlyResults::new(early),
            keys: KeyedState::new(Format::new(VERSION, format).emptied_at_end()),
            arrivals: 0,
            timers: BTreeSet::new(),
            watermark: Timestamp::MIN,
            values: PhantomData,
        }
    }

    fn lateness(&self) -> Duration {
        Windows::allowed_lateness(&self.windows)
    }

    /// A key without a session yet.
    fn add(&mut self, key: K) -> SlotId {
        self.arrivals += 1;
        let visits = Visits { arrival: self.arrivals, visits: Vec::new() };
        self.keys.insert(key, visits, Timestamp::MAX)
    }

    /// Whether a key has a session that goes on with one that lies there.
    fn goes_on(&self, slot: Option<SlotId>, own: &Window) -> bool {
        let visits = slot.and_then(|slot| self.keys.get(slot)).map(|(_, it)| &it.visits);
        visits.is_some_and(|visits| visits.iter().any(|visit| touch(&visit.window, own)))
    }

    /// Sees to it that a session is looked at when it is to be emitted, or to be dropped.
    fn arm(&mut self, slot: SlotId, at: usize) {
        let lateness = self.lateness();
        let visits =
            self.keys.peek_mut(slot).map(|(_, visits)| (visits.arrival, &mut visits.visits));
        let visit = visits.and_then(|(arrival, visits)| Some((arrival, visits.get_mut(at)?)));
        let Some((arrival, visit)) = visit else {
            return Error::broken("a session is to be looked at that is not there").spoil_epoch();
        };
        let due = if visit.passed { visit.window.end + lateness } else { visit.window.end };
        if visit.timer.is_none_or(|timer| timer > due) {
            visit.timer = Some(due);
            self.timers.insert((due, arrival, slot));
        }
    }

    fn emit(&self, slot: SlotId, at: usize, out: &mut Outbox<Out<K, T, Session<L>, A>>) {
        let known = self.keys.get(slot);
        let Some((key, visit)) = known.and_then(|(key, it)| Some((key, it.visits.get(at)?))) else {
            return Error::broken("a session is to be emitted that is not there").spoil_epoch();
        };
        let made = (&self.aggregate, &visit.state);
        emit::<K, T, Session<L>, A>((key, visit.window), made, out);
    }

    /// A timer is due: a session is emitted, dropped, or looked at later. Returns whether it was of one
    /// that is there: the timer may be that of several.
    fn look(
        &mut self,
        (time, arrival, slot): (Timestamp, u64, SlotId),
        out: &mut Outbox<Out<K, T, Session<L>, A>>,
    ) -> bool {
        let lateness = self.lateness();
        let visits = self.keys.peek_mut(slot).filter(|(_, visits)| visits.arrival == arrival);
        let mut visits = visits.into_iter().flat_map(|(_, it)| it.visits.iter_mut().enumerate());
        let Some((at, visit)) = visits.find(|(_, visit)| visit.timer == Some(time)) else {
            // The session went on and is looked at later, is one with another, or is over.
            return false;
        };
        visit.timer = None;
        let (before, end) = (visit.passed, visit.window.end);
        visit.passed |= end <= time;
        let over = visit.passed && end + lateness <= time;
        if visit.passed && !before {
            if self.early.ends_with(visit.unseen_count) {
                self.emit(slot, at, out);
            }
            self.keys.note_change(slot);
        }
        if over {
            self.forget(slot, at);
        } else {
            self.arm(slot, at);
        }
        true
    }

    /// Forgets a session, and its key if it has no other.
    fn forget(&mut self, slot: SlotId, at: usize) {
        let Some((_, visits)) = self.keys.get_mut(slot) else {
            return Error::broken("a session is over that is not there").spoil_epoch();
        };
        visits.visits.remove(at);
        if visits.visits.is_empty() {
            self.keys.remove(slot);
        }
    }

    /// Emits the result of a session early.
    fn emit_early(&mut self, slot: SlotId, at: usize, out: &mut Outbox<Out<K, T, Session<L>, A>>) {
        self.emit(slot, at, out);
        let visits = self.keys.get_mut(slot).map(|(_, visits)| &mut visits.visits);
        match visits.and_then(|visits| visits.get_mut(at)) {
            Some(visit) => visit.unseen_count = 0,
            None => Error::broken("a session was emitted that is not there").spoil_epoch(),
        }
    }
}

impl<K, T, F, L, A> Logic for SessionLogic<K, T, F, L, A>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    type In = T;
    type Out = Out<K, T, Session<L>, A>;
    const VERSION: u16 = VERSION;
    const RESUMES: bool = true;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Self::Out>) {
        let watermark = out.watermark_before();
        let own = Window { start: record.timestamp, end: record.timestamp + self.windows.gap };
        let key = (self.key)(&record.value);
        let known = self.keys.find(&key);
        if own.end + self.lateness() <= watermark && !self.goes_on(known, &own) {
            return self.windows.late().late(record, own.end, self.lateness(), out);
        }
        let slot = known.unwrap_or_else(|| self.add(key));
        let Some((_, visits)) = self.keys.get_mut(slot) else {
            return Error::broken("the key of a record was not added").spoil_epoch();
        };
        let at = visits.add(&record, own, &self.aggregate);
        let Some(visit) = visits.visits.get_mut(at) else {
            return Error::broken("the session of a record was not added").spoil_epoch();
        };
        visit.passed = visit.window.end <= watermark;
        if visit.passed {
            self.emit(slot, at, out);
        } else if self.early.count(&mut visit.unseen_count) {
            self.emit_early(slot, at, out);
        }
        self.arm(slot, at);
    }

    #[inline]
    fn due(&self) -> Timestamp {
        self.timers.first().map_or(Timestamp::MAX, |(due, ..)| *due)
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let _ = out;
        self.watermark = watermark;
        Some(watermark)
    }

    fn more(&mut self, out: &mut Outbox<Self::Out>) -> bool {
        for looked_count in 0..out.room() {
            match self.timers.first().copied().filter(|(due, ..)| *due <= self.watermark) {
                Some(timer) => {
                    self.timers.remove(&timer);
                    while self.look(timer, out) {}
                }
                None => return looked_count > 0,
            }
        }
        true
    }

    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        if !self.early.is_time(wall_clock) {
            return;
        }
        let (most, mut all) = (out.room_at_barrier(), true);
        // In the order in which they are looked at: that of a hash or a slot would not do.
        let timers: Vec<_> = self.timers.iter().copied().collect();
        for (time, arrival, slot) in timers {
            let visits = self.keys.get(slot).filter(|(_, it)| it.arrival == arrival);
            let unseen =
                |it: &Visit<A::State>| it.timer == Some(time) && it.unseen_count > 0 && !it.passed;
            let at = visits.and_then(|(_, it)| it.visits.iter().position(unseen));
            // Without it, nothing came since it was emitted, or the timer is of a session that is no more.
            if let Some(at) = at {
                if out.len() >= most {
                    all = false;
                    break;
                }
                self.emit_early(slot, at, out);
            }
        }
        self.early.emitted(all, wall_clock, out);
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.keys.snapshot(snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.keys.restore(chunk)
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        let slots: Vec<(SlotId, usize, u64)> = self
            .keys
            .iter()
            .map(|(slot, _, visits)| (slot, visits.visits.len(), visits.arrival))
            .collect();
        for (slot, visit_count, arrival) in slots {
            self.arrivals = self.arrivals.max(arrival);
            let visits = self.keys.peek_mut(slot).map(|(_, visits)| &mut visits.visits);
            for visit in visits.into_iter().flatten() {
                self.early.restored(&mut visit.unseen_count);
            }
            (0..visit_count).for_each(|at| self.arm(slot, at));
        }
    }
}

impl<K, T, F, A, L> Apply<K, T, F, A> for Session<L>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    type Logic = SessionLogic<K, T, F, L, A>;

    fn detail(&self) -> String {
        self.describe()
    }

    fn validate(&self, aggregate: &A) -> Result<()> {
        Error::all([Windows::validate(self), aggregate.validate()])
    }

    fn apply(self, statement: Aggregation<F, A>) -> Self::Logic {
        SessionLogic::new(self, statement)
    }
}
