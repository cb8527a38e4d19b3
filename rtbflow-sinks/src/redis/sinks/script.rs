//! A sink that runs the pipeline's own Lua, inside the step that commits.

use std::collections::HashSet;
use std::fmt;

use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{Origin, Record};

use crate::redis::arguments::Call;
use crate::redis::batch::{SinkBatch, Work};
use crate::redis::{Operations, Redis};

/// Stages one call of a Lua function for each record; made by [`Redis::script`].
pub struct Script<F> {
    place: Place,
    name: &'static str,
    number: usize,
    /// The calls of this epoch, if equal ones are made once.
    once: Option<HashSet<Call>>,
    operations: Operations,
    origins: Vec<Option<Origin>>,
    call: F,
}

impl Redis {
    /// A sink that calls a Lua function for each record, in the same atomic step as positions and state.
    /// `body` is what one would give to `EVAL`: it finds the closure's keys and arguments in `KEYS` and
    /// `ARGV`. `name` stands in messages and in dead letters.
    ///
    /// If the function fails (an error of Lua, or of a command that it called by `redis.call`), what it wrote is
    /// taken back and its record becomes a dead letter. Take sums through Redis' own commands; a Lua number is
    /// exact only up to 2^53. Nobody else is served while it runs, so let it be short: work that is to be done
    /// once for many records, such as scoring a group anew, is noted in `EPOCH`, a table that the calls of one
    /// epoch share, and done by [`script_once`](Self::script_once) behind this one; what takes too long for that
    /// is noted in a key, and done in portions by a [`follow_up`](Self::follow_up).
    ///
    /// Everything that a call writes can be taken back only as far as the function's commands are known:
    /// commands on hashes, sets, sorted sets, counters, expiry, deletion and pushes to lists are undone one by
    /// one; of a key that any other command changes a copy is kept while the script runs, which costs by its
    /// size, and its key must be the first argument or one of `KEYS`. What is published is sent when all has
    /// succeeded.
    ///
    /// A function that finds out that its record is not used for a result returns the class in which it
    /// ends, one of the texts `filtered`, `late`, `duplicate` and `dead-lettered`: that is how it is
    /// accounted for, once, as far as it is still [accountable](Record::is_accountable).
    ///
    /// # Errors
    /// A body that does not compile is a configuration error of
    /// [`prepare`](rtbflow::epoch::Anchor::prepare) or of the first commit, which names it.
    ///
    /// # Examples
    ///
    /// ```
    /// use rtbflow::sink::Sink;
    /// use rtbflow::{Record, Timestamp};
    /// use rtbflow_sinks::redis::Redis;
    ///
    /// struct Bid { group: String, campaign: String, score: i64 }
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// const BEST: &str = "
    ///     local held = redis.call('HGET', KEYS[1], 'score')
    ///     if not held or tonumber(ARGV[2]) > tonumber(held) then
    ///         redis.call('HSET', KEYS[1], 'campaign', ARGV[1], 'score', ARGV[2])
    ///     end";
    /// let mut best = redis.script("best", BEST, |bid: &Bid, call| {
    ///     call.key(format!("best:{}", bid.group)).argument(&bid.campaign).argument(bid.score);
    /// });
    ///
    /// let bid = Bid { group: "home".into(), campaign: "summer".into(), score: 7 };
    /// best.write(&Record::derived(bid, Timestamp::from_millis(0)));
    /// assert_eq!(best.pending(), 1);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn script<T, F>(&self, name: &'static str, body: &str, call: F) -> Script<F>
    where
        F: Fn(&T, &mut Call) + Send + 'static,
    {
        let number = self.library().add(name, body);
        Script {
            place: self.place(),
            name,
            number,
            once: None,
            operations: Operations::default(),
            origins: Vec::new(),
            call,
        }
    }

    /// As [`script`](Self::script), but of calls with the same keys and arguments one is made for an epoch, and
    /// none where the closure names neither. Behind a `script`, in a tuple of sinks, it does what the calls of
    /// that one have noted in `EPOCH`.
    ///
    /// A call that fails is no record's: what it was to do becomes a dead letter, as a result does.
    ///
    /// # Examples
    ///
    /// ```
    /// use rtbflow::sink::Sink;
    /// use rtbflow::{Record, Timestamp};
    /// use rtbflow_sinks::redis::Redis;
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// const ADD: &str = "
    ///     redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    ///     EPOCH[KEYS[1]] = true";
    /// const TOTAL: &str = "
    ///     if not EPOCH[KEYS[1]] then return end
    ///     local total = 0
    ///     for _, price in ipairs(redis.call('HVALS', KEYS[1])) do total = total + price end
    ///     redis.call('SET', KEYS[2], total)";
    /// let prices = redis.script("add", ADD, |(basket, item, price): &(&str, &str, i64), call| {
    ///     call.key(format!("basket:{basket}")).argument(item).argument(price);
    /// });
    /// let totals = redis.script_once("total", TOTAL, |(basket, ..): &(&str, &str, i64), call| {
    ///     call.key(format!("basket:{basket}")).key(format!("total:{basket}"));
    /// });
    /// let mut sink = (prices, totals);
    /// for item in [("a", "pen", 1200), ("a", "ink", 9000), ("b", "pen", 1200)] {
    ///     sink.write(&Record::derived(item, Timestamp::from_millis(0)));
    /// }
    /// assert_eq!(sink.pending(), 3 + 2);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn script_once<T, F>(&self, name: &'static str, body: &str, call: F) -> Script<F>
    where
        F: Fn(&T, &mut Call) + Send + 'static,
    {
        Script { once: Some(HashSet::new()), ..self.script(name, body, call) }
    }
}

impl<T, F> Sink<T> for Script<F>
where
    F: Fn(&T, &mut Call) + Send + 'static,
{
    fn write(&mut self, record: &Record<T>) {
        let mut call = Call::default();
        (self.call)(&record.value, &mut call);
        let is_once = self.once.is_some();
        // By the closure this record has nothing to do once, or another one has done it.
        if is_once && call == Call::default() {
            return;
        }
        if self.once.as_ref().is_some_and(|calls| calls.contains(&call)) {
            return;
        }
        let is_accountable = record.is_accountable() && !is_once;
        self.operations.begin_row(self.origins.len());
        self.operations.change("script", self.name, |arguments| {
            arguments.display(&self.number);
            arguments.push(if is_accountable { "1" } else { "0" });
            arguments.display(&call.keys.len());
            call.keys.iter().chain(&call.arguments).for_each(|argument| arguments.push(argument));
        });
        // What is done once for many records is no record's.
        self.origins.push(record.origin.filter(|_| !is_once));
        if let Some(calls) = &mut self.once {
            calls.insert(call);
        }
    }

    fn pending(&self) -> usize {
        self.operations.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        if let Some(calls) = &mut self.once {
            calls.clear();
        }
        if !self.operations.is_empty() {
            let operations = Work::Operations(std::mem::take(&mut self.operations));
            out.push(
                SinkBatch::new(operations, std::mem::take(&mut self.origins)).staged(self.place),
            );
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl<F> fmt::Debug for Script<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({}, {} staged)", self.name, self.operations.len())
    }
}
