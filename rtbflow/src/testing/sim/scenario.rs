//! What is simulated, and what each instance's job is made of.

use std::future::{Future, pending};
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;

use crate::error::Result;
use crate::job::{Job, Report};
use crate::position::JobName;
use crate::testing::sim::chance::Chance;
use crate::testing::sim::dead_letters::SimDeadLetters;
use crate::testing::sim::failure::difference;
use crate::testing::sim::log::SimLog;
use crate::testing::sim::place::{SimPlace, Store};
use crate::testing::sim::source::SimSource;
use crate::testing::sim::steps::Accounts;
use crate::testing::sim::wall_clock::WallClock;

/// When the event time of a partition goes on that stands at its end.
const IDLE: Duration = Duration::from_secs(2);
/// How long those that are left may take to get to the end, in virtual time, where nothing else is said.
const SETTLING: Duration = Duration::from_secs(120);

/// What must hold of the rows after each commit.
pub type Always<R> = dyn Fn(&[R]) -> Result<(), String> + Send + Sync;

/// What is simulated: a log, a place, and a job from one to the other.
pub trait Scenario {
    /// The values in the log.
    type Value: Clone + Send + Sync + 'static;
    /// The place.
    type Store: Store;

    /// The job's name.
    fn job(&self) -> JobName;

    /// The log; the same for the same decisions.
    fn log(&self, chance: &Chance) -> SimLog<Self::Value>;

    /// An empty place.
    fn store(&self) -> Self::Store;

    /// What is wrong with the rows that are there in the end; `expected` are those of an uninterrupted
    /// run, and both are in order. By default they must be the same.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn verdict(
        &self,
        rows: Vec<<Self::Store as Store>::Row>,
        expected: Vec<<Self::Store as Store>::Row>,
    ) -> Result<(), String> {
        difference("row", rows, expected)
    }

    /// How long those that are left after the last fault may take to get to the end, in virtual time: the
    /// last windows close as idle partitions' event time goes on with the clock. Default two minutes.
    fn settling(&self) -> Duration {
        SETTLING
    }

    /// Whether epochs are cut after one, two or five rows in some lives, so that barriers pass between results
    /// that are due at once. By default they are not.
    fn small_epochs(&self) -> bool {
        false
    }

    /// Whether each row that is ever there must be one that an uninterrupted run makes, which is then looked at after
    /// each commit. True unless overridden: where results depend on where an epoch ends, it is too much to ask.
    fn is_exact(&self) -> bool {
        true
    }

    /// What must hold of the rows after each commit besides, which come in the order of the commits. Nothing unless
    /// overridden.
    fn always(&self) -> Option<Arc<Always<<Self::Store as Store>::Row>>> {
        None
    }

    /// How many instances there are at a time, at least and at most. One to three unless overridden.
    fn instances(&self) -> RangeInclusive<u32> {
        1..=3
    }

    /// How many names the instances have: those beyond stand by. None, which is the default, for instances without names.
    fn names(&self) -> u32 {
        0
    }

    /// Runs the job in one life of an instance.
    fn run(
        &self,
        instance: Instance<Self::Value, Self::Store>,
    ) -> BoxFuture<'static, Result<Report>>;
}

/// One life of an instance: what its job is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Instance<T, A> {
    /// Where it reads.
    pub source: SimSource<T>,
    /// Where it writes.
    pub place: SimPlace<A>,
    /// The other settings of its job.
    pub conditions: Conditions,
}

/// Under what conditions an instance runs its job.
#[derive(Debug)]
pub struct Conditions {
    pub(super) dead_letters: SimDeadLetters,
    pub(super) until_end: bool,
    pub(super) clock: WallClock,
    pub(super) accounts: Accounts,
    pub(super) stop_after: Option<Duration>,
    pub(super) commit_interval: Duration,
    pub(super) most_rows: usize,
    pub(super) names: u32,
}

impl Conditions {
    /// Gives a job its clock, its settings and its dead-letter topic.
    pub fn settle<S, A, P>(&self, job: Job<S, A, P>) -> Job<S, A, P> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.push(job.account());
        job.clock(self.clock.clone())
            .until_end(self.until_end)
            .commit_interval(self.commit_interval)
            .idle_timeout(IDLE)
            .dead_letters(self.dead_letters.clone())
            .most_rows(self.most_rows)
            .instances((0..self.names).map(|number| format!("name-{number}")))
    }

    /// When the job is asked to stop.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let after = self.stop_after;
        async move {
            match after {
                Some(after) => sleep(after).await,
                None => pending().await,
            }
        }
    }
}

/// What the place of a scenario holds.
pub(super) type Row<S> = <<S as Scenario>::Store as Store>::Row;
