//! Watches a job while it runs: what has to be looked at by the clock and not by the record.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::{Error, Result};
use crate::job::health::Health;
use crate::job::measures::JobMeasures;
use crate::job::notes::Notes;
use crate::job::report::{Account, Report};
use crate::job::settings::Settings;
use crate::job::share::{Most, Shares};
use crate::position::JobName;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a job that goes on sums up what was late or bad, and is judged by it.
const SUM_UP_EVERY: Duration = Duration::from_mins(1);
/// A job that goes on is judged by this many of these times together.
const JUDGED_TIMES: usize = 10;
/// A job that goes on is not judged by fewer records.
const LEAST_RECORDS: u64 = 100;

/// What is looked at.
pub(crate) struct Watch {
    job: JobName,
    account: Account,
    health: Health,
    notes: Notes,
    most: Most,
    /// The largest bound on disorder of the job's topics.
    out_of_orderness: Duration,
    /// Whether it reads to an end: then it is judged there, by everything.
    until_end: bool,
    measures: JobMeasures,
    seen: Mutex<Seen>,
}

struct Seen {
    next_sum: Instant,
    /// How the account stood at the last sums, oldest first.
    sums: VecDeque<Report>,
    exceeded: Option<Error>,
}

impl Watch {
    pub(crate) fn new(
        job: &JobName,
        (account, health, notes): (Account, Health, Notes),
        settings: &Settings,
        out_of_orderness: Duration,
    ) -> Self {
        let sums = VecDeque::from([account.report()]);
        let seen = Seen { next_sum: Instant::now() + SUM_UP_EVERY, sums, exceeded: None };
        Self {
            job: job.clone(),
            account,
            health,
            notes,
            most: settings.most,
            out_of_orderness,
            until_end: settings.until_end,
            measures: JobMeasures::new(job),
            seen: Mutex::new(seen),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again and again until `shutdown` is ready, or more was late or bad than may be.
    pub(crate) async fn until(&self, shutdown: impl Future<Output = ()>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                _ = look.tick() => if self.look().is_err() { return },
            }
        }
    }

    fn measure(&self) {
        self.measures.account(&self.account.report());
        let age = self.health.commit_age().unwrap_or_default();
        self.measures.health(age, self.health.ready().is_ok());
    }

    /// Looks. An error, which is kept, if more was late or bad than may be.
    fn look(&self) -> Result<(), ()> {
        self.measure();
        let mut seen = self.seen();
        if Instant::now() < seen.next_sum {
            return Ok(());
        }
        seen.next_sum = Instant::now() + SUM_UP_EVERY;
        self.sum_up(&mut seen).map_err(|error| seen.exceeded = Some(error))
    }

    /// Says what was late or bad in the last minute, and judges the last ten.
    fn sum_up(&self, seen: &mut Seen) -> Result<()> {
        let now = self.account.report();
        let fresh = self.notes.take_fresh();
        if let Some(before) = seen.sums.back()
            && let Some(line) = Shares::between(before, &now).line(&fresh, self.out_of_orderness)
        {
            tracing::warn!(job = %self.job, "in the last minute {line}");
        }
        seen.sums.push_back(now);
        while seen.sums.len() > JUDGED_TIMES + 1 {
            seen.sums.pop_front();
        }
        // What reads to an end is judged there, by everything.
        let Some(before) = seen.sums.front().filter(|_| !self.until_end) else { return Ok(()) };
        let shares = Shares::between(before, &now);
        if shares.records() < LEAST_RECORDS {
            return Ok(());
        }
        let summary = self.summary(&shares);
        self.most.check(&shares, "records of the last ten minutes", &summary)
    }

    fn summary(&self, shares: &Shares) -> String {
        // Where nothing is worth a line, there is nothing to say.
        shares.line(&self.notes.whole(), self.out_of_orderness).unwrap_or_default()
    }

    /// The run has ended: says what was late or bad in all of it, and judges it.
    ///
    /// # Errors
    /// If it ended in order but more was late or bad than may be.
    pub(crate) fn end(&self, ended: Result<Report>) -> Result<Report> {
        let shares = Shares::between(&Report::default(), &self.account.report());
        let line = shares.line(&self.notes.whole(), self.out_of_orderness);
        if let Some(line) = &line {
            tracing::warn!(job = %self.job, "in the whole run {line}");
        }
        let ended = ended.and_then(|report| match self.seen().exceeded.take() {
            Some(error) => Err(error),
            None => {
                let summary = line.unwrap_or_default();
                self.most.check(&shares, "records of the run", &summary).map(|()| report)
            }
        });
        self.health.ended(ended.as_ref().err());
        self.measure();
        ended
    }
}
