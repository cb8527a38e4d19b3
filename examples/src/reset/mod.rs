//! `reset`: removes what a pipeline keeps and what it has written, so that it can begin anew.
//!
//! Positions and state alone would not do: the next run would add everything to what the last one wrote. So
//! each pipeline says what it has written and how that is taken back, and its place removes all of it together.
//!
//! ```text
//!  look ──▶ say what would be removed; without --confirm that is all (exit code 2)
//!  wait until no instance is a member of the group · remove · remove the group's noted offsets
//! ```
//!
//! The members of the group are those who would notice and complain. That nobody else goes on from before, such
//! as a process that has been frozen for an hour, the place sees to: its positions are gone, and a commit says
//! from where it goes on.

mod ledger;
mod sent;
mod shown;

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use rtbflow::epoch::{JobName, Kept};
use rtbflow::{Error, Result};
use tokio::time::{Instant, sleep};

pub use ledger::{InPostgres, Removal};
pub use sent::InKafka;
pub use shown::{InRedis, Written};

use crate::launch::{Launch, retried};
use crate::process::Outcome;

/// How long an instance that was killed may still count as a member: its session, and some more.
const LONGEST_SESSION: Duration = Duration::from_secs(10);
/// The pause between two looks at the group.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is kept of a job and what it has written: in numbers, and in lines for whoever decides.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Positions and state.
    pub kept: Kept,
    /// Results, a line each.
    pub results: Vec<String>,
}

/// The place of a pipeline, as a reset sees it.
pub trait Resets: Sync {
    /// Looks at what is there.
    fn look(&self, job: &JobName) -> impl Future<Output = Result<Found>> + Send;

    /// Removes it; may be called again.
    fn remove(&self, job: &JobName) -> impl Future<Output = Result<()>> + Send;

    /// Why results stay, where they cannot be taken back.
    fn keeps(&self) -> Option<&'static str> {
        None
    }
}

impl Launch {
    /// Resets the pipeline instead of running it, as the options say.
    ///
    /// # Errors
    /// A configuration error if something is in the way: an instance that runs, or records that could not be
    /// read again; transient if a server is away.
    pub async fn reset(&self, place: impl Resets) -> Result<Outcome> {
        let (name, common) = (self.pipeline().name, self.common());
        let job = JobName::new(&common.group)?;
        let deadline = Instant::now() + common.connect_timeout;
        self.kafka().check(common.connect_timeout).await?;
        let found = retried(deadline, || place.look(&job)).await?;
        let lost = self.lost(deadline).await?;
        let text = self.message(&job, &found, &lost, place.keeps());
        match (place.keeps(), common.keep_results) {
            (Some(why), false) if common.confirm => {
                return Err(Error::config(format!(
                    "reset {name}: {why}; give --keep-results as well if that is right so"
                )));
            }
            (None, true) => {
                return Err(Error::config(format!(
                    "reset {name} with --keep-results: its results would be added to by the next run, or stand \
                     in its way; leave --keep-results out, and they are removed"
                )));
            }
            _ => {}
        }
        if !common.confirm {
            let text = format!(
                "{name} reset would remove\n{text}nothing was removed: stop all instances, then give --confirm\n"
            );
            return Ok(Outcome::Unconfirmed(text));
        }
        if !lost.is_empty() && !common.accept_loss {
            return Err(Error::config(format!(
                "reset {name}: {}; results of them would be gone for good. Give --accept-loss as well if that is \
                 right so, or let the pipeline go on under another --group with a database of its own",
                lost.join(", ")
            )));
        }
        self.alone(&job).await?;
        retried(deadline.max(Instant::now() + LONGEST_SESSION), || place.remove(&job))
            .await
            .map_err(|error| {
                Error::new(error.kind(), format!("reset {name}: run it again to its end"))
                    .because(error)
            })?;
        if let Err(error) = self.kafka().forget_group(&job).await {
            tracing::warn!("{}; nothing reads the offsets that stay there", error.report());
        }
        Ok(Outcome::Described(format!("{name} reset has removed\n{text}")))
    }

    /// The topics whose first records are gone, a line each.
    async fn lost(&self, deadline: Instant) -> Result<Vec<String>> {
        let mut lost = Vec::new();
        for topic in self.pipeline().reads {
            let name = topic.name();
            let begins = retried(deadline, || self.kafka().beginnings(name)).await?;
            let gone: i64 = begins.values().sum();
            if gone > 0 {
                lost.push(format!("{gone} offsets of {name} are gone and cannot be read again"));
            }
        }
        Ok(lost)
    }

    fn message(
        &self,
        job: &JobName,
        found: &Found,
        lost: &[String],
        keeps: Option<&str>,
    ) -> String {
        let Kept { positions, buckets, .. } = &found.kept;
        let offsets: i64 = positions.values().filter_map(|at| at.offset).sum();
        let mut text = format!(
            "  of group {job}: positions of {} partitions ({offsets} offsets), {buckets} buckets of state\n",
            positions.len()
        );
        for line in &found.results {
            // Writing into a string does not fail.
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "  the offsets that Kafka notes for the group (nothing reads them)");
        for line in lost.iter().map(String::as_str).chain(keeps) {
            let _ = writeln!(text, "note: {line}");
        }
        text
    }

    /// Waits until no instance is a member of the group.
    async fn alone(&self, job: &JobName) -> Result<()> {
        let patience = Instant::now() + LONGEST_SESSION;
        loop {
            let members = retried(patience, || self.kafka().members(job)).await?;
            if members.is_empty() {
                return Ok(());
            }
            if Instant::now() >= patience {
                let alive: Vec<String> = members.iter().map(ToString::to_string).collect();
                return Err(Error::config(format!(
                    "reset {}: instances of group {job} are alive: {}. Stop all of them first; one that was \
                     killed leaves the group when its session has run out",
                    self.pipeline().name,
                    alive.join(", ")
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
