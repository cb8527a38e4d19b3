//! The course of the demonstration: servers, traffic and pipelines, the end, the proof.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use rtbflow::{Clock, Error, Result, SystemClock};
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::process::Shutdown;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::campaigns::Campaigns;
use crate::chaos::{Chaos, Kills, Victim};
use crate::ledger::Ledger;
use crate::observer::{MOST_AHEAD, Observer, Running, ended_early};
use crate::options::DemoOptions;
use crate::pipelines::{Role, all};
use crate::progress::Watched;
use crate::proof::{Proof, windows};
use crate::reader::Reader;
use crate::stage::Stage;
use crate::traffic::{Sender, Sent, Shared};
use crate::view::{View, accounts, conclusions, findings, survived};
use crate::worker::{Account, supervise};

const PACE: Duration = Duration::from_millis(10);
/// A little more than one of them may take.
const LONGEST_STOP: Duration = Duration::from_secs(12);
const CAMPAIGNS_SHOWN: usize = 10;
const GROUPS_SHOWN: usize = 3;
const RANKS_SHOWN: isize = 5;
/// Of how many ad-events one is followed by one that cannot be used.
const DIRT_ONE_IN: u64 = 500;

/// Runs the demonstration; whether the proof holds.
pub(crate) async fn perform(options: &DemoOptions, asked: Shutdown) -> Result<bool> {
    let view = View::new();
    view.say("starting the servers\n");
    let stage = Stage::set(options).await?;
    view.say(&format!("{stage}\n"));
    let plan = plan(options);
    let generator = Generator::new(plan);
    let ledger = Ledger::open(&stage.places.postgres, stage.schema.as_deref()).await?;
    ledger.announce(&generator.budgets()).await?;
    let campaigns = Campaigns::open(&stage.places.redis, plan.campaigns).await?;
    let roles = all(&stage.places);
    let reader = Arc::new(Reader::new(&stage.places, &roles, ledger, campaigns)?);
    let (sent, shared, kills) =
        (Arc::new(Sent::default()), Arc::new(Shared::default()), Arc::new(Kills::default()));
    let sender = Sender::new(&stage.places.kafka, Arc::clone(&sent))?;
    let begun = Instant::now();
    let (stop, stopped) = oneshot::channel::<()>();
    let (mut running, victims) = start(&roles, &stopped.map(drop).boxed().shared());
    let traffic =
        tokio::spawn(send_all(options.clone(), generator, sender, Arc::clone(&shared), asked));
    let chaos = Chaos {
        victims,
        reader: Arc::clone(&reader),
        kills: Arc::clone(&kills),
        shared: Arc::clone(&shared),
        begun,
    };
    let watched = roles.into_iter().map(Watched::new).collect();
    let duration = options.duration;
    let mut observer = Observer { view, reader, watched, sent, shared, kills, begun, duration };
    tokio::try_join!(observer.until_read(traffic, &mut running), chaos.run(options))?;
    drop(stop);
    let ended = all_ended(&mut running).await?;
    let proved = tell(observer, &ended).await?;
    if let Some(schema) = &stage.schema {
        View::new().say(&format!("  the tables are in the schema {schema}\n"));
    }
    Ok(proved)
}

/// Starts a process for each pipeline; who can kill them.
fn start(roles: &[Role], stop: &Shutdown) -> (Running, Vec<Victim>) {
    let mut running = JoinSet::new();
    let mut victims = Vec::new();
    for role in roles {
        let (killer, kills) = mpsc::channel(1);
        victims.push((role.clone(), killer));
        let (name, run) = (role.name(), supervise(role.clone(), kills, stop.clone()));
        running.spawn(run.map(move |ended| (name, ended)));
    }
    (running, victims)
}

/// The end report; whether everything is where it belongs.
async fn tell(mut observer: Observer, ended: &[(&'static str, Account)]) -> Result<bool> {
    let kills = observer.kills.all();
    observer.view.close(&kills);
    let Observer { view, reader, sent, .. } = &observer;
    let Reader { ledger, campaigns, .. } = &**reader;
    let best = campaigns.most_seen(CAMPAIGNS_SHOWN).await?;
    view.say(&findings(&best, &campaigns.rankings(GROUPS_SHOWN, RANKS_SHOWN).await?));
    view.say(&conclusions(ledger.outcome().await?));
    view.say(&accounts(ended, &kills));
    let unread = observer.unread().await?;
    for (name, records) in &unread {
        view.say(&format!("  {name} HAS {records} RECORDS LEFT TO READ\n"));
    }
    let sent = sent.all();
    let mut books = ledger.books().await?;
    books.spent = campaigns.spent().await?;
    books.windows = campaigns.windows(&windows(&sent).into_keys().collect::<Vec<_>>()).await?;
    let proof = Proof::of(&sent, &books);
    view.say(&proof.text(&survived(&kills)));
    let failed = observer.sent.failed();
    if failed > 0 {
        view.say(&format!("  {failed} records could not be sent\n"));
    }
    let are_back = kills.iter().all(|kill| kill.outage.is_some());
    Ok(proof.holds() && unread.is_empty() && are_back && failed == 0)
}

/// Event time runs `speed` times as fast as the clock, and ends at the present.
fn plan(options: &DemoOptions) -> Plan {
    let span = options.duration.saturating_mul(options.speed);
    let ads = options.rate.saturating_mul(options.duration.as_secs().max(1));
    let step = span / u32::try_from(ads).unwrap_or(u32::MAX).max(1);
    let clean = Plan::new(options.seed, SystemClock.now() - span, step);
    Plan { dirt_one_in: Some(DIRT_ONE_IN), ..clean }
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
    shared.end();
    ended.and(finished)
}

/// Waits for all pipelines; their accounts.
async fn all_ended(running: &mut Running) -> Result<Vec<(&'static str, Account)>> {
    let all = async {
        let mut accounts = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((name, Ok(account))) => accounts.push((name, account)),
                early => return Err(ended_early(early)),
            }
        }
        accounts.sort_unstable_by_key(|(name, _)| *name);
        Ok(accounts)
    };
    timeout(LONGEST_STOP, all).await.unwrap_or_else(|_| {
        Err(Error::permanent(format!("stop the pipelines within {LONGEST_STOP:?}")))
    })
}
