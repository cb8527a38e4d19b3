//! Keeps the newest version of each key: a stream becomes a table.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::stateful::{Logic, Outbox, Snapshot, Stateful};
use crate::record::Record;
use crate::state::{Format, KeyedState};
use crate::time::{Timestamp, some_time};

/// Which version of a key is the newest, and how long it is remembered.
///
/// A plain [`Duration`] will do for [`kept_for`](Self::kept_for).
pub struct Latest<T> {
    kept_for: Duration,
    deleted: Option<Box<dyn Fn(&T) -> bool + Send>>,
    order: Option<Box<dyn Fn(&T, &T) -> Ordering + Send>>,
}

impl<T> Latest<T> {
    /// Each key is forgotten this much event time after its newest version.
    #[must_use]
    pub fn kept_for(duration: Duration) -> Self {
        Self { kept_for: duration, deleted: None, order: None }
    }

    /// A key is remembered until it is deleted; that it was deleted is remembered this much event time
    /// longer, so that an older version which comes later does not bring it back. Take what the
    /// topic's retention is: nothing older comes after that.
    #[must_use]
    pub fn until_deleted(
        deleted: impl Fn(&T) -> bool + Send + 'static,
        kept_for: Duration,
    ) -> Self {
        Self { kept_for, deleted: Some(Box::new(deleted)), order: None }
    }

    /// What makes a version newer than another. Where it calls two equal, and where it is not given, the
    /// later event time decides, then the higher offset, then the higher number of the partition,
    /// then the later arrival.
    #[must_use]
    pub fn order(mut self, order: impl Fn(&T, &T) -> Ordering + Send + 'static) -> Self {
        self.order = Some(Box::new(order));
        self
    }

    /// When a version that is the newest is forgotten, if it is taken at this time.
    fn until(&self, value: &T, now: Timestamp) -> Timestamp {
        match &self.deleted {
            Some(deleted) if !deleted(value) => Timestamp::MAX,
            Some(_) | None => now + self.kept_for,
        }
    }
}

impl<T> From<Duration> for Latest<T> {
    fn from(kept_for: Duration) -> Self {
        Self::kept_for(kept_for)
    }
}

impl<T> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = if self.deleted.is_some() { "until deleted, then " } else { "" };
        write!(f, "Latest({until}kept for {:?})", self.kept_for)
    }
}

/// A new version of a key and the one that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// The version before; `None` if none is remembered.
    pub old: Option<T>,
    /// The new version.
    pub new: T,
}

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements<Value: Clone + Serialize + DeserializeOwned>,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Keeps the newest version of each key, and emits each that is newer than all before it, at once,
    /// with the one that it replaces. An older one that comes later is ignored and counted as late.
    /// `name` is what the versions are kept by.
    ///
    /// To keep the first of each key instead, take [`dedup`](Self::dedup).
    ///
    /// # Time and state
    /// Keeps one version per key, for as long as [`Latest`] says: for a duration of event time after the
    /// newest, or until it is deleted and a duration longer. The duration ends when the watermark has
    /// passed it. Which version is the newest depends on the versions alone and not on the order in which
    /// they come. The end of all time forgets nothing, so that another run can go on from there.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::Change;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // Campaigns and their bids; the second version comes after the third.
    /// let bids = timed([(("c1", 500), 10), (("c1", 700), 30), (("c1", 600), 20)]);
    /// let changes = run(bids, |flow| {
    ///     flow.map(|(id, bid)| (id.to_owned(), bid))
    ///         .key_by(|campaign| campaign.0.clone())
    ///         .latest_by("campaigns", Duration::from_hours(1))
    ///         .map(|Change { old, new }| (old.map(|old| old.1), new.1))
    /// });
    /// assert_eq!(changes, [(None, 500), (Some(500), 700)]);
    /// ```
    pub fn latest_by(
        self,
        name: &str,
        latest: impl Into<Latest<S::Value>>,
    ) -> Flow<impl Elements<Value = Change<S::Value>>> {
        let latest = latest.into();
        let until = if latest.deleted.is_some() { "until deleted, then " } else { "" };
        let detail = format!("{until}kept for {:?}", latest.kept_for);
        let tip = self.tip.then_named("latest_by", name, &detail);
        if latest.deleted.is_none() {
            tip.check([some_time("it remembers versions", latest.kept_for)]);
        }
        let logic = LatestBy {
            key: self.key,
            latest,
            newest: KeyedState::new(Format::new(VERSION, "newest version")),
            watermark: Timestamp::MIN,
            values: PhantomData,
        };
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The version of the state.
const VERSION: u16 = 1;

/// The logic behind [`KeyedFlow::latest_by`].
pub(super) struct LatestBy<K, T, F> {
    key: F,
    latest: Latest<T>,
    newest: KeyedState<K, Version<T>>,
    watermark: Timestamp,
    values: PhantomData<fn(T)>,
}

/// The newest version of a key, and what it is compared by.
#[derive(Serialize, Deserialize)]
struct Version<T> {
    value: T,
    timestamp: Timestamp,
    offset: i64,
    partition: i32,
}

impl<T: Clone> Version<T> {
    fn of(record: &Record<T>) -> Self {
        let (offset, partition) = match &record.origin {
            Some(origin) => (origin.offset(), origin.partition().number),
            None => (i64::MIN, i32::MIN),
        };
        Self { value: record.value.clone(), timestamp: record.timestamp, offset, partition }
    }
}

impl<T> Version<T> {
    fn compare(&self, other: &Self, latest: &Latest<T>) -> Ordering {
        let own = latest.order.as_ref().map(|order| order(&self.value, &other.value));
        let place = |version: &Self| (version.timestamp, version.offset, version.partition);
        own.unwrap_or(Ordering::Equal).then_with(|| place(self).cmp(&place(other)))
    }
}

impl<K, T, F> fmt::Debug for LatestBy<K, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LatestBy({} keys)", self.newest.len())
    }
}

impl<K, T, F> Logic for LatestBy<K, T, F>
where
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
{
    type In = T;
    type Out = Change<T>;
    const VERSION: u16 = VERSION;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Change<T>>) {
        let key = (self.key)(&record.value);
        let until = self.latest.until(&record.value, record.timestamp.max(self.watermark));
        let version = Version::of(&record);
        // What is not kept at all is not there for the next record either: it would not be after a restart.
        let kept = until > self.watermark;
        let Some(slot) = self.newest.find(&key) else {
            if kept {
                self.newest.insert(key, version, until);
            }
            return out.push(record.map(|new| Change { old: None, new }));
        };
        let Some((_, newest)) = self.newest.peek_mut(slot) else {
            return Error::broken("a version was found that is not there").spoil_epoch();
        };
        if version.compare(newest, &self.latest) == Ordering::Less {
            let (time, newest) = (record.timestamp, newest.timestamp);
            let reason = || format!("it is of {time}, a version of {newest} was read before");
            return out.superseded(record.origin, reason);
        }
        let old = Some(std::mem::replace(newest, version).value);
        self.newest.note_change(slot);
        if kept {
            self.newest.expire(slot, until);
        } else {
            self.newest.remove(slot);
        }
        out.push(record.map(|new| Change { old, new }));
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        _out: &mut Outbox<Change<T>>,
    ) -> Option<Timestamp> {
        // The end of all time is that of one run: another may go on from here.
        if watermark < Timestamp::MAX {
            self.watermark = watermark;
            self.newest.forget(watermark);
        }
        Some(watermark)
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.newest.snapshot(snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.newest.restore(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Tally;
    use crate::record::{Origin, Partition, Topic};
    use crate::testing::builders::record;
    use crate::testing::{run, timed};

    const TEN: Duration = Duration::from_millis(10);

    /// The versions of one key at these times that are emitted, with those before them.
    fn changes(
        times: &[i64],
        latest: impl Into<Latest<i64>> + Send + 'static,
    ) -> Vec<(Option<i64>, i64)> {
        let versions = timed(times.iter().map(|ms| (*ms, *ms)));
        run(versions, |flow| {
            flow.key_by(|_| ()).latest_by("newest", latest).map(|change| (change.old, change.new))
        })
    }

    #[test]
    fn the_newest_by_event_time_whatever_the_order() {
        assert_eq!(
            changes(&[5, 7, 6, 7, 9], TEN),
            [(None, 5), (Some(5), 7), (Some(7), 7), (Some(7), 9)]
        );
    }

    #[test]
    fn a_key_is_forgotten_after_its_time() {
        assert_eq!(changes(&[0, 9, 19], TEN), [(None, 0), (Some(0), 9), (Some(9), 19)]);
        let two = timed([(0, 0), (1, 10), (0, 10), (0, 20)]);
        let versions = run(two, |flow| {
            flow.key_by(|key| *key).latest_by("newest", TEN).map(|change| (change.old, change.new))
        });
        assert_eq!(versions, [(None, 0), (None, 1), (None, 0), (Some(0), 0)]);
    }

    #[test]
    fn a_deletion_is_remembered_for_its_time_and_the_rest_until_deleted() {
        // The last digit says whether it is deleted, the one before it the key.
        let latest = || Latest::until_deleted(|n: &i64| n % 10 == 9, TEN);
        let versions = |steps: Vec<(i64, i64)>| {
            run(timed(steps), move |flow| {
                flow.key_by(|n| n / 10)
                    .latest_by("newest", latest())
                    .map(|change| (change.old, change.new))
            })
        };
        let kept = versions(vec![(11, 0), (21, 1_000), (12, 2_000)]);
        assert_eq!(
            kept,
            [(None, 11), (None, 21), (Some(11), 12)],
            "one that lives is kept for ever"
        );
        let held = versions(vec![(11, 0), (19, 100), (21, 109), (12, 50), (13, 120)]);
        assert_eq!(held, [(None, 11), (Some(11), 19), (None, 21), (Some(19), 13)]);
        let over = versions(vec![(19, 100), (21, 110), (12, 50)]);
        assert_eq!(over, [(None, 19), (None, 21), (None, 12)]);
    }

    #[test]
    fn ones_own_order_comes_first() {
        let by_last_digit = Latest::kept_for(TEN).order(|a: &i64, b: &i64| (a % 10).cmp(&(b % 10)));
        assert_eq!(changes(&[5, 12, 15, 14, 11], by_last_digit), [(None, 5), (Some(5), 15)]);
    }

    /// How many of two versions at the same time are emitted, and how the others ended.
    fn emitted(places: [(i32, i64); 2]) -> (usize, Tally) {
        let mut out = Outbox::for_tests();
        let mut logic = LatestBy {
            key: |value: &i64| *value,
            latest: TEN.into(),
            newest: KeyedState::new(Format::new(VERSION, "newest version")),
            watermark: Timestamp::MIN,
            values: PhantomData,
        };
        for (partition, offset) in places {
            let origin = Origin::new(Partition::new(Topic::new("test"), partition), offset);
            logic.on_record(Record { origin: Some(origin), ..record(7, 7) }, &mut out);
        }
        (out.len(), out.tally())
    }

    #[test]
    fn at_the_same_time_the_higher_offset_and_then_the_higher_partition() {
        let late = Tally { late: 1, ..Tally::default() };
        assert_eq!(emitted([(1, 5), (0, 6)]), (2, Tally::default()));
        assert_eq!(emitted([(0, 6), (1, 5)]), (1, late));
        assert_eq!(emitted([(0, 5), (1, 5)]), (2, Tally::default()));
        assert_eq!(emitted([(1, 5), (0, 5)]), (1, late));
    }
}
