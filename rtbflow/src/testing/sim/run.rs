//! Runs a scenario under a seed and compares it with the run in which nothing went wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::{ErrorKind, Result};
use crate::job::{Job, Report};
use crate::position::JobName;
use crate::record::Partition;
use crate::testing::TokioClock;
use crate::testing::sim::chance::Chance;
use crate::testing::sim::fault::{Fault, FaultKind, shrink};
use crate::testing::sim::group::Group;
use crate::testing::sim::life::Life;
use crate::testing::sim::log::SimLog;
use crate::testing::sim::place::{Letters, SimDeadLetters, SimPlace, Store};
use crate::testing::sim::server::Server;
use crate::testing::sim::source::SimSource;
use crate::testing::sim::truth::Truth;
use crate::time::Timestamp;

/// The variable that names the one seed to run.
const SEED: &str = "RTBFLOW_SIM_SEED";
/// The variable that says how many seeds to run.
const SEEDS: &str = "RTBFLOW_SIM_SEEDS";
/// Instances at a time.
const MOST_INSTANCES: u32 = 3;
/// When the event time of a partition goes on that stands at its end.
const IDLE: Duration = Duration::from_secs(2);
/// How long those that are left may take to get to the end, in virtual time, where nothing else is said.
const SETTLING: Duration = Duration::from_secs(120);
/// How long a run without faults may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is simulated: a log, a place, and a job from one to the other.
pub trait Scenario {
    /// The values in the log.
    type Value: Clone + Send + Sync + 'static;
    /// The place.
    type Store: Store;

    /// The job's name.
    fn job(&self) -> JobName;

    /// The log; the same for the same decisions.
    fn log(&self, chance: &Chance) -> SimLog<Self::Value>;

    /// An empty place.
    fn store(&self) -> Self::Store;

    /// What is wrong with the rows that are there in the end; `expected` are those of an uninterrupted
    /// run, and both are in order. By default they must be the same.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn verdict(
        &self,
        rows: Vec<<Self::Store as Store>::Row>,
        expected: Vec<<Self::Store as Store>::Row>,
    ) -> Result<(), String> {
        difference("row", rows, expected)
    }

    /// How long those that are left after the last fault may take to get to the end, in virtual time: the
    /// last windows close as idle partitions' event time goes on with the clock. Default two minutes.
    fn settling(&self) -> Duration {
        SETTLING
    }

    /// Whether epochs are cut after one, two or five rows in some lives, so that barriers pass between results
    /// that are due at once. By default they are not.
    fn small_epochs(&self) -> bool {
        false
    }

    /// Runs the job in one life of an instance.
    fn run(
        &self,
        instance: Instance<Self::Value, Self::Store>,
    ) -> BoxFuture<'static, Result<Report>>;
}

/// One life of an instance: what its job is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Instance<T, A> {
    /// Where it reads.
    pub source: SimSource<T>,
    /// Where it writes.
    pub place: SimPlace<A>,
    /// The other settings of its job.
    pub conditions: Conditions,
}

/// Under what conditions an instance runs its job.
#[derive(Debug)]
pub struct Conditions {
    dead_letters: SimDeadLetters,
    until_end: bool,
    clock: TokioClock,
    stop_after: Option<Duration>,
    commit_interval: Duration,
    most_rows: usize,
}

impl Conditions {
    /// Gives a job its clock, its settings and its dead-letter topic.
    pub fn settle<S, A, P>(&self, job: Job<S, A, P>) -> Job<S, A, P> {
        job.clock(self.clock)
            .until_end(self.until_end)
            .commit_interval(self.commit_interval)
            .idle_timeout(IDLE)
            .dead_letters(self.dead_letters.clone())
            .most_rows(self.most_rows)
    }

    /// When the job is asked to stop.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let after = self.stop_after;
        async move {
            match after {
                Some(after) => sleep(after).await,
                None => pending().await,
            }
        }
    }
}

/// A seed under which the place does not hold what it should, and what happened.
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// The faults that struck.
    pub faults: Vec<Fault>,
    /// How many struck before those were left out that it does not take.
    shrunk_from: Option<usize>,
    story: String,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what, faults, shrunk_from, story } = self;
        write!(f, "{story}\nseed {seed}: {what}\n")?;
        match (shrunk_from, faults.len()) {
            (None, count) => writeln!(f, "{count} faults struck:")?,
            (Some(_), 0) => writeln!(f, "it takes no fault at all")?,
            (Some(all), count) => writeln!(f, "of {all} faults, it takes {count}:")?,
        }
        for fault in faults {
            writeln!(f, "{fault}")?;
        }
        write!(f, "{SEED}={seed} runs it again")
    }
}

impl Failure {
    /// The same scenario and seed with the fewest faults that still fail, as far as some hundred runs find
    /// them.
    fn shrunk<S: Scenario>(self, scenario: &S) -> Self {
        let (seed, all) = (self.seed, self.faults.len());
        let least = shrink(&self.faults, |names| {
            let failure = run_with(scenario, seed, || Chance::only(seed, names)).err()?;
            Some((failure.faults.clone(), failure))
        });
        Self { shrunk_from: Some(all), ..least.unwrap_or(self) }
    }
}

/// Says on stderr under which seed something panicked.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{SEED}={} runs it again", self.0);
        }
    }
}

/// Runs a scenario under this many seeds from 0 on; `RTBFLOW_SIM_SEEDS` says another number, and
/// `RTBFLOW_SIM_SEED` names a single one.
///
/// # Panics
/// If it fails under a seed: with the seed, what happened, and the fewest faults that it takes.
pub fn check<S: Scenario>(scenario: &S, seeds: u64) {
    let given = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let seeds = 0..given(SEEDS).unwrap_or(seeds);
    let seeds = given(SEED).map_or(seeds, |seed| seed..seed + 1);
    let failure = seeds.map(|seed| run(scenario, seed)).find_map(Result::err);
    let failure = failure.map(|failure| failure.shrunk(scenario));
    assert!(
        failure.is_none(),
        "{}",
        failure.map(|failure| failure.to_string()).unwrap_or_default()
    );
}

/// The first of this many seeds under which a scenario fails, with the fewest faults that it takes.
pub fn find<S: Scenario>(scenario: &S, seeds: u64) -> Option<Failure> {
    let failure = (0..seeds).map(|seed| run(scenario, seed)).find_map(Result::err);
    failure.map(|failure| failure.shrunk(scenario))
}

/// Runs a scenario under a seed; returns what happened, which is the same each time.
///
/// # Errors
/// If the place does not hold in the end what an uninterrupted run leaves there.
///
/// # Panics
/// If no tokio runtime can be made.
pub fn run<S: Scenario>(scenario: &S, seed: u64) -> Result<String, Failure> {
    run_with(scenario, seed, || Chance::stormy(seed))
}

#[expect(clippy::expect_used, reason = "a runtime without threads and files can be made")]
fn run_with<S: Scenario>(
    scenario: &S,
    seed: u64,
    chance: impl FnOnce() -> Chance,
) -> Result<String, Failure> {
    let _named = Seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a tokio runtime");
    runtime.block_on(async {
        let chance = chance();
        match simulate(scenario, seed, &chance).await {
            Ok(()) => Ok(chance.story()),
            Err(what) => {
                let (faults, story) = (chance.faults(), chance.story());
                Err(Failure { seed, what, faults, shrunk_from: None, story })
            }
        }
    })
}

async fn simulate<S: Scenario>(scenario: &S, seed: u64, chance: &Chance) -> Result<(), String> {
    let log = scenario.log(&Chance::calm(seed));
    let calm = World::new(scenario, log.clone(), &Chance::calm(seed));
    let report = calm.finish().await?;
    let records_in = usize::try_from(report.records_in());
    if records_in != Ok(log.len()) || report.pending != 0 {
        return Err(format!("{} records, but accounted for: {report:?}", log.len()));
    }
    let letters = calm.letters.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((at, count)) = letters.iter().find(|(_, count)| **count != 1) {
        return Err(format!("{at:?} is {count} dead letters, though nothing went wrong"));
    }
    if calm.truth.ended().records != report.records_in() {
        return Err(format!("{:?} in the place, but {report:?}", calm.truth.ended()));
    }
    let world = World::new(scenario, log, chance);
    world.storm(&calm).await?;
    world.calm_down();
    world.finish().await?;
    world.compare(&calm)
}

/// A log, a group and a place, and what becomes of them.
struct World<'a, S: Scenario> {
    scenario: &'a S,
    log: SimLog<S::Value>,
    group: Group,
    store: S::Store,
    letters: Letters,
    truth: Truth,
    server: Server,
    clock: TokioClock,
    chance: Chance,
}

impl<'a, S: Scenario> World<'a, S> {
    fn new(scenario: &'a S, log: SimLog<S::Value>, chance: &Chance) -> Self {
        let group = Group::new(log.tasks(), chance);
        let (store, letters, truth) = (scenario.store(), Letters::default(), Truth::default());
        // Later than all event times, so that idle partitions go on.
        let clock = TokioClock::new(Timestamp::from_millis(1_900_000_000_000));
        let (server, chance) = (Server::new(chance), chance.clone());
        Self { scenario, log, group, store, letters, truth, server, clock, chance }
    }

    fn instance(&self, life: &Life, until_end: bool) -> Instance<S::Value, S::Store> {
        let stop = self.chance.strikes_one_in(3, FaultKind::Stop, &life.name, "within 10 s");
        let commit_interval = life.draw("commit interval").pick([20, 100, 500, 2_000]);
        let most_rows = match self.scenario.small_epochs() {
            true => life.draw("rows of an epoch").pick([1, 2, 5, 10_000]),
            false => 10_000,
        };
        Instance {
            source: SimSource::new(
                self.log.clone(),
                self.group.clone(),
                self.truth.clone(),
                life.clone(),
            ),
            place: SimPlace::new(
                self.store.clone(),
                self.truth.clone(),
                life.clone(),
                self.server.clone(),
            ),
            conditions: Conditions {
                dead_letters: SimDeadLetters::new(self.letters.clone(), life.clone()),
                until_end,
                clock: self.clock,
                stop_after: stop.map(|mut stop| stop.millis(10_000)),
                commit_interval: Duration::from_millis(commit_interval),
                most_rows,
            },
        }
    }

    /// Several instances live and die; then nothing goes wrong any more, and whoever is left must get
    /// to the end.
    async fn storm(&self, calm: &Self) -> Result<(), String> {
        let joins = |number: &u32| {
            let (name, what) = (instance_name(*number), "from the beginning");
            self.chance.strikes_one_in(2, FaultKind::Instance, &name, what).is_some()
        };
        let instances = std::iter::once(0).chain((1..MOST_INSTANCES).filter(joins));
        let length = self.chance.of("the storm", "length").pick([2, 5, 15]);
        let end = Instant::now() + Duration::from_secs(length);
        let lives = join_all(instances.map(|number| self.lives(number, end)));
        tokio::select! {
            biased;
            () = self.group.coordinate() => Ok(()),
            settled = self.settled(end, calm) => settled,
            lived = lives => lived.into_iter().collect(),
        }
    }

    /// Waits until the place holds what it should.
    async fn settled(&self, end: Instant, calm: &Self) -> Result<(), String> {
        sleep_until(end).await;
        self.calm_down();
        let settling = self.scenario.settling();
        let until = end + settling;
        loop {
            sleep(Duration::from_millis(500)).await;
            match self.compare(calm) {
                Ok(()) => return Ok(()),
                Err(_) if let Some(violation) = self.chance.violation() => return Err(violation),
                Err(left) if Instant::now() > until => {
                    return Err(format!("not settled {settling:?} after the last fault: {left}"));
                }
                Err(_) => {}
            }
        }
    }

    fn calm_down(&self) {
        if !self.chance.is_calm() {
            self.chance.calm_down();
            self.chance.report(|| "nothing goes wrong any more".into());
        }
    }

    /// One instance after another, of the same number.
    async fn lives(&self, number: u32, end: Instant) -> Result<(), String> {
        let (name, what) = (instance_name(number), "at the end of the storm");
        let dies_at_the_end =
            self.chance.strikes_one_in(2, FaultKind::Crash, &name, what).is_some();
        for life in 0.. {
            sleep(self.chance.of(&name, "pause").millis(1_000)).await;
            let life = Life::new(format!("{name}.{life}"), &self.chance);
            let until_end = life.draw("until end").one_in(2);
            let job = self.scenario.run(self.instance(&life, until_end));
            self.chance.report(|| format!("{} starts, until_end {until_end}", life.name));
            let answer = tokio::select! {
                biased;
                () = life.died() => None,
                () = sleep_until(end), if dies_at_the_end => None,
                answer = job => Some(answer),
            };
            // Whatever is left of it does nothing any more.
            life.die();
            if let Some(answer) = &answer {
                self.chance.report(|| format!("{} ends: {answer:?}", life.name));
            }
            match answer {
                Some(Err(error))
                    if matches!(error.kind(), ErrorKind::Config | ErrorKind::Permanent)
                        && !Server::has_refused(&error) =>
                {
                    return Err(format!("{} ended with {}", life.name, error.report()));
                }
                Some(Err(_)) => {}
                Some(Ok(_)) | None if Instant::now() >= end => break,
                Some(Ok(_)) | None => {}
            }
        }
        Ok(())
    }

    /// One instance reads to the end, and nothing goes wrong.
    async fn finish(&self) -> Result<Report, String> {
        let life = Life::new("the last instance".into(), &self.chance);
        let job = self.scenario.run(self.instance(&life, true));
        let answer = tokio::select! {
            biased;
            () = self.group.coordinate() => return Err("the group ended".into()),
            answer = timeout(PATIENCE, job) => answer,
        };
        life.die();
        match answer {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(format!("the quiet run failed: {}", error.report())),
            Err(_) => Err(format!("the quiet run did not end within {PATIENCE:?}")),
        }
    }

    /// Whether the place holds the same as another.
    fn compare(&self, calm: &Self) -> Result<(), String> {
        if let Some(violation) = self.chance.violation() {
            return Err(violation);
        }
        let (mut rows, mut expected) = (self.store.rows(), calm.store.rows());
        rows.sort_unstable();
        expected.sort_unstable();
        self.scenario.verdict(rows, expected)?;
        let letters = |world: &Self| {
            world.letters.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
        };
        let (sent, expected): (Vec<_>, Vec<_>) = (letters(self), letters(calm));
        difference("dead letter", sent, expected)?;
        let offsets = |world: &Self| {
            let positions = world.store.positions(&world.scenario.job()).into_iter();
            positions.map(|(partition, at)| (partition, at.offset.unwrap_or(0))).collect()
        };
        let (at, expected): (BTreeMap<Partition, _>, BTreeMap<Partition, _>) =
            (offsets(self), offsets(calm));
        if at != expected {
            return Err(format!("positions are {at:?}, not {expected:?}"));
        }
        // Each record is in one class, and in the same.
        match (self.truth.ended(), calm.truth.ended()) {
            (ended, expected) if ended == expected => Ok(()),
            (ended, expected) => Err(format!("records ended as {ended:?}, not {expected:?}")),
        }
    }
}

fn instance_name(number: u32) -> String {
    format!("instance {number}")
}

/// Compares two sorted lists and names what is missing and what is too much.
pub(crate) fn difference<R: fmt::Debug + Ord>(
    what: &str,
    found: Vec<R>,
    expected: Vec<R>,
) -> Result<(), String> {
    let mut counts: BTreeMap<R, i64> = BTreeMap::new();
    for row in found {
        *counts.entry(row).or_default() += 1;
    }
    for row in expected {
        *counts.entry(row).or_default() -= 1;
    }
    counts.retain(|_, count| *count != 0);
    let tell = |(row, count): (&R, &i64)| match count {
        ..0 => format!("{row:?} is missing"),
        _ => format!("{row:?} is there {count} times too often"),
    };
    match counts.len() {
        0 => Ok(()),
        rows => {
            let some: Vec<String> = counts.iter().take(5).map(tell).collect();
            Err(format!("{rows} {what}s differ: {}", some.join("; ")))
        }
    }
}
