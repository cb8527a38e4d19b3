//! Runs a job: events of the source in, tasks started and ended, until the end.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, join};
use tokio::time::Instant;

use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::Job;
use crate::job::backoff::{Backoff, retried};
use crate::job::committer::Rejected;
use crate::job::intake::Intake;
use crate::job::report::Report;
use crate::job::running::{Running, Shutdown};
use crate::job::watch::Watch;
use crate::record::Topic;
use crate::source::{Batch, Context, Source};

/// The pause between two questions whether the place is there.
const PROBE_PAUSE: Duration = Duration::from_secs(2);
/// A run that lasted this long starts again with a short pause.
const STEADY: Duration = Duration::from_secs(60);

impl<S, A, P> Job<S, A, P> {
    /// Runs until `shutdown` is ready, or until a source that ends has been read to its end. Everything
    /// that was taken is committed then, within the [stop deadline](Self::stop_deadline).
    ///
    /// # Errors
    /// A configuration error before anything was read; a transient one if a server could not be reached
    /// within the [connect timeout](Self::connect_timeout); a fenced one if another instance has taken
    /// over a partition that the source did not take away; a permanent one if the pipeline fails, or more was
    /// late or bad than [may be](Self::max_late).
    /// Whatever the error, the place holds exactly the epochs that were committed, and the job's
    /// [`account`](Self::account) says what they amount to.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Report>
    where
        S: Source<Batch: Batch>,
        A: Anchor,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
    {
        self.check_places()?;
        let job = Arc::new(self);
        let watched = (job.account(), job.health.clone(), job.notes.clone());
        let topics = job.source.topics();
        let bounds = topics.iter().map(|topic| job.source.out_of_orderness(Topic::new(topic)));
        let most = bounds.max().unwrap_or_default();
        let watch = Watch::new(&job.name, watched, &job.settings, most);
        let shutdown = async {
            tokio::select! {
                biased;
                () = watch.until(shutdown) => {}
                () = job.probe() => {}
            }
        };
        let mut shutdown = pin!(shutdown.fuse());
        let ended = job.lead(&mut shutdown).await;
        watch.end(ended)
    }
}

impl<S, A, P> Job<S, A, P>
where
    S: Source<Batch: Batch>,
    A: Anchor,
    P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
{
    /// Asks the place whether it is there, while there is nothing to commit. Does not end.
    async fn probe(&self) {
        loop {
            tokio::time::sleep(PROBE_PAUSE).await;
            if self.health.is_quiet() {
                let answer = self.anchor.probe().await;
                self.health.probed(answer.as_ref().err());
            }
        }
    }

    /// Looks at all that the job will need, before anything is read.
    ///
    /// # Errors
    /// With everything that is missing.
    async fn prepare(&self) -> Result<()> {
        // Records that cannot be used, and results that are refused.
        let written = self.writers.iter().flat_map(|writer| writer.topics());
        let topics = self.source.topics().into_iter().chain(self.anchor.topics()).chain(written);
        let topics: Vec<String> = topics.collect::<BTreeSet<_>>().into_iter().collect();
        let letters = async {
            match &self.rejected {
                Rejected::Delivered(to) => to.prepare(&topics).await,
                Rejected::Skipped | Rejected::Fatal => Ok(()),
            }
        };
        let writers = async {
            Error::all(join_all(self.writers.iter().map(|writer| writer.prepare())).await)
        };
        let place = self.anchor.prepare(&self.name);
        let (place, source, letters, writers) = join!(place, self.source.check(), letters, writers);
        Error::all([place, source, letters, writers])
    }

    /// Prepares the place, opens the source and runs, again and again after transient errors.
    async fn lead(
        self: &Arc<Self>,
        shutdown: &mut Shutdown<'_, impl Future<Output = ()> + Send>,
    ) -> Result<Report> {
        let (job, health) = (self, &self.health);
        let account = job.account();
        let context = Context {
            job: job.name.clone(),
            clock: Arc::clone(&job.clock),
            until_end: job.settings.until_end,
            idle_timeout: job.settings.idle_timeout,
        };
        let deadline = Instant::now() + job.settings.connect_timeout;
        health.starting("check what the job needs: servers, tables, topics, rights");
        let prepare = retried(
            Some(deadline),
            "check what the job needs: servers, tables, topics, rights",
            || async { job.prepare().await.inspect_err(|error| health.not_started(error)) },
        );
        tokio::select! {
            biased;
            () = &mut *shutdown => return Ok(account.report()),
            prepared = prepare => prepared?,
        }
        let mut deadline = Some(deadline);
        let mut backoff = Backoff::new();
        loop {
            health.starting("open the source");
            let open = retried(deadline.take(), "open the source", || async {
                let opened = job.source.open(context.clone()).await;
                opened.inspect_err(|error| health.not_started(error))
            });
            let feed = tokio::select! {
                biased;
                () = &mut *shutdown => return Ok(account.report()),
                feed = open => feed?,
            };
            let started = Instant::now();
            let running = Running::start(Arc::clone(job), feed, account.clone());
            let (error, mut unsettled) = match running.run(shutdown.as_mut()).await {
                Err((error, unsettled)) if error.is_transient() => (error, unsettled),
                Err((error, _)) => return Err(error),
                Ok(()) => return Ok(account.report()),
            };
            account.restarted();
            health.starting("run from the source again");
            health.not_started(&error);
            // What is claimed again cannot be asked about any more.
            tokio::select! {
                biased;
                settled = unsettled.settle() => settled?,
                () = &mut *shutdown => return Ok(account.report()),
            }
            if Instant::now().duration_since(started) > STEADY {
                backoff = Backoff::new();
            }
            tokio::select! {
                biased;
                () = &mut *shutdown => return Ok(account.report()),
                () = backoff.wait("run from the source", &error) => {}
            }
        }
    }
}
