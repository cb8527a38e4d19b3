//! A sink that merges partial results into hashes: sums, ratios of the sums, and a copy of the newest.

use std::fmt::{self, Display};
use std::time::Duration;

use hashbrown::HashMap;
use rtbflow::Record;
use rtbflow::sink::{Place, Sink, Staged};

use super::Redis;
use super::operations::{Arguments, milliseconds};
use super::staged::Batch;

/// Merges partials into hashes; made by [`Redis::merge_hash`].
pub struct MergeHash<T> {
    place: Place,
    key: Box<dyn Fn(&T) -> String + Send>,
    adds: Vec<(&'static str, Box<dyn Fn(&T) -> i64 + Send>)>,
    sets: Vec<(&'static str, Box<dyn Fn(&T) -> String + Send>)>,
    ratios: Vec<Ratio>,
    newest: Option<Newest<T>>,
    expire: Option<Duration>,
    rows: Vec<Row>,
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

/// The partials of one key, merged since the last barrier.
struct Row {
    key: String,
    newest: String,
    amounts: Vec<i64>,
    values: Vec<String>,
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
    /// A ratio or a guard that names a field which is not there is a configuration error of the first
    /// commit. Where Redis refuses a merge (a sum beyond 64 bits, a key that holds something else), all
    /// fields stay as they were, the merge is reported and the epoch goes on; where it refuses only the
    /// copy to the key of the newest, the merge stays.
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
            rows: Vec::new(),
            index: HashMap::default(),
        }
    }
}

impl<T> MergeHash<T> {
    /// A field to which each record adds, exactly and up to 64 bits.
    #[must_use]
    pub fn add(mut self, field: &'static str, amount: impl Fn(&T) -> i64 + Send + 'static) -> Self {
        self.adds.push((field, Box::new(amount)));
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
    /// with so many decimals; 0 where the divisor is 0.
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

    /// Lets the hash expire so long after it was last merged into.
    #[must_use]
    pub fn expire(mut self, after: Duration) -> Self {
        self.expire = Some(after);
        self
    }

    fn add_position(&self, field: &str) -> Option<usize> {
        Some(self.adds.iter().position(|(name, _)| *name == field)? + 1)
    }

    /// What is wrong with how the sink was put together.
    fn mistake(&self) -> Option<String> {
        let ratios = self.ratios.iter().flat_map(|ratio| [ratio.dividend, ratio.divisor]);
        if let Some(field) = ratios.into_iter().find(|field| self.add_position(field).is_none()) {
            return Some(format!("a ratio needs the field {field:?}, which is not added to"));
        }
        let guard = self.newest.as_ref()?.guard;
        let known = self.sets.iter().any(|(name, _)| *name == guard);
        (!known).then(|| format!("the guard {guard:?} is not a field that is set"))
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
                layout.push(self.add_position(side).unwrap_or(0).to_string());
            }
            layout.push(decimals.to_string());
        }
        let guard = self.newest.as_ref().and_then(|newest| {
            Some(self.sets.iter().position(|(name, _)| *name == newest.guard)? + 1)
        });
        layout.push(guard.unwrap_or(0).to_string());
        layout.push(self.expire.map_or(0, milliseconds).to_string());
        layout
    }

    fn arguments(&mut self) -> Arguments {
        let mut out = Arguments::default();
        let layout = self.layout();
        out.push("merge_layout");
        out.display(&layout.len());
        layout.iter().for_each(|argument| out.push(argument));
        for row in self.rows.drain(..) {
            out.push("merge_hash");
            out.display(&(2 + row.amounts.len() + row.values.len()));
            out.push(&row.key);
            out.push(&row.newest);
            row.amounts.iter().for_each(|amount| out.display(amount));
            row.values.iter().for_each(|value| out.push(value));
        }
        out
    }
}

impl Row {
    /// Adds all amounts, or none if one of the sums does not fit 64 bits.
    fn merge(&mut self, amounts: &[i64]) -> bool {
        let sums = self.amounts.iter().zip(amounts).map(|(sum, amount)| sum.checked_add(*amount));
        sums.collect::<Option<Vec<_>>>().map(|sums| self.amounts = sums).is_some()
    }
}

impl<T: 'static> Sink<T> for MergeHash<T> {
    fn write(&mut self, record: &Record<T>) {
        let value = &record.value;
        let key = (self.key)(value);
        let amounts: Vec<i64> = self.adds.iter().map(|(_, amount)| amount(value)).collect();
        let values = self.sets.iter().map(|(_, text)| text(value)).collect();
        let newest = self.newest.as_ref().map(|newest| (newest.key)(value)).unwrap_or_default();
        let known = self.index.get(&key).and_then(|index| self.rows.get_mut(*index));
        if let Some(row) = known
            && row.newest == newest
            && row.merge(&amounts)
        {
            row.values = values;
            return;
        }
        self.index.insert(key.clone(), self.rows.len());
        self.rows.push(Row { key, newest, amounts, values });
    }

    fn pending(&self) -> usize {
        self.rows.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let rows = self.rows.len();
        if rows > 0 {
            self.index.clear();
            let mistake = self.mistake();
            out.push(Batch { arguments: self.arguments(), mistake }.staged(self.place, rows));
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl<T> fmt::Debug for MergeHash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeHash({} staged)", self.rows.len())
    }
}
