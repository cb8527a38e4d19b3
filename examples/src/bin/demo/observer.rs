//! Looks at everything while it runs, and shows it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::topics::SystemTopic;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::chaos::Kills;
use crate::progress::{Ends, History, Watched, lag, rate};
use crate::reader::Reader;
use crate::traffic::{Sent, Shared};
use crate::view::{Moment, PipelineMoment, View};
use crate::worker::Account;

/// How far the traffic may run ahead of the slowest pipeline: what the Kafka in this process is sure to
/// keep.
pub(crate) const MOST_AHEAD: u64 = 30_000;
const LONGEST_CATCH_UP: Duration = Duration::from_secs(30);
/// In this many looks, one after the other, nothing must be left to read: what one pipeline writes last,
/// another has yet to read.
const LOOKS_AT_THE_END: u32 = 3;
const CAMPAIGNS_SHOWN: usize = 8;
const BALANCES_SHOWN: i64 = 8;

/// The pipelines as they run.
pub(crate) type Running = JoinSet<(&'static str, Result<Account>)>;

/// Looks at everything and shows it.
pub(crate) struct Observer {
    pub(crate) view: View,
    pub(crate) reader: Arc<Reader>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) sent: Arc<Sent>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) kills: Arc<Kills>,
    pub(crate) begun: Instant,
    /// How long there is traffic.
    pub(crate) duration: Duration,
}

impl Observer {
    /// Shows moments until all traffic is sent and read, or a pipeline ends before its time.
    pub(crate) async fn until_read(
        &mut self,
        mut traffic: JoinHandle<Result<()>>,
        running: &mut Running,
    ) -> Result<()> {
        let mut tick = interval(self.view.interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut last_sent, mut over_since, mut at_end) = (self.begun, 0, None, 0);
        let mut sent_rates = History::default();
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
            let mut moment = self.look(since).await?;
            moment.sent_rates = sent_rates.add(rate(moment.sent.saturating_sub(last_sent), since));
            last_sent = moment.sent;
            self.view.show(&moment);
            let is_read = moment.pipelines.iter().all(|pipeline| pipeline.lag() == 0);
            at_end = if over_since.is_some() && is_read { at_end + 1 } else { 0 };
            let gave_up = over_since.is_some_and(|over| over.elapsed() > LONGEST_CATCH_UP);
            if at_end == LOOKS_AT_THE_END || gave_up {
                return Ok(());
            }
        }
    }

    async fn look(&mut self, since: Duration) -> Result<Moment> {
        let ends = self.reader.ends().await?;
        self.sent.note(&ends);
        let mut pipelines = Vec::new();
        for watched in &mut self.watched {
            let positions = self.reader.positions(&watched.role).await?;
            let ends = watched.role.own(&ends);
            let behind = self.sent.behind(&positions, &ends);
            pipelines.push(watched.moment(&positions, &ends, behind, since));
        }
        let sent = self.sent.count(SystemTopic::AdEvents);
        let lag = pipelines.iter().map(PipelineMoment::lag).max().unwrap_or(0);
        self.shared.allowed.store((sent + MOST_AHEAD).saturating_sub(lag), Ordering::Relaxed);
        let (balances, ledger) = self.reader.ledger.glance(BALANCES_SHOWN).await?;
        let event_time_ms = self.shared.event_time_ms.load(Ordering::Relaxed);
        let event_time = Timestamp::from_millis(event_time_ms - event_time_ms.rem_euclid(1_000));
        Ok(Moment {
            elapsed: self.begun.elapsed(),
            duration: self.duration,
            sent,
            event_time: event_time.to_string(),
            pipelines,
            kills: self.kills.all(),
            campaigns: self.reader.campaigns.most_seen(CAMPAIGNS_SHOWN).await?,
            balances,
            ledger,
            ..Moment::default()
        })
    }

    /// The pipelines whose positions, as they stand in the places, are not at the end of all that was sent:
    /// each with how many records it has left.
    pub(crate) async fn unread(&self) -> Result<Vec<(&'static str, u64)>> {
        let ends = self.reader.ends().await?;
        let mut unread = Vec::new();
        for watched in &self.watched {
            let positions = self.reader.positions(&watched.role).await?;
            let own = watched.role.own(&ends);
            let left = lag(&positions, &own) + self.missing(watched, &own);
            if left > 0 {
                unread.push((watched.role.name(), left));
            }
        }
        Ok(unread)
    }

    /// How many records were sent that Kafka does not have. What pipelines write we have not counted.
    fn missing(&self, watched: &Watched, ends: &Ends) -> u64 {
        let missing = watched.role.pipeline.reads.iter().map(|topic| {
            let kept = ends.iter().filter(|((of, _), _)| of == topic);
            let kept = kept.map(|(_, end)| u64::try_from(*end).unwrap_or(0)).sum();
            self.sent.count(*topic).saturating_sub(kept)
        });
        missing.sum()
    }
}

/// How a pipeline's last process ended.
pub(crate) type Ended = std::result::Result<(&'static str, Result<Account>), JoinError>;

/// Why a pipeline that ended should not have.
pub(crate) fn ended_early(ended: Ended) -> Error {
    match ended {
        Ok((_, Err(error))) => error,
        Ok((name, Ok(_))) => Error::permanent(format!("keep {name} running: it ended")),
        Err(error) => Error::permanent("keep the pipelines running").because(error),
    }
}
