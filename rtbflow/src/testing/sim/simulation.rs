//! Tries a pipeline under everything that can go wrong, in one call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::Result;
use crate::flow::{End, Flow};
use crate::job::{Intake, Job, Report};
use crate::position::JobName;
use crate::testing::sim::failure::{Failure, difference};
use crate::testing::sim::run::{check, find};
use crate::testing::sim::scenario::{Always, Conditions, Instance, Scenario};
use crate::testing::sim::{AnyAnchor, Chance, Ledger, SimBatch, SimLog, SimSource};

/// What the simulation gives a pipeline.
pub type SimFlow<T> = Flow<Intake<SimBatch<T>>>;

/// A pipeline under simulation: what it makes of a log while instances crash, freeze and come back as
/// zombies, while the group takes tasks from one and gives them to another, while the place fails, is slow
/// or loses its answers, and while records come twice or do not decode and partitions stay idle.
/// Everything on one thread and in virtual time, so that hundreds of hours take seconds.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::Timestamp;
/// use rtbflow::operators::window::{Count, Late, Tumbling};
/// use rtbflow::testing::builders::at;
/// use rtbflow::testing::sim::{Chance, Simulation, SimLog};
///
/// /// Two partitions of numbers, a second apart.
/// fn numbers(chance: &Chance) -> SimLog<u64> {
///     let list = |_| (0..chance.between(0..50)).map(|n| (n, at(1_000 * n as i64))).collect();
///     SimLog::laid_out(chance, "numbers", 2, Duration::ZERO, (0..2).map(list).collect())
/// }
///
/// Simulation::new(numbers, |numbers, ledger| {
///     numbers
///         .key_by(|n| n % 3)
///         .window(Tumbling::of(Duration::from_secs(10)).late(Late::DeadLetter))
///         .aggregate("counts", Count)
///         .map(|window| (window.window.start, window.key, window.value))
///         .to(ledger.sink())
/// })
/// .check(20);
/// ```
pub struct Simulation<T: Clone + Send + Sync + 'static, R> {
    log: Box<dyn Fn(&Chance) -> SimLog<T> + Send + Sync>,
    pipeline: Arc<Pipeline<T, R>>,
    invariant: Option<Box<Always<R>>>,
    always: Option<Arc<Always<R>>>,
}

/// A pipeline, whatever its rows.
type Drawn<T> = Box<dyn Fn(SimFlow<T>) -> End + Send + Sync>;

fn run_job<T: Clone + Send + Sync + 'static>(
    source: SimSource<T>,
    place: AnyAnchor,
    conditions: Conditions,
    pipeline: Drawn<T>,
) -> BoxFuture<'static, Result<Report>> {
    async move {
        let job = Job::new("simulated").source(source).anchor(place).pipeline(pipeline);
        conditions.settle(job).run_until(conditions.shutdown()).await
    }
    .boxed()
}

type Pipeline<T, R> = dyn Fn(SimFlow<T>, &Ledger<R>) -> End + Send + Sync;

impl<T, R> Simulation<T, R>
where
    T: Clone + Send + Sync + 'static,
    R: Clone + Ord + fmt::Debug + Send + Sync + 'static,
{
    /// A simulation of a pipeline over a log, both of which are made anew for each seed. The pipeline ends
    /// in sinks of the ledger: in several, if it has branches.
    #[must_use]
    pub fn new(
        log: impl Fn(&Chance) -> SimLog<T> + Send + Sync + 'static,
        pipeline: impl Fn(SimFlow<T>, &Ledger<R>) -> End + Send + Sync + 'static,
    ) -> Self {
        Self { log: Box::new(log), pipeline: Arc::new(pipeline), invariant: None, always: None }
    }

    /// What must hold of the rows in the end, which come in order. Without it they must be the same as
    /// after a run that nothing disturbed; that is too much to ask where results depend on where an epoch
    /// ends, as those of [`combine`](crate::KeyedFlow::combine) do.
    #[must_use]
    pub fn invariant(
        self,
        holds: impl Fn(&[R]) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { invariant: Some(Box::new(holds)), ..self }
    }

    /// What must hold of the rows after each single commit, in the order of the commits. Without it, and without an
    /// [`invariant`](Self::invariant), each row must be one that a run makes that nothing disturbs.
    ///
    /// A place may be taken over by a server that is behind: then rows go away together with the positions.
    #[must_use]
    pub fn always(
        self,
        holds: impl Fn(&[R]) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { always: Some(Arc::new(holds)), ..self }
    }

    /// Tries it under this many seeds from 0 on; `RTBFLOW_SIM_SEEDS` says another number, and
    /// `RTBFLOW_SIM_SEED` names a single one.
    ///
    /// # Panics
    /// If it fails under a seed: with the seed, what happened, and the fewest faults that it takes.
    pub fn check(&self, seeds: u64) {
        check(self, seeds);
    }

    /// The first of this many seeds under which it fails, with the fewest faults that it takes.
    #[must_use]
    pub fn find(&self, seeds: u64) -> Option<Failure> {
        find(self, seeds)
    }
}

impl<T: Clone + Send + Sync + 'static, R> fmt::Debug for Simulation<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulation")
    }
}

impl<T, R> Scenario for Simulation<T, R>
where
    T: Clone + Send + Sync + 'static,
    R: Clone + Ord + fmt::Debug + Send + Sync + 'static,
{
    type Value = T;
    type Store = Ledger<R>;

    #[expect(clippy::expect_used, reason = "the name is legal")]
    fn job(&self) -> JobName {
        JobName::new("simulated").expect("a legal name")
    }

    fn log(&self, chance: &Chance) -> SimLog<T> {
        (self.log)(chance)
    }

    fn store(&self) -> Ledger<R> {
        Ledger::default()
    }

    fn verdict(&self, rows: Vec<R>, expected: Vec<R>) -> std::result::Result<(), String> {
        match &self.invariant {
            Some(holds) => holds(&rows).map_err(|what| format!("the invariant is broken: {what}")),
            None => difference("row", rows, expected),
        }
    }

    fn is_exact(&self) -> bool {
        self.invariant.is_none()
    }

    fn always(&self) -> Option<Arc<Always<R>>> {
        self.always.clone()
    }

    fn small_epochs(&self) -> bool {
        true
    }

    /// Enough for windows of some minutes; it is spent only where something fails.
    fn settling(&self) -> Duration {
        Duration::from_hours(1)
    }

    fn run(&self, instance: Instance<T, Ledger<R>>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions } = instance;
        let (pipeline, ledger) = (Arc::clone(&self.pipeline), place.store().clone());
        // Of one type whatever the rows: a job is large, and takes the compiler long.
        let pipeline: Drawn<T> = Box::new(move |flow| pipeline(flow, &ledger));
        run_job(source, AnyAnchor::new(place), conditions, pipeline)
    }
}
