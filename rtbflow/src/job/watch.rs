//! Watches a job while it runs: what has to be looked at by the clock and not by the record.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use metrics::{Gauge, gauge};
use tokio::time::{MissedTickBehavior, interval};

use crate::epoch::JobName;
use crate::job::health::Health;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is looked at.
pub(crate) struct Watch {
    health: Health,
    commit_age: Gauge,
    ready: Gauge,
}

impl Watch {
    pub(crate) fn new(job: &JobName, health: Health) -> Self {
        let job = job.to_string();
        Self {
            health,
            commit_age: gauge!("rtbflow_commit_age_seconds", "job" => job.clone()),
            ready: gauge!("rtbflow_ready", "job" => job),
        }
    }

    /// Looks again and again until `shutdown` is ready.
    pub(crate) async fn until(&self, shutdown: impl Future<Output = ()>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                _ = look.tick() => self.look(),
            }
        }
    }

    fn look(&self) {
        let age = self.health.commit_age().unwrap_or_default();
        self.commit_age.set(age.as_secs_f64());
        self.ready.set(if self.health.ready().is_ok() { 1.0 } else { 0.0 });
    }
}
