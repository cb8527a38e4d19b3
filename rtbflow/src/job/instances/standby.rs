//! Waiting for a name, and taking it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::time::{Instant, sleep};

use crate::epoch::{Anchor, Claim};
use crate::error::{Error, Result};
use crate::job::backoff::Backoff;
use crate::job::health::{Health, Tasks};
use crate::job::instances::heartbeat::{Held, Pulse};
use crate::job::instances::silence::{Observed, is_taken, taken};
use crate::job::instances::{Instances, TASK, job_of_names, partition};
use crate::position::{JobName, Position};
use crate::record::Partition;

/// Who has lost a name stands by for this many times the silence before it takes one again, and twice as long each
/// time, so that two that are slow by turns do not chase each other.
const RESTS: u32 = 5;
/// It has run well again once it has had a name for this long.
const STEADY: Duration = Duration::from_secs(60);
const MOST_DOUBLINGS: u32 = 4;

/// A process that waits for a name.
pub(crate) struct Standby<A> {
    job: JobName,
    names_of: JobName,
    /// With connections of its own: a beat must not wait for a large commit.
    anchor: A,
    instances: Instances,
    health: Health,
    observed: Vec<Option<Observed>>,
    /// How often in a row a name was lost soon after it was taken.
    losses: u32,
    taken: Option<Instant>,
    rests_until: Instant,
}

impl<A: Anchor> Standby<A> {
    pub(crate) fn new(job: JobName, anchor: &A, instances: Instances, health: Health) -> Self {
        let count = instances.names.len();
        Self {
            names_of: job_of_names(&job),
            job,
            anchor: anchor.apart(),
            observed: vec![None; count],
            instances,
            health,
            losses: 0,
            taken: None,
            rests_until: Instant::now(),
        }
    }

    /// The name that it had is another's.
    pub(crate) fn lost(&mut self) {
        let steady = self.taken.is_some_and(|taken| taken.elapsed() >= STEADY);
        self.losses = if steady { 0 } else { (self.losses + 1).min(MOST_DOUBLINGS) };
        let rest = self.instances.silence * RESTS * 2_u32.pow(self.losses);
        self.rests_until = Instant::now() + rest;
    }

    /// Waits until a name can be had, and takes it.
    ///
    /// # Errors
    /// A configuration error if the place cannot say where names stand, or holds none for this user.
    pub(crate) async fn take(&mut self) -> Result<Held> {
        let job = self.job.clone();
        tracing::info!(%job, names = ?self.instances.names, "stands by for the name of an instance");
        self.health.starting("stand by for the name of an instance");
        let standing_by = gauge!("rtbflow_standing_by", "job" => job.to_string());
        standing_by.set(1.0);
        let taken = self.wait().await;
        standing_by.set(0.0);
        taken
    }

    /// Looks again and again, and takes the first name that can be had.
    async fn wait(&mut self) -> Result<Held> {
        let mut backoff = Backoff::new();
        loop {
            match self.look().await {
                Ok(Some(held)) => return Ok(held),
                Ok(None) => backoff.succeeded("look for the name of an instance"),
                Err(error) if error.is_transient() => {
                    let now = Instant::now();
                    self.observed.iter_mut().flatten().for_each(|name| name.begin_again(now));
                    let pause = backoff.failed("look for the name of an instance", &error);
                    self.health.probed(Some(&error));
                    sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
            sleep(self.instances.beat()).await;
        }
    }

    /// Looks at all names once, and takes the first that can be had.
    async fn look(&mut self) -> Result<Option<Held>> {
        let partitions: Vec<Partition> =
            self.instances.names.iter().map(|name| partition(name)).collect();
        let asked = Instant::now();
        let found = self.anchor.probe(&self.names_of, &partitions).await?;
        let answered = Instant::now();
        let found = found.filter(|found| found.len() == partitions.len());
        let found = found.ok_or_else(|| self.cannot_say())?;
        self.health.turned(Tasks::Held(0));
        self.health.probed(None);
        let mut free = None;
        for (at, (position, name)) in found.iter().zip(&mut self.observed).enumerate() {
            let seen = name.get_or_insert_with(|| Observed::first(*position, answered));
            let still = seen.again(*position, asked, answered);
            let is_silent = still >= seen.limit(self.instances.silence);
            if is_silent || !is_taken(position) {
                free.get_or_insert((at, *position, still));
            }
        }
        match free.filter(|_| Instant::now() >= self.rests_until) {
            Some((at, position, still)) => self.try_to_take(at, position, still).await,
            None => Ok(None),
        }
    }

    /// Takes a name, if it still stands where it was found.
    async fn try_to_take(
        &mut self,
        at: usize,
        found: Position,
        still: Duration,
    ) -> Result<Option<Held>> {
        let Some(name) = self.instances.names.get(at).cloned() else { return Ok(None) };
        let mark = random();
        let found =
            if found == Position::default() { self.begin(&name, mark).await? } else { found };
        let (job, anchor) = (self.names_of.clone(), self.anchor.clone());
        let mut pulse = Pulse { job, anchor, name: Arc::clone(&name), at: found };
        if !pulse.step(taken(&found, mark)).await? {
            return Ok(None);
        }
        match is_taken(&found) {
            true => {
                tracing::warn!(job = %self.job, instance = %name, silent_ms = still.as_millis(),
                "takes over an instance whose heartbeat has stopped")
            }
            false => {
                tracing::info!(job = %self.job, instance = %name, "takes the name of an instance")
            }
        }
        self.taken = Some(Instant::now());
        self.observed.fill(None);
        Ok(Some(Held::new(name, pulse, self.instances.beat())))
    }

    /// A name that nobody has ever had begins to stand somewhere.
    async fn begin(&self, name: &str, mark: u64) -> Result<Position> {
        let claim = Claim::new(TASK, vec![partition(name)], mark);
        let claimed = self.anchor.claim(&self.names_of, &claim).await?;
        claimed.first().copied().ok_or_else(|| self.cannot_say())
    }

    #[cold]
    fn cannot_say(&self) -> Error {
        Error::config(format!(
            "stand by for the instances of job {}: the place {} does not say where they stand (`Anchor::probe`); take \
             Postgres or Redis for the place, or leave `instances` out and name each instance at the source",
            self.job,
            self.anchor.place().kind()
        ))
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
