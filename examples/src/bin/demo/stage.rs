//! The course of the demonstration: servers, traffic and pipelines, the end, the proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use rtbflow::{Clock, Error, Result, SystemClock, Timestamp};
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::pipeline::BALANCE;
use rtbflow_examples::process::{Outcome, Shutdown};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::broker::Broker;
use crate::campaigns::Campaigns;
use crate::ledger::Ledger;
use crate::options::DemoOptions;
use crate::pipelines::{Places, all};
use crate::progress::{Watched, rate};
use crate::servers::{Server, start_postgres, start_redis};
use crate::traffic::{Sender, Sent};
use crate::view::{Moment, View};

/// How far the traffic may run ahead of the slowest pipeline: what the Kafka in this process is sure to
/// keep.
const MOST_AHEAD: u64 = 30_000;
const PACE: Duration = Duration::from_millis(10);
const LONGEST_CATCH_UP: Duration = Duration::from_secs(30);
const LONGEST_STOP: Duration = Duration::from_secs(10);
const CAMPAIGNS_SHOWN: usize = 8;
const BALANCES_SHOWN: i64 = 5;

/// The servers that are started or were given.
struct Stage {
    broker: Broker,
    places: Places,
    schema: Option<String>,
    // Dropped last, when nobody asks them any more.
    _servers: Vec<Server>,
}

impl Stage {
    async fn set(options: &DemoOptions) -> Result<Self> {
        let mut servers = Vec::new();
        let unique = format!("rtbflow_demo_{}", SystemClock.now().as_millis());
        let redis = match &options.redis {
            Some(url) => url.expose().to_owned(),
            None => {
                let server = start_redis().await?;
                let url = server.url().to_owned();
                servers.push(server);
                url
            }
        };
        let (postgres, schema) = match &options.postgres {
            Some(url) => (within(url.expose(), &unique), Some(unique.clone())),
            None => {
                let server = start_postgres().await?;
                let url = server.url().to_owned();
                servers.push(server);
                (url, None)
            }
        };
        let broker = match &options.real_kafka {
            Some(servers) => Broker::Real { servers: servers.clone() },
            None => Broker::mock()?,
        };
        let private =
            options.redis.is_none() && options.postgres.is_none() && options.real_kafka.is_none();
        let places = Places {
            kafka: broker.servers(),
            arguments: broker.arguments(),
            redis,
            postgres,
            group_prefix: (!private).then_some(unique),
        };
        Ok(Self { broker, places, schema, _servers: servers })
    }
}

/// The URL of a Postgres, for sessions whose tables are in a schema of their own.
fn within(url: &str, schema: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-csearch_path%3D{schema}")
}

/// What the traffic and the view know of each other.
#[derive(Debug, Default)]
struct Shared {
    allowed: AtomicU64,
    event_time_ms: AtomicI64,
    is_over: AtomicBool,
}

/// Runs the demonstration; whether the proof holds.
pub(crate) async fn perform(options: &DemoOptions, asked: Shutdown) -> Result<bool> {
    let view = View::new();
    view.say("starting the servers\n");
    let stage = Stage::set(options).await?;
    view.say(&format!("{:?}, {} private servers\n", stage.broker, stage._servers.len()));
    let plan = plan(options);
    let ledger = Ledger::open(&stage.places.postgres, stage.schema.as_deref()).await?;
    let campaigns = Campaigns::open(&stage.places.redis, plan.campaigns).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped: Shutdown = stopped.map(|_| ()).boxed().shared();
    let sent = Arc::new(Sent::default());
    let shared = Arc::new(Shared::default());
    let mut running = JoinSet::new();
    let mut watched = Vec::new();
    for ready in all(&stage.places, &stopped)? {
        let name = ready.name;
        watched.push(Watched::new(name, ready.group));
        running.spawn(ready.run.map(move |outcome| (name, outcome)));
    }
    let sender = Sender::new(&stage.places.kafka, Arc::clone(&sent))?;
    let traffic = tokio::spawn(send_all(
        options.clone(),
        Generator::new(plan),
        sender,
        Arc::clone(&shared),
        asked,
    ));
    let observer = Observer { view, ledger, campaigns, watched, sent, shared };
    let observer = observer.until_read(traffic, &mut running).await?;
    drop(stop);
    let report = all_ended(&mut running).await?;
    let proof = observer.ledger.prove(&observer.sent.charges()).await?;
    observer.view.say(&report);
    observer.view.say(&proof.text());
    if let Some(schema) = &stage.schema {
        observer.view.say(&format!("  the tables are in the schema {schema}\n"));
    }
    let failed = observer.sent.failed();
    if failed > 0 {
        observer.view.say(&format!("  {failed} records could not be sent\n"));
    }
    Ok(proof.holds() && failed == 0)
}

/// Event time runs `speed` times as fast as the clock, and ends at the present.
fn plan(options: &DemoOptions) -> Plan {
    let span = options.duration.saturating_mul(options.speed);
    let ads = options.rate.saturating_mul(options.duration.as_secs().max(1));
    let step = span / u32::try_from(ads).unwrap_or(u32::MAX).max(1);
    Plan::new(options.seed, SystemClock.now() - span, step)
}

/// Sends traffic at an even pace until its time is over or somebody asks for an end.
async fn send_all(
    options: DemoOptions,
    mut generator: Generator,
    sender: Sender,
    shared: Arc<Shared>,
    asked: Shutdown,
) -> Result<()> {
    let traffic = async {
        let begun = Instant::now();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begun.elapsed() < options.duration {
            pace.tick().await;
            let due_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let due = options.rate.saturating_mul(due_ms) / 1_000;
            let most = due.min(shared.allowed.load(Ordering::Relaxed).max(MOST_AHEAD));
            while generator.ads() < most {
                let Some(record) = generator.next() else { break };
                shared.event_time_ms.fetch_max(record.timestamp.as_millis(), Ordering::Relaxed);
                sender.send(record).await?;
            }
        }
        Ok(())
    };
    let ended = match select(Box::pin(traffic), asked).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), _)) => Ok(()),
    };
    let finished = sender.finish(LONGEST_STOP).await;
    shared.is_over.store(true, Ordering::Relaxed);
    ended.and(finished)
}

type Running = JoinSet<(&'static str, Result<Outcome>)>;

/// Looks at everything and shows it.
struct Observer {
    view: View,
    ledger: Ledger,
    campaigns: Campaigns,
    watched: Vec<Watched>,
    sent: Arc<Sent>,
    shared: Arc<Shared>,
}

impl Observer {
    /// Shows moments until all traffic is sent and read, or a pipeline ends before its time.
    async fn until_read(
        mut self,
        mut traffic: JoinHandle<Result<()>>,
        running: &mut Running,
    ) -> Result<Self> {
        let begun = Instant::now();
        let mut tick = interval(self.view.interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut last_sent, mut over_since) = (begun, 0, None);
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
            let gave_up = over_since.is_some_and(|over| over.elapsed() > LONGEST_CATCH_UP);
            if over_since.is_some() && (is_read || gave_up) {
                return Ok(self);
            }
        }
    }

    async fn look(&mut self, last_sent: u64, since: Duration) -> Result<Moment> {
        let (ends, sent) = self.sent.ends();
        let more = sent.saturating_sub(last_sent);
        let mut pipelines = Vec::new();
        for watched in &mut self.watched {
            let positions = if watched.name == BALANCE.name {
                self.ledger.positions(&watched.group).await?
            } else {
                self.campaigns.positions(&watched.group).await?
            };
            pipelines.push(watched.moment(&positions, &ends, more, since));
        }
        let lag = pipelines.iter().map(|pipeline| pipeline.lag).max().unwrap_or(0);
        self.shared.allowed.store((sent + MOST_AHEAD).saturating_sub(lag), Ordering::Relaxed);
        let (balances, ledger) = self.ledger.glance(BALANCES_SHOWN).await?;
        let event_time = self.shared.event_time_ms.load(Ordering::Relaxed);
        Ok(Moment {
            sent,
            sent_rate: rate(more, since),
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

fn ended_early(ended: Ended) -> Error {
    match ended {
        Ok((_, Ok(Outcome::Failed(_, error)) | Err(error))) => error,
        Ok((name, Ok(_))) => Error::permanent(format!("keep {name} running: it ended")),
        Err(error) => Error::permanent("keep the pipelines running").because(error),
    }
}

/// Waits for all pipelines; their accounting lines.
async fn all_ended(running: &mut Running) -> Result<String> {
    let all = async {
        let mut lines = String::from("\n");
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((name, Ok(Outcome::Ran(accounting)))) => {
                    accounting.check()?;
                    lines.push_str(&accounting.line(name));
                }
                Ok((_, Ok(Outcome::Described(_)))) => {}
                early => return Err(ended_early(early)),
            }
        }
        Ok(lines)
    };
    timeout(LONGEST_STOP, all).await.unwrap_or_else(|_| {
        Err(Error::permanent(format!("stop the pipelines within {LONGEST_STOP:?}")))
    })
}
