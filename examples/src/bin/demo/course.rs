//! The course of the demonstration: servers, traffic and pipelines, the end, the proof.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use rtbflow::job::Report;
use rtbflow::{Clock, Error, Result, SystemClock};
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::process::{Outcome, Shutdown, accounting_line};
use rtbflow_examples::topics::SystemTopic;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::asker::Asker;
use crate::campaigns::Campaigns;
use crate::ledger::{Conclusions, Ledger};
use crate::observer::{MOST_AHEAD, Observed, Observer, Running, Shared, ended_early};
use crate::options::DemoOptions;
use crate::pipelines::all;
use crate::proof::Proof;
use crate::stage::Stage;
use crate::traffic::{Sender, Sent};
use crate::view::{View, grouped, tables};

const PACE: Duration = Duration::from_millis(10);
const LONGEST_STOP: Duration = Duration::from_secs(10);
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
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped: Shutdown = stopped.map(|_| ()).boxed().shared();
    let sent = Arc::new(Sent::default());
    let shared = Arc::new(Shared::default());
    let mut running = JoinSet::new();
    let mut observed = Vec::new();
    for ready in all(&stage.places, &stopped)? {
        let name = ready.pipeline.name;
        observed.push(Observed::new(&ready, &stage.places.kafka)?);
        running.spawn(ready.run.map(move |outcome| (name, outcome)));
    }
    let sender = Sender::new(&stage.places.kafka, Arc::clone(&sent))?;
    let ends = Asker::new(&stage.places.kafka, "rtbflow-demo")?;
    let traffic =
        tokio::spawn(send_all(options.clone(), generator, sender, Arc::clone(&shared), asked));
    let observer = Observer { view, ledger, campaigns, observed, ends, sent, shared };
    let observer = observer.until_read(traffic, &mut running).await?;
    drop(stop);
    let accounts = all_ended(&mut running).await?;
    let proved = tell(observer, &accounts).await?;
    if let Some(schema) = &stage.schema {
        View::new().say(&format!("  the tables are in the schema {schema}\n"));
    }
    Ok(proved)
}

/// The end report; whether everything is where it belongs.
async fn tell(observer: Observer, accounts: &[(&'static str, Report)]) -> Result<bool> {
    let Observer { view, ledger, mut campaigns, observed, sent, .. } = observer;
    let best = campaigns.most_seen(CAMPAIGNS_SHOWN).await?;
    view.say(&tables(&best, &campaigns.rankings(GROUPS_SHOWN, RANKS_SHOWN).await?));
    view.say(&conclusions(ledger.outcome().await?));
    let mut books = ledger.books().await?;
    books.spent = campaigns.spent().await?;
    let proof = Proof::of(&sent.all(), &books);
    let mut complete = true;
    view.say("\nwhat became of every record\n");
    for (name, account) in accounts {
        view.say(&format!("  {}", accounting_line(name, account)));
        // What is sent is known of all topics but the one that a pipeline writes.
        let Some(observed) = observed.iter().find(|observed| observed.is_named(name)) else {
            continue;
        };
        let topics = observed.reads();
        let counted: u64 = topics.iter().map(|topic| sent.count(*topic)).sum();
        if !topics.contains(&SystemTopic::CompensationEvents) && account.records_in() < counted {
            complete = false;
            view.say(&format!("    {counted} RECORDS WERE SENT\n"));
        }
    }
    view.say(&proof.text());
    let failed = sent.failed();
    if failed > 0 {
        view.say(&format!("  {failed} records could not be sent\n"));
    }
    Ok(proof.holds() && complete && failed == 0)
}

fn conclusions(found: Conclusions) -> String {
    let Conclusions { conversions, attributed, delay_ms, warned, exhausted, paused } = found;
    format!(
        "\nconversions and budgets\n  {} conversions, {} of them led to by a click, half of those within {} min of it\n  \
         {} budgets reached 80 %, {} were used up, {} campaigns paused\n",
        grouped(conversions),
        grouped(attributed),
        grouped(delay_ms / 60_000),
        grouped(warned),
        grouped(exhausted),
        grouped(paused)
    )
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
    shared.is_over.store(true, Ordering::Relaxed);
    ended.and(finished)
}

/// Waits for all pipelines; their accounts.
async fn all_ended(running: &mut Running) -> Result<Vec<(&'static str, Report)>> {
    let all = async {
        let mut accounts = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((name, Ok(Outcome::Ran(account)))) => accounts.push((name, account)),
                Ok((_, Ok(Outcome::Described(_)))) => {}
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
