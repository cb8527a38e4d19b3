//! Runs a job: events of the source in, tasks started and ended, until the end.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, join};
use tokio::time::Instant;

use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::backoff::{Backoff, retried};
use crate::job::instances::Membership;
use crate::job::intake::Intake;
use crate::job::report::Report;
use crate::job::running::{Running, Shutdown};
use crate::job::signals;
use crate::job::watch::Watch;
use crate::job::{Job, Setup};
use crate::record::Topic;
use crate::source::{Batch, Context, Source};

/// A run that lasted this long starts again with a short pause.
const STEADY: Duration = Duration::from_secs(60);

impl<S, A, P> Job<S, A, P> {
    /// Runs until the process is asked to end, by Ctrl-C or, on Unix, by SIGTERM, or until a source that ends has
    /// been read to its end. Everything that was taken is committed then, within the
    /// [stop deadline](Self::stop_deadline); a second signal ends the run at once.
    ///
    /// The signals are taken when the future is polled first, and the process does not end by itself at one from
    /// then on: a program that goes on after its job, or takes signals for other purposes, stops the job by
    /// [`run_until`](Self::run_until).
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until); a permanent one as well if the system does not let the process take
    /// signals, or a second one came before everything was committed.
    pub async fn run(self) -> Result<Report>
    where
        S: Source<Batch: Batch>,
        A: Anchor,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
    {
        let (first, second) = signals::take()?;
        let job = self.setup.name.clone();
        let shutdown = async {
            first.await;
            tracing::info!(%job, "asked to end: commits what was taken; a second signal ends it at once");
        };
        let at_once = async {
            second.await;
            Error::permanent(format!(
                "end job {job} in order: a second signal came before the last commits; what they held is read \
                 again after the next start"
            ))
        };
        self.conduct(shutdown, at_once).await
    }

    /// Runs until `shutdown` is ready, or until a source that ends has been read to its end. Everything
    /// that was taken is committed then, within the [stop deadline](Self::stop_deadline). To end by the
    /// process's signals take [`run`](Self::run).
    ///
    /// # Errors
    /// A configuration error, before anything was connected or read, with everything in what was set that
    /// cannot be used, or with everything that is missing where the servers are; a transient one if a server could not be reached
    /// within the [connect timeout](Self::connect_timeout); a fenced one if another instance has taken
    /// over a partition that the source did not take away; a permanent one if the pipeline fails, or more was
    /// late or bad than [may be](Self::max_late).
    /// Whatever the error, the place holds exactly the epochs that were committed, and the job's
    /// [`account`](Self::account) says what they amount to.
    pub async fn run_until(self, shutdown: impl Future<Output = ()> + Send) -> Result<Report>
    where
        S: Source<Batch: Batch>,
        A: Anchor,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
    {
        self.conduct(shutdown, pending()).await
    }

    /// Runs until `shutdown` is ready and all is committed, or until there is an error that ends it at once.
    async fn conduct(
        self,
        shutdown: impl Future<Output = ()> + Send,
        at_once: impl Future<Output = Error> + Send,
    ) -> Result<Report>
    where
        S: Source<Batch: Batch>,
        A: Anchor,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
    {
        self.topology()?;
        let job = Arc::new(self);
        let watched = (job.account(), job.setup.health.clone(), job.setup.notes.clone());
        let topics = job.source.topics();
        let bounds = topics.iter().map(|topic| job.source.out_of_orderness(Topic::new(topic)));
        let most = bounds.max().unwrap_or_default();
        let watch = Watch::new(&job.setup.name, watched, &job.setup.settings, most);
        let shutdown = watch.until(shutdown);
        let mut shutdown = pin!(shutdown.fuse());
        let ended = tokio::select! {
            biased;
            error = at_once => Err(error),
            // On the heap, so that who awaits a job has no large future of it.
            ended = Box::pin(job.lead(&mut shutdown)) => ended,
        };
        watch.end(ended)
    }
}

impl<S, A, P> Job<S, A, P>
where
    S: Source<Batch: Batch>,
    A: Anchor,
    P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
{
    /// Looks at all that the job will need, before anything is read.
    ///
    /// # Errors
    /// With everything that is missing.
    async fn prepare(&self) -> Result<()> {
        // Records that cannot be used, and results that are refused.
        let written = self.setup.writers.iter().flat_map(|writer| writer.topics());
        let topics = self.source.topics().into_iter().chain(self.anchor.topics()).chain(written);
        let topics: Vec<String> = topics.collect::<BTreeSet<_>>().into_iter().collect();
        let letters = async {
            match &self.setup.dead_letters {
                Some(to) => to.prepare(&topics).await,
                None => Ok(()),
            }
        };
        let writers = async {
            Error::all(join_all(self.setup.writers.iter().map(|writer| writer.prepare())).await)
        };
        let place = self.anchor.prepare(&self.setup.name);
        let (place, source, letters, writers) = join!(place, self.source.check(), letters, writers);
        Error::all([place, source, letters, writers])
    }

    /// Prepares the place, opens the source and runs, again and again after transient errors.
    async fn lead(
        self: &Arc<Self>,
        shutdown: &mut Shutdown<'_, impl Future<Output = ()> + Send>,
    ) -> Result<Report> {
        let account = self.account();
        let deadline = Instant::now() + self.setup.settings.connect_timeout;
        match before(shutdown, self.prepared(deadline)).await {
            Some(prepared) => prepared?,
            None => return Ok(account.report()),
        }
        let Setup { name, instances, health, .. } = &self.setup;
        let mut membership = Membership::new(name, &self.anchor, instances, health);
        let (mut deadline, mut backoff) = (Some(deadline), Backoff::new());
        loop {
            let opened = self.opened(&mut membership, deadline.take());
            let Some(feed) = before(shutdown, opened).await else { break };
            let started = Instant::now();
            let running = Running::start(Arc::clone(self), feed?, membership.lost());
            let (error, mut unsettled) = match running.run(shutdown.as_mut()).await {
                Err((error, unsettled)) if membership.survives(&error) => (error, unsettled),
                Err((error, _)) => return Err(error),
                Ok(()) => break,
            };
            account.restarted();
            self.setup.health.starting("run from the source again");
            self.setup.health.not_started(&error);
            // What is claimed again cannot be asked about any more.
            tokio::select! {
                biased;
                settled = unsettled.settle() => settled?,
                () = &mut *shutdown => break,
            }
            if Instant::now().duration_since(started) > STEADY {
                backoff = Backoff::new();
            }
            let pause = backoff.wait("run from the source", &error);
            let Some(()) = before(shutdown, pause).await else { break };
        }
        membership.give_back().await;
        Ok(account.report())
    }

    /// All that the job needs was looked at, and is there.
    async fn prepared(&self, deadline: Instant) -> Result<()> {
        let (health, what) =
            (&self.setup.health, "check what the job needs: servers, tables, topics, rights");
        health.starting(what);
        let prepare =
            || async { self.prepare().await.inspect_err(|error| health.not_started(error)) };
        retried(Some(deadline), what, prepare).await
    }

    /// The source, opened once this process may run; with a deadline for the first time.
    async fn opened(
        &self,
        membership: &mut Membership<A>,
        deadline: Option<Instant>,
    ) -> Result<S::Feed> {
        loop {
            // Whoever has waited for others has started long ago.
            let deadline = if membership.obtain().await? { None } else { deadline };
            tokio::select! {
                biased;
                // Opened under a name that is another's by now, it would be taken from that one.
                _ = membership.lost() => {}
                opened = self.open(deadline, membership.name()) => return opened,
            }
        }
    }

    /// The source, opened under this name.
    async fn open(&self, deadline: Option<Instant>, instance: Option<Arc<str>>) -> Result<S::Feed> {
        let Setup { name, clock, settings, health, .. } = &self.setup;
        health.starting("open the source");
        let context = Context {
            job: name.clone(),
            clock: Arc::clone(clock),
            until_end: settings.until_end,
            idle_timeout: settings.idle_timeout,
            instance,
        };
        let open = || async {
            let opened = self.source.open(context.clone()).await;
            opened.inspect_err(|error| health.not_started(error))
        };
        retried(deadline, "open the source", open).await
    }
}

/// What comes of a future, or none if the job has to stop before.
async fn before<T>(
    shutdown: &mut Shutdown<'_, impl Future<Output = ()>>,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown => None,
        done = future => Some(done),
    }
}
