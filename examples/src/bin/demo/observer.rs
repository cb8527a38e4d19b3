//! Looks at everything while it runs, and shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::process::Outcome;
use rtbflow_examples::topics::SystemTopic;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::asker::Asker;
use crate::campaigns::Campaigns;
use crate::ledger::Ledger;
use crate::pipelines::{Keeps, Ready};
use crate::progress::{Watched, rate};
use crate::traffic::Sent;
use crate::view::{Moment, View};

/// How far the traffic may run ahead of the slowest pipeline: what the Kafka in this process is sure to
/// keep.
pub(crate) const MOST_AHEAD: u64 = 30_000;
const LONGEST_CATCH_UP: Duration = Duration::from_secs(30);
/// In this many looks, one after the other, nothing must be left to read: what one pipeline writes last,
/// another has yet to read.
const LOOKS_AT_THE_END: u32 = 3;
const CAMPAIGNS_SHOWN: usize = 8;
const BALANCES_SHOWN: i64 = 5;

/// What the traffic and the view know of each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) allowed: AtomicU64,
    pub(crate) event_time_ms: AtomicI64,
    pub(crate) is_over: AtomicBool,
}

/// The pipelines as they run.
pub(crate) type Running = JoinSet<(&'static str, Result<Outcome>)>;

/// A pipeline that is looked at, and who knows its positions.
pub(crate) struct Observed {
    watched: Watched,
    keeps: Keeps,
    asker: Asker,
}

impl Observed {
    /// A pipeline that is about to run.
    pub(crate) fn new(ready: &Ready, kafka: &str) -> Result<Self> {
        let asker = Asker::new(kafka, &ready.group)?;
        let watched = Watched::new(ready.pipeline, ready.group.clone());
        Ok(Self { watched, keeps: ready.keeps, asker })
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.watched.pipeline.name == name
    }

    /// The topics that it reads.
    pub(crate) fn reads(&self) -> &'static [SystemTopic] {
        self.watched.pipeline.reads
    }
}

/// Looks at everything and shows it.
pub(crate) struct Observer {
    pub(crate) view: View,
    pub(crate) ledger: Ledger,
    pub(crate) campaigns: Campaigns,
    pub(crate) observed: Vec<Observed>,
    pub(crate) ends: Asker,
    pub(crate) sent: Arc<Sent>,
    pub(crate) shared: Arc<Shared>,
}

impl Observer {
    /// Shows moments until all traffic is sent and read, or a pipeline ends before its time.
    pub(crate) async fn until_read(
        mut self,
        mut traffic: JoinHandle<Result<()>>,
        running: &mut Running,
    ) -> Result<Self> {
        let begun = Instant::now();
        let mut tick = interval(self.view.interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut last_sent, mut over_since, mut at_end) = (begun, 0, None, 0);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                ended = &mut traffic, if over_since.is_none() => {
                    over_since = Some(Instant::now());
                    ended.map_err(|error| Error::permanent("generate traffic").because(error))??;
                }
                Some(ended) = running.join_next() => return Err(ended_early(ended)),
            }
            let since = last.elapsed().max(Duration::from_millis(1));
            last = Instant::now();
            let mut moment = self.look(last_sent, since).await?;
            moment.elapsed = begun.elapsed();
            last_sent = moment.sent;
            self.view.show(&moment);
            let is_read = moment.pipelines.iter().all(|pipeline| pipeline.lag == 0);
            at_end = if over_since.is_some() && is_read { at_end + 1 } else { 0 };
            let gave_up = over_since.is_some_and(|over| over.elapsed() > LONGEST_CATCH_UP);
            if at_end == LOOKS_AT_THE_END || gave_up {
                return Ok(self);
            }
        }
    }

    async fn look(&mut self, last_sent: u64, since: Duration) -> Result<Moment> {
        let ends = self.ends.ends().await?;
        let sent = self.sent.count(SystemTopic::AdEvents);
        let mut pipelines = Vec::new();
        for Observed { watched, keeps, asker } in &mut self.observed {
            let positions = match keeps {
                Keeps::Postgres => self.ledger.positions(&watched.group).await?,
                Keeps::Redis => self.campaigns.positions(&watched.group).await?,
                Keeps::Kafka => asker.positions(watched.pipeline.reads).await?,
            };
            pipelines.push(watched.moment(&positions, &ends, since));
        }
        let lag = pipelines.iter().map(|pipeline| pipeline.lag).max().unwrap_or(0);
        self.shared.allowed.store((sent + MOST_AHEAD).saturating_sub(lag), Ordering::Relaxed);
        let (balances, ledger) = self.ledger.glance(BALANCES_SHOWN).await?;
        let event_time = self.shared.event_time_ms.load(Ordering::Relaxed);
        Ok(Moment {
            sent,
            sent_rate: rate(sent.saturating_sub(last_sent), since),
            event_time: Timestamp::from_millis(event_time).to_string(),
            pipelines,
            campaigns: self.campaigns.most_seen(CAMPAIGNS_SHOWN).await?,
            balances,
            ledger,
            ..Moment::default()
        })
    }
}

type Ended = std::result::Result<(&'static str, Result<Outcome>), tokio::task::JoinError>;

/// Why a pipeline that ended should not have.
pub(crate) fn ended_early(ended: Ended) -> Error {
    match ended {
        Ok((_, Ok(Outcome::Failed(_, error)) | Err(error))) => error,
        Ok((name, Ok(_))) => Error::permanent(format!("keep {name} running: it ended")),
        Err(error) => Error::permanent("keep the pipelines running").because(error),
    }
}
