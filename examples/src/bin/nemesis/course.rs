//! A run from its beginning to its end: servers, instances, traffic, faults, and what is left.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use rtbflow::clock::{Clock, SystemClock};
use rtbflow_examples::generator::Dice;
use rtbflow_examples::topics::{SystemTopic, specs};
use rtbflow_kafka::Kafka;
use tokio::time::{Instant, sleep};

use crate::checker::{self, Contents};
use crate::coda::Coda;
use crate::faults::{Fault, Hold, OfInstances, Scene};
use crate::findings::Findings;
use crate::fleet::Fleet;
use crate::load::{self, stretched};
use crate::options::NemesisOptions;
use crate::pipelines::{Kind, Places};
use crate::positions::{Primaries, Reader};
use crate::schedule::Schedule;
use crate::servers::World;
use crate::silence::Silence;
use crate::topology::Topology;
use crate::traffic::{Budget, History, Sender, Traffic};
use crate::watch::{OPENINGS, Watch};
use crate::{Fallible, report, say};

const LONGEST_START: Duration = Duration::from_secs(120);
/// How long one request to a broker may take.
const REQUEST: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);
/// Between two faults all is well for a moment.
const CALM: Duration = Duration::from_millis(1_500);
const WARM: Duration = Duration::from_secs(4);
/// A run has about half as many days of history, besides its gaps.
const TWICE_DAYS: u64 = 5;
const OPENING: i64 = 1_000_000;

/// Runs all; whether nothing was violated.
///
/// # Errors
/// If servers, topics or the nemesis's own connections fail beyond what faults explain.
pub(crate) async fn perform(options: NemesisOptions) -> Fallible<bool> {
    let folder = options.folder.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("rtbflow-nemesis-{}", std::process::id()))
    });
    std::fs::create_dir_all(&folder)?;
    let findings = Findings::default();
    let mut versions = Vec::new();
    let began = Instant::now();
    for (number, topology) in (1_u64..).zip(&options.topologies) {
        say(&format!("── {} (seed {})", topology.name(), options.seed));
        let own = folder.join(format!("{number}-{}", topology.name()));
        let mut run = Run { options: &options, topology: *topology, findings: &findings, number };
        let ended = run.perform(&own, &mut versions).await;
        ended.map_err(|error| format!("{}: {error}; see {}", topology.name(), own.display()))?;
    }
    let text = report::markdown(&options, &findings, &versions, began.elapsed());
    say(&text);
    if let Some(file) = &options.report {
        std::fs::write(file, &text)?;
    }
    let is_well = findings.violations().is_empty();
    if is_well {
        std::fs::remove_dir_all(&folder)?;
    } else {
        say(&format!("logs are in {}", folder.display()));
    }
    Ok(is_well)
}

/// The run of one topology.
struct Run<'a> {
    options: &'a NemesisOptions,
    topology: Topology,
    findings: &'a Findings,
    number: u64,
}

impl Run<'_> {
    fn time(&self) -> Duration {
        let topologies = f64::from(u32::try_from(self.options.topologies.len()).unwrap_or(1));
        Duration::from_secs_f64(self.options.minutes.max(0.0) * 60.0 / topologies)
    }

    /// How many records a day of the history has: some days pass in a run.
    fn records_a_day(&self) -> u64 {
        u64::from(self.options.rate) * self.time().as_secs() * 2 / TWICE_DAYS + 1_000
    }

    fn faults(&self) -> Fallible<Vec<Fault>> {
        let mut faults = Fault::of(self.topology);
        let wanted = &self.options.faults;
        let known = |name: &&String| Fault::named(name).is_none();
        if let Some(unknown) = wanted.iter().find(known) {
            return Err(format!(
                "there is no fault {unknown}; there are: {}",
                Fault::names().join("; ")
            )
            .into());
        }
        if !wanted.is_empty() {
            faults.retain(|fault| wanted.iter().any(|name| name == fault.name()));
        }
        Ok(faults)
    }

    async fn perform(&mut self, folder: &Path, versions: &mut Vec<String>) -> Fallible {
        let (options, findings, seed) =
            (self.options, self.findings, self.options.seed ^ (self.number << 32));
        let faults = self.faults()?;
        findings.enter(self.topology.name(), "start");
        let prefix = format!("nemesis-{}-{}", SystemClock.now().as_millis(), self.number);
        let has_clock = faults.contains(&Fault::Instances(OfInstances::ClockJumps));
        let mut world = World::start(self.topology, folder, &prefix, has_clock).await?;
        versions.push(report::versions(&world).await);
        make_topics(world.brokers.addresses()).await?;
        let mut history = History::new(seed, self.records_a_day());
        let budgets = history.budgets();
        announce(&world, &budgets).await?;
        let places = Places { names: options.names, ..world.places.clone() };
        let mut fleet = Fleet::new(places, folder, findings.clone(), options.instances);
        fleet.fill()?;
        open(&world, &mut fleet).await?;

        let primaries = Primaries::default();
        primaries.set(&world.postgres.address(), &world.primary()?.address());
        let sender = Sender::new(world.brokers.addresses(), findings)?;
        let reader = Reader::new(world.brokers.addresses(), &world.places, primaries.clone())?;
        let silence = Silence::begin(reader, sender.ends());
        let watch = Watch::begin(primaries.clone(), findings.clone());
        let traffic = Traffic::begin(history, sender, options.rate);
        fleet.wait(WARM).await?;
        let mut dice = Dice::new(seed.wrapping_mul(31));
        let deadline = Instant::now() + self.time();
        for fault in Schedule::new(seed, faults) {
            if Instant::now() >= deadline {
                break;
            }
            let mut scene =
                Scene { world: &mut world, fleet: &mut fleet, dice: &mut dice, findings };
            self.strike(fault, &mut scene, &silence, &primaries).await?;
        }
        findings.enter(self.topology.name(), "what is left");
        say("  the rest is read");
        let (mut history, sender) = traffic.end().await?;
        fleet.end().await;
        drop(silence);
        finish(&mut fleet, &history, &sender).await?;
        say("  all that is left is compared");
        let contents = Contents {
            brokers: world.brokers.addresses(),
            postgres: primaries.postgres(),
            redis: primaries.redis(),
            budgets: &budgets,
            forgets: self.topology.forgets(),
            findings,
        };
        checker::check(&contents, &fleet).await?;
        findings.done();
        drop(watch);
        if options.faults.is_empty() {
            say("  what has to be refused");
            let brokers = world.brokers.addresses();
            let topology = self.topology.name();
            let coda = Coda { brokers, places: &world.places, folder, findings, topology };
            coda.play(&mut history, &sender).await?;
        }
        Ok(())
    }

    /// Does one fault, and waits until all go on.
    async fn strike(
        &self,
        fault: Fault,
        scene: &mut Scene<'_>,
        silence: &Silence,
        primaries: &Primaries,
    ) -> Fallible {
        let findings = self.findings;
        findings.enter(self.topology.name(), fault.name());
        say(&format!("  {}", fault.name()));
        silence.anew();
        let began = Instant::now();
        let bound = Duration::from_secs(self.options.silence);
        let bound_now = || stretched(bound);
        let Hold { time, goes_on } = fault.hold();
        let begun = fault.begin(scene).await;
        if begun.is_ok() {
            scene.fleet.wait(time).await?;
        }
        if goes_on && began.elapsed() >= bound_now() {
            self.judge(&silence.silent_since(began), began.elapsed());
        }
        fault.end(scene).await?;
        let ended = Instant::now();
        primaries.set(&scene.world.postgres.address(), &scene.world.primary()?.address());
        match begun {
            Ok(()) => findings.done(),
            Err(error) => findings.left_out(&error.to_string()),
        }
        while !silence.silent_since(ended).is_empty() && ended.elapsed() < bound_now() {
            scene.fleet.wait(POLL).await?;
        }
        let silent = silence.silent_since(ended);
        self.judge(&silent, ended.elapsed());
        findings.highest(
            "highest load of the machine, in percent of what it carries well",
            load::stretch(),
        );
        // It is not blamed on the next one.
        while !silence.silent_since(ended).is_empty() && ended.elapsed() < 3 * bound_now() {
            scene.fleet.wait(POLL).await?;
        }
        let (longest, who) = silence.longest();
        findings.silent(&who, longest);
        if ended.elapsed() > bound {
            say(&format!("  {:.1} s until all went on", ended.elapsed().as_secs_f64()));
        }
        scene.fleet.may_be_refused = false;
        scene.fleet.want(self.options.instances);
        scene.fleet.wait(CALM).await
    }

    fn judge(&self, silent: &[String], since: Duration) {
        if !silent.is_empty() {
            let who = silent.join(", ");
            self.findings.violation(&format!("silent for {:.1} s: {who}", since.as_secs_f64()));
        }
    }
}

/// Reads what is left of all inputs, and closes all windows.
async fn finish(fleet: &mut Fleet, history: &History, sender: &Sender) -> Fallible {
    for kind in Kind::ALL {
        if kind == Kind::Ranking {
            // What it is scored by stands still now.
            for record in history.rescored() {
                sender.send(&record).await?;
            }
            sender.flush().await?;
        }
        fleet.finish(kind).await?;
    }
    Ok(())
}

/// Makes the topics anew.
async fn make_topics(brokers: &str) -> Fallible {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let letters = SystemTopic::ALL.map(|topic| format!("{}.dead-letter", topic.name()));
    let names = SystemTopic::ALL.map(SystemTopic::name);
    let all: Vec<&str> = names.into_iter().chain(letters.iter().map(String::as_str)).collect();
    let options =
        AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
    let deadline = Instant::now() + LONGEST_START;
    let answers = loop {
        match admin.delete_topics(&all, &options).await {
            Ok(answers) => break answers,
            // One that was just in trouble may take its time, and may have done it.
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(POLL).await,
        }
    };
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, error)) => return Err(format!("delete {topic}: {error}").into()),
        }
    }
    let deadline = Instant::now() + LONGEST_START;
    // A broker may not have forgotten the former ones yet.
    while let Err(error) = Kafka::new(brokers).create_topics(&specs(&SystemTopic::ALL, &[])).await {
        if Instant::now() > deadline {
            return Err(error.report().into());
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Fills the API server's table.
async fn announce(world: &World, budgets: &[Budget]) -> Fallible {
    let admin = world.postgres.admin().await?;
    for budget in budgets {
        let row = "insert into campaigns (campaign_id, advertiser_id, daily_budget, status, updated_at) \
                   values ($1, $2, $3, $4, now())";
        let Budget { campaign, advertiser, daily, status } = budget;
        admin.execute(row, &[campaign, advertiser, daily, status]).await?;
    }
    Ok(())
}

/// Waits until the pipelines have made their tables, and gives advertisers something to begin with.
async fn open(world: &World, fleet: &mut Fleet) -> Fallible {
    let admin = world.postgres.admin().await?;
    let deadline = Instant::now() + LONGEST_START;
    let made = "select to_regclass('advertiser_balances') is not null and \
                to_regclass('balance_ledger') is not null";
    while !admin.query_one(made, &[]).await?.try_get::<_, bool>(0)? {
        if Instant::now() > deadline {
            return Err("the pipelines have not made their tables".into());
        }
        fleet.wait(POLL).await?;
    }
    let openings = format!(
        "{OPENINGS}; insert into nemesis_openings select 'advertiser_' || n, {OPENING} * n \
         from generate_series(0, 15) n; \
         insert into advertiser_balances select advertiser_id, balance, now() from nemesis_openings"
    );
    admin.batch_execute(&openings).await?;
    Ok(())
}
