//! A log, a group and a place, and the instances that come and go over them.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::{Error, ErrorKind, Result};
use crate::job::Report;
use crate::record::Partition;
use crate::testing::TokioClock;
use crate::testing::sim::chance::Chance;
use crate::testing::sim::failure::difference;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::group::Group;
use crate::testing::sim::life::Life;
use crate::testing::sim::log::SimLog;
use crate::testing::sim::place::{Letters, SimDeadLetters, SimPlace, Store};
use crate::testing::sim::scenario::{Conditions, Instance, Scenario};
use crate::testing::sim::server::Server;
use crate::testing::sim::source::SimSource;
use crate::testing::sim::truth::Truth;
use crate::time::Timestamp;

/// Instances at a time.
const MOST_INSTANCES: u32 = 3;
/// How long a run without faults may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// What an uninterrupted run leaves in the place, a stormy one has to leave there as well.
pub(super) async fn simulate<S: Scenario>(
    scenario: &S,
    seed: u64,
    chance: &Chance,
) -> Result<(), String> {
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
            let failed = matches!(answer, Some(Err(_)));
            if let Some(answer) = answer {
                self.chance.report(|| format!("{} ends: {answer:?}", life.name));
                answer.map(drop).or_else(|error| may_end_with(&life, &error))?;
            }
            if !failed && Instant::now() >= end {
                break;
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

    /// How far each partition was read and committed.
    fn offsets(&self) -> BTreeMap<Partition, i64> {
        let positions = self.store.positions(&self.scenario.job()).into_iter();
        positions.map(|(partition, at)| (partition, at.offset.unwrap_or(0))).collect()
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
        let (at, expected) = (self.offsets(), calm.offsets());
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

/// Whether a life may end so: what is wrong for good has no place in a simulation.
fn may_end_with(life: &Life, error: &Error) -> Result<(), String> {
    let is_wrong = matches!(error.kind(), ErrorKind::Config | ErrorKind::Permanent);
    if is_wrong && !Server::has_refused(error) {
        return Err(format!("{} ended with {}", life.name, error.report()));
    }
    Ok(())
}
