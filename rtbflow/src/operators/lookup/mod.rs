//! Adds to each record what its key stands for elsewhere.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hashbrown::HashMap;

use crate::alarm::Alarm;
use crate::barrier::Barrier;
use crate::error::Error;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::lookup::Failed;
use crate::operators::Calls;
use crate::operators::in_order::Answer;
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

/// How keys are looked up, and how long an answer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    calls: Calls,
    kept_for: Duration,
    most: usize,
}

impl Lookup {
    /// Looks up by such calls. An answer is used for this long by the wall clock, and at most this many
    /// answers are kept, at least one: beyond that the oldest goes.
    #[must_use]
    pub fn new(calls: Calls, kept_for: Duration, most: usize) -> Self {
        Self { calls, kept_for, most }
    }
}

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Clone + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Adds to each record what its key stands for in a database, a cache or a service; timestamp, origin
    /// and order stay. A key that is not there is a value too: let `fetch` answer with an `Option`.
    ///
    /// Where several keys can be asked for by one call, `fetch` is [`Batched::get`](crate::lookup::Batched::get); lookups in Redis and
    /// Postgres that are ready to use are in `rtbflow-sinks`. For what arrives as a stream take a join with a table, whose answer depends on event time. Where each
    /// record asks for something else, [`map_async`](Flow::map_async) has no cache to pay for.
    ///
    /// # Time and state
    /// Calls are bounded, ordered, tried again and waited for as with [`map_async`](Flow::map_async). Records
    /// of the same key share one call. Answers are kept as [`Lookup`] says, and counted in barriers: up to a
    /// commit interval less. They are not part of the state: after a restart each key is looked up anew, and
    /// a record that was not committed may be given another answer than before.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::{Calls, Lookup};
    /// use rtbflow::testing::{run, values};
    ///
    /// let budgets = Lookup::new(Calls::at_most(8), Duration::from_secs(5), 10_000);
    /// let clicks = run(values([("c1", 1200), ("c2", 700)]), |clicks| {
    ///     clicks
    ///         .key_by(|click| click.0)
    ///         .lookup(budgets, |campaign| async move { Ok((campaign == "c1").then_some(50_000)) })
    ///         .map(|(click, budget)| (click.1, budget))
    /// });
    /// assert_eq!(clicks, [(1200, Some(50_000)), (700, None)]);
    /// ```
    #[doc(alias = "enrich")]
    pub fn lookup<V, G, R>(
        self,
        lookup: Lookup,
        fetch: G,
    ) -> Flow<impl Elements<Value = (S::Value, V)>>
    where
        V: Clone + Send + Sync + 'static,
        G: Fn(K) -> R + Send + Sync + 'static,
        R: Future<Output = Result<V, Failed>> + Send + 'static,
    {
        let some = Error::unless(lookup.most > 0, || {
            "it keeps at most 0 answers; give `Lookup` 1 or more".to_owned()
        });
        let settings = Error::all([lookup.calls.check(), some]);
        let answers = Answers {
            key: self.key,
            alarm: self.tip.alarm(),
            lookup,
            fetch: Arc::new(fetch),
            kept: HashMap::default(),
            ages: VecDeque::new(),
            now: Timestamp::MIN,
        };
        Flow { stream: self.stream, tip: self.tip }.answered(
            "lookup",
            lookup.calls,
            answers,
            settings,
        )
    }
}

/// An answer, or the call for it, which several records wait for.
type Asked<V> = Shared<BoxFuture<'static, Result<V, Arc<Failed>>>>;

/// Answers that are used again.
struct Answers<F, K, V, G> {
    key: F,
    alarm: Alarm,
    lookup: Lookup,
    fetch: Arc<G>,
    kept: HashMap<K, Asked<V>, RandomState>,
    /// The keys and when they were asked for, the oldest first.
    ages: VecDeque<(K, Timestamp)>,
    /// The wall clock of the last barrier.
    now: Timestamp,
}

impl<F, K: Hash + Eq + Clone, V, G> Answers<F, K, V, G> {
    /// Answers that are too old go.
    fn age(&mut self, now: Timestamp) {
        self.now = now;
        let kept_for = self.lookup.kept_for;
        while self.ages.front().is_some_and(|(_, asked)| *asked + kept_for <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((key, _)) = self.ages.pop_front() {
            self.kept.remove(&key);
        }
    }

    fn keep(&mut self, key: K, asked: Asked<V>)
    where
        V: Clone,
    {
        if self.kept.len() >= self.lookup.most {
            self.drop_oldest();
        }
        self.kept.insert(key.clone(), asked);
        self.ages.push_back((key, self.now));
    }
}

/// The same failure, for each record that waited.
fn again(failed: &Failed) -> Failed {
    match failed {
        Failed::BadRecord(reason) => Failed::BadRecord(reason.clone()),
        Failed::Error(error) => Failed::Error(Error::new(error.kind(), error.report())),
    }
}

impl<T, K, F, V, G, R> StatelessStep<T> for Answers<F, K, V, G>
where
    T: Send + 'static,
    K: Hash + Eq + Clone + Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    V: Clone + Send + Sync + 'static,
    G: Fn(K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<V, Failed>> + Send + 'static,
{
    type Out = Answer<(T, V)>;

    fn step(&mut self, record: Record<T>, _: Timestamp) -> Outcome<Answer<(T, V)>> {
        Outcome::Emitted(record.map(|value| {
            let key = (self.key)(&value);
            let asked = match self.kept.get(&key) {
                Some(asked) => match asked.peek() {
                    Some(Ok(known)) => return Answer::Known((value, known.clone())),
                    Some(Err(_)) | None => asked.clone(),
                },
                None => {
                    let (fetch, alarm, of) =
                        (Arc::clone(&self.fetch), self.alarm.clone(), key.clone());
                    let answer = self.lookup.calls.make(alarm, move || fetch(of.clone()));
                    let asked = answer.map(|answer| answer.map_err(Arc::new)).boxed().shared();
                    self.keep(key, asked.clone());
                    asked
                }
            };
            let answer = asked.map(|answer| match answer {
                Ok(found) => Ok((value, found)),
                Err(failed) => Err(again(&failed)),
            });
            Answer::Awaited(answer.boxed())
        }))
    }

    fn pass(&mut self, barrier: &Barrier, _: &Arc<str>) {
        self.age(barrier.wall_clock());
    }
}
