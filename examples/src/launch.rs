//! Starts a pipeline's job as its options say: servers first, then topics and tables, then the job.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select;
use rtbflow::codec::Decoder;
use rtbflow::epoch::Anchor;
use rtbflow::flow::{End, Flow};
use rtbflow::job::{Intake, Job};
use rtbflow::source::{Batch, ByDecoder, Decoded, Source};
use rtbflow::{Error, Result};
use rtbflow_kafka::{Kafka, KafkaTopic};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use crate::options::{Command, Common, DeadLetterChoice};
use crate::pipeline::Pipeline;
use crate::process::{Outcome, Shutdown};
use crate::reach;
use crate::topics::{SystemTopic, specs};

/// The pause between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(250);

/// A pipeline about to run: its options, and the Kafka that they name.
#[derive(Debug, Clone)]
pub struct Launch {
    pipeline: Pipeline,
    common: Common,
    kafka: Kafka,
}

impl Launch {
    /// Takes the options; nothing is connected.
    ///
    /// # Errors
    /// If no Kafka is named, or an option of its client cannot be used.
    pub fn new(pipeline: Pipeline, common: &Common) -> Result<Self> {
        let options = common.kafka_options()?;
        let kafka = options
            .into_iter()
            .fold(Kafka::new(common.kafka()?), |kafka, (key, value)| kafka.option(key, value));
        kafka.validate()?;
        Ok(Self { pipeline, common: common.clone(), kafka })
    }

    /// The Kafka that the options name.
    #[must_use]
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// Whether the pipeline is to be reset rather than run.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.common.command == Some(Command::Reset)
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        self.pipeline
    }

    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// A topic as the pipeline's source.
    #[must_use]
    pub fn source<D: Decoder>(
        &self,
        topic: SystemTopic,
        decoder: D,
    ) -> Decoded<KafkaTopic, ByDecoder<D>> {
        let (common, partitions) = (&self.common, topic.partitions());
        let topic = self.kafka.topic(topic.name()).expected_partitions(partitions);
        let topic = topic.begin_anew(common.begin_anew);
        match &common.instance {
            Some(name) => topic.instance(name),
            None => topic,
        }
        .decode(decoder)
    }

    /// Runs the job until it ends or `shutdown` is ready. `prepare` makes what the pipeline itself needs,
    /// such as its tables, and is tried again while a server is away.
    ///
    /// # Errors
    /// Transient if a server cannot be reached within `--connect-timeout`. That the job itself failed is
    /// an [outcome](Outcome::Failed), with its account.
    pub async fn run<S, A, P, F>(
        self,
        job: Job<S, A, P>,
        prepare: impl Fn() -> F + Send,
        shutdown: Shutdown,
    ) -> Result<Outcome>
    where
        S: Source,
        S::Batch: Batch,
        A: Anchor,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let job = self.configure(job);
        if self.common.print_topology {
            let Pipeline { name, .. } = self.pipeline;
            let (group, topology) = (&self.common.group, job.topology()?);
            let drawn = topology.mermaid();
            return Ok(Outcome::Described(format!("{name} as {group}\n{topology}\n{drawn}")));
        }
        tokio::select! {
            biased;
            () = shutdown.clone() => return Ok(Outcome::Ran(rtbflow::job::Report::default())),
            prepared = self.prepare(prepare) => prepared?,
        }
        let account = job.account();
        self.common.probed.answer_for(job.health());
        Ok(match job.run_until(shutdown).await {
            Ok(report) => Outcome::Ran(report),
            Err(error) => Outcome::Failed(account.report(), error),
        })
    }

    /// As [`run`](Self::run), with something else going on beside the job: `beside` begins when all is
    /// prepared, with a future that is ready when the job has ended; what it then has left to do is waited
    /// for. If it fails, so does the whole.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_beside<S, A, P, F, W>(
        self,
        job: Job<S, A, P>,
        prepare: impl Fn() -> F + Send + Sync,
        beside: impl FnOnce(Shutdown) -> W,
        shutdown: Shutdown,
    ) -> Result<Outcome>
    where
        S: Source,
        S::Batch: Batch,
        A: Anchor,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
        W: Future<Output = Result<()>>,
    {
        let is_prepared = Notify::new();
        let (end, ended) = oneshot::channel::<()>();
        let (fail, failed) = oneshot::channel();
        let ended = ended.map(drop).boxed().shared();
        let failed = async {
            if failed.await.is_err() {
                // Without a failure the sender is merely dropped.
                std::future::pending::<()>().await;
            }
        };
        let stop = select(shutdown, failed.boxed()).map(drop).boxed().shared();
        let run = async {
            let prepare = || async { prepare().await.map(|()| is_prepared.notify_one()) };
            let outcome = self.run(job, prepare, stop).await;
            drop(end);
            outcome
        };
        let beside = async {
            tokio::select! {
                biased;
                () = is_prepared.notified() => {}
                () = ended.clone() => return Ok(()),
            }
            let outcome = beside(ended.clone()).await;
            if outcome.is_err() {
                // The job may have ended already.
                let _ = fail.send(());
            }
            outcome
        };
        Ok(match tokio::join!(run, beside) {
            (Ok(Outcome::Ran(account)), Err(error)) => Outcome::Failed(account, error),
            (outcome, _) => outcome?,
        })
    }

    fn configure<S, A, P>(&self, job: Job<S, A, P>) -> Job<S, A, P> {
        let Common {
            commit_interval,
            idle_timeout,
            until_end,
            connect_timeout,
            max_late,
            max_bad,
            dead_letter,
            failover_after,
            ..
        } = self.common;
        let job = job
            .instances(&self.common.instances)
            .failover_after(failover_after)
            .commit_interval(commit_interval)
            .idle_timeout(idle_timeout)
            .until_end(until_end)
            .connect_timeout(connect_timeout)
            .max_late(max_late)
            .max_bad(max_bad);
        match dead_letter {
            DeadLetterChoice::Topic => {
                job.dead_letters(self.kafka.dead_letters().pipeline(self.pipeline.name))
            }
            DeadLetterChoice::Skip => job,
            DeadLetterChoice::Fail => job.fail_on_bad_records(),
        }
    }

    async fn prepare<F>(&self, prepare: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let deadline = Instant::now() + self.common.connect_timeout;
        reach::kafka(self.common.kafka()?, deadline).await?;
        self.kafka.check(deadline.saturating_duration_since(Instant::now())).await?;
        retried(deadline, prepare).await?;
        if self.common.create_topics {
            let specs = specs(self.pipeline.reads, self.pipeline.writes);
            retried(deadline, || async { self.kafka.create_topics(&specs).await.map(drop) })
                .await?;
        }
        Ok(())
    }
}

/// Tries again while a server is away, until the deadline.
pub(crate) async fn retried<T, F>(deadline: Instant, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match attempt().await {
            Err(error) if error.is_transient() && Instant::now() + PAUSE < deadline => {
                tracing::warn!("{}; trying again", error.report());
                sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// Tables are made by whoever may, and only when asked to.
pub(crate) fn no_preparation() -> impl Future<Output = Result<(), Error>> + Send {
    std::future::ready(Ok(()))
}
