//! Holds each record until its time has come.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::flow::{Elements, Flow};
use crate::operators::stateful::{Logic, Outbox, Snapshot, Stateful};
use crate::record::Record;
use crate::state::{Format, KeyedState, SlotId};
use crate::time::{Timestamp, some_time};

impl<S> Flow<S>
where
    S: Elements<Value: Serialize + DeserializeOwned>,
{
    /// Holds each record until the watermark has reached the time that `until` names, at most `longest` past
    /// the record's own. `name` is what the records are kept by.
    ///
    /// What is to be done with a key as well when its time comes, or by the wall clock, belongs into
    /// [`process`](crate::KeyedFlow::process).
    ///
    /// # Time and state
    /// Keeps what is held. Records leave in order of the times until which they were held, those of the same
    /// time in the order in which they came, and that time is their event time from then on: behind a delay
    /// they are not late, and in order. Who needs the first one takes it along in the value, by
    /// [`map_record`](Self::map_record). A record whose time has come when it arrives passes at once. The
    /// end of all time emits what is held.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::builders::at;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // Campaigns, and when each may begin.
    /// let campaigns = timed([(("spring", 5_000), 0), (("now", 0), 1_000), (("next", 3_000), 2_000)]);
    /// let begun = run(campaigns, |flow| {
    ///     flow.map(|(name, begin)| (name.to_owned(), begin))
    ///         .delay("begin", Duration::from_hours(24), |campaign| at(campaign.value.1))
    ///         .map_record(|campaign| (campaign.value.0, campaign.timestamp.as_millis()))
    /// });
    /// let expected = [("now", 1_000), ("next", 3_000), ("spring", 5_000)];
    /// assert_eq!(begun, expected.map(|(name, begin)| (name.to_owned(), begin)));
    /// ```
    ///
    /// Each by the same time:
    /// ```
    /// # use std::time::Duration;
    /// # use rtbflow::testing::{run, timed};
    /// let minute = Duration::from_mins(1);
    /// let later = run(timed([('a', 0), ('b', 10)]), |flow| {
    ///     flow.delay("a minute", minute, move |record| record.timestamp + minute)
    ///         .map_record(|record| record.timestamp.as_millis())
    /// });
    /// assert_eq!(later, [60_000, 60_010]);
    /// ```
    #[doc(alias = "delay_until")]
    pub fn delay<F>(
        self,
        name: &str,
        longest: Duration,
        until: F,
    ) -> Flow<impl Elements<Value = S::Value>>
    where
        F: Fn(&Record<S::Value>) -> Timestamp + Send + 'static,
    {
        let tip = self.tip.then_named("delay", name, &format!("at most {longest:?}"));
        tip.check([some_time("it holds records", longest)]);
        let logic = Delay {
            longest,
            until,
            held: KeyedState::new(Format::new(1, "delayed records").emptied_at_end()),
            due: BTreeMap::new(),
            next_number: 0,
            watermark: Timestamp::MIN,
        };
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`Flow::delay`].
pub(super) struct Delay<T, F> {
    longest: Duration,
    until: F,
    /// Records by their number, each with the time until which it is held.
    held: KeyedState<u64, (Timestamp, T)>,
    /// The same in the order in which they leave.
    due: BTreeMap<(Timestamp, u64), SlotId>,
    next_number: u64,
    /// What is due by this watermark leaves.
    watermark: Timestamp,
}

impl<T, F> fmt::Debug for Delay<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delay({} held)", self.due.len())
    }
}

impl<T, F> Logic for Delay<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&Record<T>) -> Timestamp + Send + 'static,
{
    type In = T;
    type Out = T;
    const VERSION: u16 = 1;
    const RESUMES: bool = true;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<T>) {
        let at = record.timestamp;
        let due = (self.until)(&record).clamp(at, at + self.longest);
        if due <= out.watermark_before() {
            return out.push(Record { timestamp: due, ..record });
        }
        let number = self.next_number;
        self.next_number += 1;
        let slot = self.held.insert(number, (due, record.value), Timestamp::MAX);
        self.due.insert((due, number), slot);
    }

    fn due(&self) -> Timestamp {
        self.due.first_key_value().map_or(Timestamp::MAX, |((due, _), _)| *due)
    }

    fn on_watermark(&mut self, watermark: Timestamp, _: &mut Outbox<T>) -> Option<Timestamp> {
        self.watermark = watermark;
        Some(watermark)
    }

    fn more(&mut self, out: &mut Outbox<T>) -> bool {
        let mut any = false;
        for _ in 0..out.room() {
            let first = self.due.first_entry().filter(|first| first.key().0 <= self.watermark);
            // No more are due.
            let Some(((due, _), slot)) = first.map(OccupiedEntry::remove_entry) else { break };
            match self.held.remove(slot) {
                Some((_, value)) => out.push(Record::derived(value, due)),
                None => Error::broken("a record is due that is not held").spoil_epoch(),
            }
            any = true;
        }
        any
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.held.snapshot(snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.held.restore(chunk)
    }

    fn restored(&mut self, _: &mut Outbox<T>) {
        let due = self.held.iter().map(|(slot, number, (due, _))| ((*due, *number), slot));
        self.due = due.collect();
        let last = self.held.iter().map(|(_, number, _)| *number + 1).max();
        self.next_number = last.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use crate::testing::builders::{at, element, read, watermark};
    use crate::testing::{elements, laws, timed};

    const TEN: Duration = Duration::from_millis(10);

    /// What a delay of at most ten milliseconds makes of records, each of which is held until its value.
    fn held_until(input: Vec<Element<i64>>) -> Vec<String> {
        elements(input, |flow| flow.delay("held", TEN, |record| at(record.value)))
    }

    #[test]
    fn records_leave_in_order_when_the_watermark_reaches_their_times() {
        let input = vec![element(9, 0), element(7, 0), element(7, 1), watermark(6), watermark(8)];
        assert_eq!(held_until(input), ["w6", "7@7", "7@7", "w8", "9@9", "w+inf"]);
    }

    #[test]
    fn none_is_held_longer_than_it_may_be_and_none_is_put_back() {
        let input = vec![element(1_000, 5), watermark(15), element(2, 16), watermark(16)];
        assert_eq!(held_until(input), ["1000@15", "w15", "2@16", "w16", "w+inf"]);
    }

    #[test]
    fn one_whose_time_has_come_passes_at_once() {
        let late = Element::Record(read(3, 2, 0), at(20));
        assert_eq!(held_until(vec![watermark(20), late]), ["w20", "3@3", "w+inf"]);
    }

    #[test]
    fn many_leave_in_portions_and_in_order() {
        let count = 3 * 128 + 7;
        let mut input: Vec<_> = (0..count).map(|n| element(n, 0)).collect();
        input.push(watermark(10));
        let found = elements(input, |flow| flow.delay("held", TEN, |_| at(5)));
        let expected = (0..count).map(|n| format!("{n}@5"));
        assert_eq!(found, expected.chain(["w10".into(), "w+inf".into()]).collect::<Vec<_>>());
    }

    #[test]
    fn a_restart_changes_nothing() {
        laws::operator(timed((0..40).map(|n| (n, n * 4 - n % 5 * 4))), |flow| {
            flow.delay("held", 3 * TEN, |record| {
                at(record.timestamp.as_millis() + record.value % 7 * 5)
            })
        });
    }
}
