//! Makes another value of each by a call that takes its time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use crate::activity::Activity;
use crate::alarm::Alarm;
use crate::barrier::{Barrier, Class, Reject};
use crate::error::{Error, Result};
use crate::flow::{Elements, Flow};
use crate::lookup::Failed;
use crate::operators::in_order::{Answer, InOrder};
use crate::operators::stateless::{Outcome, Stateless, StatelessStep};
use crate::record::Record;
use crate::time::{Timestamp, some_time};

/// The pause after the first attempt that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How calls are made: how many at a time, how long each may take, how often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    pub(crate) at_most: usize,
    deadline: Duration,
    attempts: u32,
}

impl Calls {
    /// This many calls at a time, at least one. Each attempt may take five seconds, and there are five.
    #[must_use]
    pub fn at_most(count: usize) -> Self {
        Self { at_most: count, deadline: Duration::from_secs(5), attempts: 5 }
    }

    /// How long an attempt may take; one that takes longer has failed and is made again.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many attempts are made, at least one, where one fails by a transient error. Between them is a
    /// pause that grows from 50 milliseconds to two seconds.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Whether calls can be made so.
    pub(super) fn check(&self) -> Result<()> {
        let Self { at_most, deadline, attempts } = self;
        Error::all([
            Error::unless(*at_most > 0, || {
                "it makes 0 calls at a time; give `Calls::at_most` 1 or more".to_owned()
            }),
            some_time("it awaits a call", *deadline),
            Error::unless(*attempts > 0, || {
                "it makes 0 attempts; give `Calls::attempts` 1 or more".to_owned()
            }),
        ])
    }

    /// Makes a call, again if need be.
    pub(crate) async fn make<U, R>(
        self,
        alarm: Alarm,
        mut call: impl FnMut() -> R,
    ) -> Result<U, Failed>
    where
        R: Future<Output = Result<U, Failed>>,
    {
        let mut pause = FIRST_PAUSE;
        let mut left = self.attempts;
        loop {
            left = left.saturating_sub(1);
            let answer = match select(pin!(call()), alarm.after(self.deadline)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => {
                    let attempted = format!("await a call: no answer within {:?}", self.deadline);
                    Err(Failed::Error(Error::transient(attempted)))
                }
            };
            match answer {
                Err(Failed::Error(error)) if error.is_transient() && left > 0 => {
                    tracing::debug!(error = %error.report(), "a call failed: trying again");
                }
                answer => return answer,
            }
            alarm.after(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl<S: Elements<Value: Clone>> Flow<S> {
    /// Makes another value of each by an asynchronous call; timestamp, origin and order stay.
    ///
    /// Where many records ask for the same, take [`lookup`](crate::KeyedFlow::lookup), which asks once.
    /// What needs no waiting belongs into [`map`](Self::map).
    ///
    /// # Time and state
    /// None. As many calls as [`Calls`] says are under way at a time, and no more is read while there are
    /// that many. A barrier waits for the calls before it, so an epoch is whole; if calls take longer than
    /// the commit interval, commits do too. Deadlines and pauses need a job: outside of one no time passes.
    ///
    /// What a call answers is not a function of the records. A call is made again for every record that was
    /// not committed before a restart, and may answer something else then; only the last answer is committed,
    /// with everything that was made of it. What the call *does* elsewhere may so be done more than once.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::BadRecord;
    /// use rtbflow::operators::Calls;
    /// use rtbflow::testing::{run, values};
    ///
    /// let halves = run(values([4, 3, 2]), |flow| {
    ///     flow.map_async(Calls::at_most(2), |n| async move {
    ///         if n % 2 == 0 { Ok(n / 2) } else { Err(BadRecord::new("odd").into()) }
    ///     })
    /// });
    /// assert_eq!(halves, [2, 1]);
    /// ```
    pub fn map_async<U, F, R>(self, calls: Calls, call: F) -> Flow<impl Elements<Value = U>>
    where
        U: Send + 'static,
        F: Fn(S::Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<U, Failed>> + Send + 'static,
    {
        let call = Call { call: Arc::new(call), calls, alarm: self.tip.alarm() };
        self.answered("map_async", calls, call, calls.check())
    }
}

impl<S: Elements> Flow<S> {
    /// The answers to what a step asks of each record, in order; `kind` is what the topology calls it.
    pub(super) fn answered<T, U>(
        self,
        kind: &'static str,
        calls: Calls,
        ask: T,
        settings: Result<()>,
    ) -> Flow<impl Elements<Value = U>>
    where
        T: StatelessStep<S::Value, Out = Answer<U>>,
        U: Send + 'static,
    {
        let tip = self.tip.then(kind);
        tip.check([settings]);
        let asked = InOrder::new(Stateless::new(self.stream, ask, &tip), calls.at_most);
        let settle = Settle { rejects: Vec::new(), failure: None, activity: tip.activity() };
        Flow { stream: Stateless::new(asked, settle, &tip), tip }
    }
}

/// Calls for each record.
struct Call<F> {
    call: Arc<F>,
    calls: Calls,
    alarm: Alarm,
}

impl<V, U, F, R> StatelessStep<V> for Call<F>
where
    V: Clone + Send + 'static,
    U: Send + 'static,
    F: Fn(V) -> R + Send + Sync + 'static,
    R: Future<Output = Result<U, Failed>> + Send + 'static,
{
    type Out = Answer<U>;

    fn step(&mut self, record: Record<V>, _: Timestamp) -> Outcome<Answer<U>> {
        let (call, alarm) = (Arc::clone(&self.call), self.alarm.clone());
        let calls = self.calls;
        Outcome::Emitted(
            record.map(|value| {
                Answer::Awaited(calls.make(alarm, move || call(value.clone())).boxed())
            }),
        )
    }
}

/// Accounts for the calls that have failed.
struct Settle {
    rejects: Vec<(Reject, Class)>,
    /// Why the epoch cannot be committed.
    failure: Option<Error>,
    activity: Activity,
}

impl<U: Send + 'static> StatelessStep<Result<U, Failed>> for Settle {
    type Out = U;

    fn step(&mut self, record: Record<Result<U, Failed>>, _: Timestamp) -> Outcome<U> {
        let Record { value, timestamp, origin } = record;
        match value {
            Ok(value) => return Outcome::Emitted(Record { value, timestamp, origin }),
            Err(Failed::BadRecord(reason)) => {
                let reject = origin.map(|origin| Reject { origin, reason });
                self.rejects.extend(reject.map(|reject| (reject, Class::DeadLettered)));
            }
            Err(Failed::Error(error)) => {
                self.failure.get_or_insert(error);
                self.activity.add(1);
            }
        }
        Outcome::Rejected
    }

    fn pass(&mut self, barrier: &Barrier, operator: &Arc<str>) {
        if !self.rejects.is_empty() {
            barrier.gather_of(operator, |epoch| epoch.reject(self.rejects.drain(..)));
        }
        if let Some(error) = self.failure.take() {
            barrier.fail(error);
        }
    }
}
