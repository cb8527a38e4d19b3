//! A sink that runs the pipeline's own Lua, inside the step that commits.

use std::fmt;

use rtbflow::Record;
use rtbflow::sink::{Place, Sink, Staged};

use super::staged::Batch;
use super::{Operations, Redis};

/// Stages one call of a Lua function for each record; made by [`Redis::script`].
pub struct Script<F> {
    place: Place,
    name: &'static str,
    number: usize,
    operations: Operations,
    call: F,
}

/// The keys and arguments of one call.
#[derive(Debug, Default)]
pub struct Call {
    keys: Vec<String>,
    arguments: Vec<String>,
}

impl Call {
    /// Adds a key: `KEYS[1]`, `KEYS[2]` … in the function.
    pub fn key(&mut self, key: impl Into<String>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    /// Adds an argument: `ARGV[1]`, `ARGV[2]` … in the function, always as text.
    pub fn argument(&mut self, argument: impl fmt::Display) -> &mut Self {
        self.arguments.push(argument.to_string());
        self
    }
}

impl Call {
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(String::as_str)
    }
}

impl Redis {
    /// A sink that calls a Lua function for each record, in the same atomic step as positions and state.
    /// `body` is what one would give to `EVAL`: it finds the closure's keys and arguments in `KEYS` and
    /// `ARGV`. `name` stands in logs and in the list of rejected operations.
    ///
    /// The function runs under `pcall`. If it fails (an error of Lua, or of a command that it called by
    /// `redis.call`), what it wrote until then stays, the rest of this one call is left out, the failure
    /// is reported like a refused operation, and the epoch goes on: so check first, write then. Take
    /// sums through Redis' own commands; a Lua number is exact only up to 2^53. Nobody reads Redis while
    /// it runs, so let it be short.
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
        Script { place: self.place(), name, number, operations: Operations::default(), call }
    }
}

impl<T, F> Sink<T> for Script<F>
where
    F: Fn(&T, &mut Call) + Send + 'static,
{
    fn write(&mut self, record: &Record<T>) {
        let mut call = Call::default();
        (self.call)(&record.value, &mut call);
        self.operations.touch("script", self.name);
        self.operations.argument(self.number.to_string());
        self.operations.argument(if record.is_accountable() { "1" } else { "0" });
        self.operations.argument(call.keys.len().to_string());
        for argument in call.keys.iter().chain(&call.arguments) {
            self.operations.argument(argument);
        }
        self.operations.end(None);
    }

    fn pending(&self) -> usize {
        self.operations.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let rows = self.operations.len();
        if rows > 0 {
            out.push(Batch::new(self.operations.take()).staged(self.place, rows));
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
