//! A sink that merges partial results into hashes: sums, ratios of the sums, and a copy of the newest.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::time::Duration;

use hashbrown::HashMap;
use rtbflow::epoch::RefusedResult;
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{BadRecord, Error, Origin, Record, Result};
use serde_json::Value;

use crate::redis::batch::{SinkBatch, Work};
use crate::redis::merges::{Merged, Merges, Part};
use crate::redis::operations::milliseconds;
use crate::redis::place::Redis;

/// Merges partials into hashes; made by [`Redis::merge_hash`].
pub struct MergeHash<T> {
    place: Place,
    key: Box<dyn Fn(&T) -> String + Send>,
    adds: Vec<(&'static str, Box<dyn Fn(&T) -> i128 + Send>)>,
    sets: Vec<(&'static str, Box<dyn Fn(&T) -> String + Send>)>,
    ratios: Vec<Ratio>,
    newest: Option<Newest<T>>,
    expire: Option<Duration>,
    merged: Vec<Merged>,
    /// Where the records were read.
    origins: Vec<Option<Origin>>,
    index: HashMap<String, usize, foldhash::fast::RandomState>,
}

struct Ratio {
    name: &'static str,
    dividend: &'static str,
    divisor: &'static str,
    decimals: u8,
}

struct Newest<T> {
    key: Box<dyn Fn(&T) -> String + Send>,
    guard: &'static str,
}

impl Redis {
    /// A sink that merges each record into the hash at `key`: made for partials, such as those that each
    /// partition's task hands over for the same window, so that a sum over all partitions needs no
    /// repartition topic. For other operations choose [`write`](Self::write).
    ///
    /// # Time and state
    /// Partials of one key are summed in memory until the barrier and merged in the place, inside the
    /// step that moves the positions: each exactly once.
    ///
    /// # Errors
    /// A ratio or a guard that names a field which is not there, or a field that is named twice, is a
    /// configuration error, before anything is read. A record whose merge Redis refuses for what it is (a sum beyond 64 bits, a key that holds
    /// something else) becomes a dead letter, and the hash stays as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use rtbflow::sink::Sink;
    /// use rtbflow::{Record, Timestamp};
    /// use rtbflow_sinks::redis::Redis;
    ///
    /// struct Window { campaign: &'static str, start: Timestamp, impressions: i64, clicks: i64 }
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// let mut performance = redis
    ///     .merge_hash(|w: &Window| format!("perf:{}:{}", w.campaign, w.start))
    ///     .add("impressions", |w| w.impressions)
    ///     .add("clicks", |w| w.clicks)
    ///     .ratio("ctr", "clicks", "impressions", 6)
    ///     .set("window_start", |w| w.start)
    ///     .newest(|w| format!("perf:{}", w.campaign), "window_start")
    ///     .expire(Duration::from_hours(48));
    ///
    /// let start = Timestamp::from_millis(300_000);
    /// for clicks in [1, 2] {
    ///     let window = Window { campaign: "summer", start, impressions: 40, clicks };
    ///     performance.write(&Record::derived(window, start));
    /// }
    /// assert_eq!(performance.pending(), 1, "partials of one key are merged before they travel");
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn merge_hash<T>(&self, key: impl Fn(&T) -> String + Send + 'static) -> MergeHash<T> {
        MergeHash {
            place: self.place(),
            key: Box::new(key),
            adds: Vec::new(),
            sets: Vec::new(),
            ratios: Vec::new(),
            newest: None,
            expire: None,
            merged: Vec::new(),
            origins: Vec::new(),
            index: HashMap::default(),
        }
    }
}

impl<T> MergeHash<T> {
    /// A field to which each record adds, exactly and up to 64 bits: one that adds more by itself becomes a
    /// dead letter.
    #[must_use]
    pub fn add<N: Into<i128>>(
        mut self,
        field: &'static str,
        amount: impl Fn(&T) -> N + Send + 'static,
    ) -> Self {
        self.adds.push((field, Box::new(move |record| amount(record).into())));
        self
    }

    /// A field that each record sets; the last one stays.
    #[must_use]
    pub fn set<V: Display>(
        mut self,
        field: &'static str,
        value: impl Fn(&T) -> V + Send + 'static,
    ) -> Self {
        self.sets.push((field, Box::new(move |record| value(record).to_string())));
        self
    }

    /// A field that holds the ratio of two added fields, computed from the totals whenever they change,
    /// with this many decimals; 0 where the divisor is 0.
    #[must_use]
    pub fn ratio(
        mut self,
        field: &'static str,
        dividend: &'static str,
        divisor: &'static str,
        decimals: u8,
    ) -> Self {
        self.ratios.push(Ratio { name: field, dividend, divisor, decimals });
        self
    }

    /// Copies the merged hash, whole and with its expiry, to another key, unless that holds one with a
    /// newer `guard`. The guard is one of the [`set`](Self::set) fields: an integer, an RFC 3339 time in
    /// UTC, or text of fixed width. A hash with the same guard is copied again.
    #[must_use]
    pub fn newest(
        mut self,
        key: impl Fn(&T) -> String + Send + 'static,
        guard: &'static str,
    ) -> Self {
        self.newest = Some(Newest { key: Box::new(key), guard });
        self
    }

    /// Lets the hash expire this long after it was last merged into.
    #[must_use]
    pub fn expire(mut self, after: Duration) -> Self {
        self.expire = Some(after);
        self
    }

    /// A record as a dead letter carries it.
    fn whole(&self, value: &T) -> RefusedResult {
        // By hand: a `Value` holds no number of more than 64 bits.
        let member = |name: &str, json: String| format!("{}:{json}", Value::from(name));
        let adds = self.adds.iter().map(|(name, amount)| member(name, amount(value).to_string()));
        let text = |text: String| Value::from(text).to_string();
        let sets = self.sets.iter().map(|(name, set)| member(name, text(set(value))));
        let members: Vec<String> = adds.chain(sets).collect();
        let mut result = RefusedResult::new(format!("{{{}}}", members.join(",")));
        result.key = Some((self.key)(value).into_bytes());
        result
    }

    fn add_position(&self, field: &str) -> Option<usize> {
        Some(self.adds.iter().position(|(name, _)| *name == field)? + 1)
    }

    /// What is wrong with how the sink was put together.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let sides = self.ratios.iter().flat_map(|ratio| [ratio.dividend, ratio.divisor]);
        let sides: BTreeSet<_> = sides.filter(|field| self.add_position(field).is_none()).collect();
        mistakes.extend(sides.iter().map(|field| {
            format!("a ratio needs the field {field:?}, which is not added to; `add` it")
        }));
        if let Some(Newest { guard, .. }) = &self.newest
            && !self.sets.iter().any(|(name, _)| name == guard)
        {
            mistakes.push(format!("the guard {guard:?} is not a field that is set; `set` it"));
        }
        if self.expire == Some(Duration::ZERO) {
            mistakes.push("its hashes expire at once; give `expire` a longer time".to_owned());
        }
        mistakes.extend(
            self.named_twice()
                .iter()
                .map(|field| format!("the field {field:?} is named twice; leave one of them out")),
        );
        mistakes
    }

    /// The fields that two settings write.
    fn named_twice(&self) -> BTreeSet<&'static str> {
        let (adds, sets) =
            (self.adds.iter().map(|(name, _)| *name), self.sets.iter().map(|(name, _)| *name));
        let fields = adds.chain(sets).chain(self.ratios.iter().map(|ratio| ratio.name));
        let mut known = BTreeSet::new();
        fields.filter(|field| !known.insert(*field)).collect()
    }

    /// The arguments of `merge_layout`; see `commit.lua`.
    fn layout(&self) -> Vec<String> {
        let mut layout = vec!["merge_hash".to_owned(), self.adds.len().to_string()];
        layout.extend(self.adds.iter().map(|(name, _)| (*name).to_owned()));
        layout.push(self.sets.len().to_string());
        layout.extend(self.sets.iter().map(|(name, _)| (*name).to_owned()));
        layout.push(self.ratios.len().to_string());
        for Ratio { name, dividend, divisor, decimals } in &self.ratios {
            layout.push((*name).to_owned());
            for side in [dividend, divisor] {
                // A job whose sink names a field that is not there is refused.
                layout.push(self.add_position(side).unwrap_or(0).to_string());
            }
            layout.push(decimals.to_string());
        }
        // 0 says that there is none.
        let guard = self.newest.as_ref().and_then(|newest| {
            Some(self.sets.iter().position(|(name, _)| *name == newest.guard)? + 1)
        });
        layout.push(guard.unwrap_or(0).to_string());
        layout.push(self.expire.map_or(0, milliseconds).to_string());
        layout
    }
}

impl<T: 'static> Sink<T> for MergeHash<T> {
    fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
        for (name, amount) in &self.adds {
            let amount = amount(&record.value);
            if i64::try_from(amount).is_err() {
                let reason = format!("it adds {amount} to {name}, which is beyond 64 bits");
                return Err(BadRecord::new(reason));
            }
        }
        Ok(())
    }

    fn result(&self, record: &Record<T>) -> RefusedResult {
        self.whole(&record.value)
    }

    fn write(&mut self, record: &Record<T>) {
        let value = &record.value;
        let key = (self.key)(value);
        let amounts = self.adds.iter().map(|(_, amount)| amount(value)).collect();
        let values = self.sets.iter().map(|(_, text)| text(value)).collect();
        // The script takes an empty key for none.
        let newest = self.newest.as_ref().map(|newest| (newest.key)(value)).unwrap_or_default();
        let mut part = Part { row: self.origins.len(), amounts, values };
        self.origins.push(record.origin);
        let known = self.index.get(&key).and_then(|index| self.merged.get_mut(*index));
        if let Some(merged) = known.filter(|merged| merged.newest == newest) {
            match merged.add(part) {
                None => return,
                Some(too_much) => part = too_much,
            }
        }
        // Behind what it could not be added to: later records are added to this one.
        self.index.insert(key.clone(), self.merged.len());
        self.merged.push(Merged::new(key, newest, part));
    }

    fn pending(&self) -> usize {
        self.merged.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        // An epoch without partials has nothing to merge.
        if self.merged.is_empty() {
            return;
        }
        self.index.clear();
        let work = Merges {
            wrong: self.validate().err().map(|error| error.report()),
            layout: self.layout(),
            adds: self.adds.iter().map(|(name, _)| *name).collect(),
            sets: self.sets.iter().map(|(name, _)| *name).collect(),
            merged: std::mem::take(&mut self.merged),
        };
        let batch = SinkBatch::new(Work::Merges(work), std::mem::take(&mut self.origins));
        out.push(batch.staged(self.place));
    }

    fn validate(&self) -> Result<()> {
        Error::all(
            self.mistakes().into_iter().map(|mistake| {
                Err(Error::config(format!("merge into hashes of Redis: {mistake}")))
            }),
        )
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl<T> fmt::Debug for MergeHash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeHash({} staged)", self.merged.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_that_do_not_fit_are_one_error() {
        let redis = Redis::connect_to("redis://127.0.0.1/2").build().unwrap();
        let sink = redis.merge_hash(|n: &i64| n.to_string()).add("clicks", |n| *n);
        assert!(sink.validate().is_ok());
        let sink = sink.ratio("ctr", "clicks", "views", 6).set("clicks", |n| *n);
        let sink = sink.newest(|n| n.to_string(), "start").expire(Duration::ZERO);
        let error = sink.validate().unwrap_err();
        let (mut driven_by_hand, mut staged) = (sink, Vec::new());
        driven_by_hand.write(&Record::derived(1, rtbflow::Timestamp::default()));
        driven_by_hand.stage(&mut staged);
        let refused = staged[0].batch::<SinkBatch>().unwrap().validate().unwrap_err();
        assert_eq!(refused.report(), error.report());
        assert!(error.is_config(), "{error:?}");
        for says in [
            "4 errors",
            "a ratio needs the field \"views\"",
            "the guard \"start\" is not a field that is set",
            "its hashes expire at once",
            "the field \"clicks\" is named twice",
        ] {
            assert!(error.report().contains(says), "{says} in {error:?}");
        }
    }
}
