//! Logic of one's own with state and timers for each key.
//!
//! A record, an event timer or a wall timer of a key is that key's *turn*: the logic is handed the key's
//! state and may emit records, change or clear the state and set timers. Everything that it leaves
//! behind is state of the operator, timers too: a restart finds them as they were.

mod logic;
#[cfg(test)]
mod tests;
mod timers;
mod turn;
mod turns;

use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use logic::ProcessLogic;
pub use turn::Turn;

use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::stateful::Stateful;
use crate::record::Record;
use crate::state::short_name;
use crate::time::Timestamp;

/// What is done at each turn of a key; see [`KeyedFlow::process`].
///
/// It must depend on nothing but its arguments: a restart repeats it.
pub trait Process<K, T>: Send + 'static {
    /// What is kept for a key.
    type State: Serialize + DeserializeOwned + Send + 'static;
    /// What is emitted.
    type Output: Send + 'static;

    /// The version of the state's form: to be raised when its type changes.
    const VERSION: u16 = 1;

    /// What it does, in a word or two: state that another process has stored is refused, also where it is of
    /// the same type. The name of the type, unless it says otherwise; one whose type gets another name, and whose
    /// stored state is to be read on, says the former.
    fn describe(&self) -> String {
        short_name::<Self>().to_owned()
    }

    /// A record of the key came.
    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, Self::State, Self::Output>);

    /// The watermark has reached a time that the key had set an event timer for: all records of earlier
    /// event time have been seen.
    fn on_event_timer(&mut self, at: Timestamp, turn: &mut Turn<'_, K, Self::State, Self::Output>) {
        let _ = (at, turn);
    }

    /// The wall clock has reached a time that the key had set a wall timer for.
    fn on_wall_timer(&mut self, at: Timestamp, turn: &mut Turn<'_, K, Self::State, Self::Output>) {
        let _ = (at, turn);
    }
}

/// How long the state of a key is kept.
///
/// A plain [`Duration`] will do for [`after_change`](Self::after_change).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    duration: Option<Duration>,
    /// Whether a record that comes later than that ends it too.
    by_record: bool,
}

impl Retention {
    /// Until the watermark is this much past the last change of the state by event time, or, if that is later,
    /// past the key's last timer. A record behind the watermark counts as if it were of the watermark's time.
    #[must_use]
    pub fn after_change(duration: Duration) -> Self {
        Self { duration: Some(duration), by_record: false }
    }

    /// As [`after_change`](Self::after_change), and for a record whose own event time is this much past the last
    /// change or more: it ends the silence, and finds no state, though the watermark, which it is to raise, is not
    /// there yet. One that comes out of order after it finds what it has left.
    #[must_use]
    pub fn after_silence(duration: Duration) -> Self {
        Self { duration: Some(duration), by_record: true }
    }

    /// Until the logic clears it. It has to do so for every key at some time: nothing else bounds what is
    /// kept.
    #[must_use]
    pub fn until_cleared() -> Self {
        Self { duration: None, by_record: false }
    }

    /// When what changed at this time is forgotten.
    fn until(self, changed: Timestamp) -> Timestamp {
        self.duration.map_or(Timestamp::MAX, |duration| changed + duration)
    }
}

impl From<Duration> for Retention {
    fn from(duration: Duration) -> Self {
        Self::after_change(duration)
    }
}

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Hands each record to logic of one's own, with the state of its key, and calls it back when a timer
    /// is due. `name` is what state and timers are kept by.
    ///
    /// Where a window, [`latest_by`](Self::latest_by) or [`dedup`](Self::dedup) says the same, take that:
    /// it keeps less. For state that belongs to no key take [`logic`](Flow::logic).
    ///
    /// # Time and state
    /// Keeps one state per key for as long as [`Retention`] says, and the key's timers until they are due or
    /// cancelled. A key that has timers is not forgotten before they are due.
    ///
    /// An *event timer* is due when the watermark reaches its time. Those that are due come in order of
    /// their times, at the same time in the order in which they were set. One that is set for a time that
    /// the watermark has reached already is due at once. The end of all time makes due what is set then,
    /// and nothing that is set by it: that stays for the next run in which a record comes, or time goes on.
    ///
    /// A *wall timer* is due at the first barrier whose clock has reached its time, in the same order;
    /// what it emits belongs to the epoch that this barrier ends. The job sends a barrier at that
    /// time, also where no record comes. One that is set for a time that has passed, by a record, is due at
    /// the next barrier: *now* is said by `set_wall_timer(Timestamp::MIN)`. What depends on the wall clock
    /// is not a function of the records, but it is done once: turn, output and state are one epoch.
    ///
    /// # Examples
    /// Says which devices have gone silent for half an hour:
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::process::{Process, Turn};
    /// use rtbflow::testing::{run, timed};
    /// use rtbflow::{Record, Timestamp};
    ///
    /// const SILENCE: Duration = Duration::from_mins(30);
    ///
    /// struct Silence;
    ///
    /// impl Process<char, char> for Silence {
    ///     type State = Timestamp;
    ///     type Output = char;
    ///
    ///     fn on_record(&mut self, record: Record<char>, turn: &mut Turn<'_, char, Timestamp, char>) {
    ///         let last = turn.state_mut().replace(record.timestamp);
    ///         if let Some(last) = last {
    ///             turn.cancel_event_timer(last + SILENCE);
    ///         }
    ///         turn.set_event_timer(record.timestamp + SILENCE);
    ///     }
    ///
    ///     fn on_event_timer(&mut self, _: Timestamp, turn: &mut Turn<'_, char, Timestamp, char>) {
    ///         let device = *turn.key();
    ///         turn.emit(device);
    ///         turn.clear();
    ///     }
    /// }
    ///
    /// let minutes = |n: i64| n * 60_000;
    /// let seen = timed([('a', 0), ('b', minutes(20)), ('a', minutes(25)), ('c', minutes(51))]);
    /// let silent = run(seen, |flow| flow.key_by(|device| *device).process("silence", SILENCE, Silence));
    /// assert_eq!(silent, ['b', 'a', 'c']);
    /// ```
    pub fn process<P>(
        self,
        name: &str,
        retention: impl Into<Retention>,
        process: P,
    ) -> Flow<impl Elements<Value = P::Output>>
    where
        P: Process<K, S::Value>,
    {
        let retention = retention.into();
        let detail = match retention.duration {
            Some(duration) => format!("kept for {duration:?}"),
            None => "until cleared".to_owned(),
        };
        let tip = self.tip.then_named("process", name, &detail);
        let logic = ProcessLogic::new(self.key, retention, process);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}
