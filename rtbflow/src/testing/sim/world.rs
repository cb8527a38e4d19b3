//! A log, a group and a place, and the instances that come and go over them.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::{join_all, join3};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::Result;
use crate::job::Report;
use crate::position::Position;
use crate::record::Partition;
use crate::testing::TokioClock;
use crate::testing::sim::broker::Broker;
use crate::testing::sim::chance::Chance;
use crate::testing::sim::dead_letters::{Letter, Letters, SimDeadLetters};
use crate::testing::sim::expected::{Expected, counts};
use crate::testing::sim::failure::difference;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::group::Group;
use crate::testing::sim::invariants::Invariants;
use crate::testing::sim::life::Life;
use crate::testing::sim::log::SimLog;
use crate::testing::sim::place::{SimPlace, Store};
use crate::testing::sim::scenario::{Conditions, Instance, Row, Scenario};
use crate::testing::sim::server::Server;
use crate::testing::sim::source::SimSource;
use crate::testing::sim::steps::{Accounts, Steps, accounted};
use crate::testing::sim::truth::{Seen, Truth};
use crate::testing::sim::wall_clock::WallClock;
use crate::time::Timestamp;

/// How long a run without faults may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long whoever is left may take to get to the end where the place went back.
const SETTLING_BEHIND: Duration = Duration::from_secs(60);
/// The names under which faults of the log and of the place are reported.
const LOG: &str = "the log";
const PLACE: &str = "the place";

/// What an uninterrupted run leaves in the place, a stormy one has to leave there as well.
pub(super) async fn simulate<S: Scenario>(
    scenario: &S,
    seed: u64,
    chance: &Chance,
) -> Result<(), String> {
    let log = scenario.log(&Chance::calm(seed).untold());
    let mut expected =
        undisturbed(scenario, log.generation(usize::from(log.is_made_anew())), seed).await?;
    if log.is_made_anew() {
        expected.may_come_of(undisturbed(scenario, log.generation(0), seed).await?);
    }
    let world = World::new(scenario, log, chance);
    world.watch(&expected);
    world.storm(&expected).await?;
    world.calm_down();
    world.finish().await?;
    world.compare(&expected)
}

/// What an uninterrupted run makes of a log.
async fn undisturbed<S: Scenario>(
    scenario: &S,
    log: &SimLog<S::Value>,
    seed: u64,
) -> Result<Expected<Row<S>>, String> {
    let calm = World::new(scenario, log.clone(), &Chance::calm(seed).untold());
    let report = calm.finish().await?;
    let ended = calm.truth.ended();
    let records_in = usize::try_from(report.records_in());
    if records_in != Ok(log.len()) || report.pending != 0 {
        return Err(format!("{} records, but accounted for: {report:?}", log.len()));
    }
    if ended.records != report.records_in() {
        return Err(format!("{ended:?} in the place, but {report:?}"));
    }
    let letters = calm.letters.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((at, count)) = letters.iter().find(|(_, count)| **count != 1) {
        return Err(format!("{at:?} is {count} dead letters, though nothing went wrong"));
    }
    let offsets = calm.offsets_at_end(log)?;
    let mut rows = calm.store.rows();
    rows.sort_unstable();
    let (gone, gone_letters) = Default::default();
    let letters = letters.into_keys().collect();
    Ok(Expected { rows, gone, gone_letters, letters, offsets, ended: Some(ended) })
}

/// A log, a group and a place, and what becomes of them.
struct World<'a, S: Scenario> {
    scenario: &'a S,
    log: SimLog<S::Value>,
    broker: Broker,
    group: Group,
    store: S::Store,
    letters: Letters,
    truth: Truth,
    steps: Steps,
    accounts: Accounts,
    server: Server,
    clock: TokioClock,
    chance: Chance,
    /// Whether any instance has ended without a word, so that its account may be short of what it has done.
    killed: AtomicBool,
}

impl<'a, S: Scenario> World<'a, S> {
    fn new(scenario: &'a S, log: SimLog<S::Value>, chance: &Chance) -> Self {
        let group = Group::new(log.tasks(), chance);
        let (store, letters, truth) = (scenario.store(), Letters::default(), Truth::default());
        let (broker, steps, accounts) = Default::default();
        // Later than all event times, so that idle partitions go on.
        let clock = TokioClock::new(Timestamp::from_millis(1_900_000_000_000));
        let (server, chance) = (Server::new(chance), chance.clone());
        let killed = AtomicBool::new(false);
        Self {
            scenario,
            log,
            broker,
            group,
            store,
            letters,
            truth,
            steps,
            accounts,
            server,
            clock,
            chance,
            killed,
        }
    }

    /// From now on each step of the place is looked at.
    fn watch(&self, expected: &Expected<Row<S>>) {
        let rows = self.scenario.is_exact().then(|| {
            let mut rows = counts(&expected.rows);
            for (row, count) in &expected.gone {
                *rows.entry(row.clone()).or_default() += count;
            }
            rows
        });
        let watch = Invariants {
            job: self.scenario.job(),
            log: self.log.clone(),
            store: self.store.clone(),
            truth: self.truth.clone(),
            letters: Arc::clone(&self.letters),
            accounts: Arc::clone(&self.accounts),
            expected: rows,
            always: self.scenario.always(),
        };
        self.steps.look(watch.look());
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
                self.broker.clone(),
                self.group.clone(),
                self.truth.clone(),
                life.clone(),
            ),
            place: SimPlace::new(
                self.store.clone(),
                self.truth.clone(),
                self.steps.clone(),
                life.clone(),
                self.server.clone(),
            ),
            conditions: Conditions {
                dead_letters: SimDeadLetters::new(Arc::clone(&self.letters), life.clone()),
                until_end,
                clock: WallClock::new(self.clock, life),
                accounts: Arc::clone(&self.accounts),
                stop_after: stop.map(|mut stop| stop.millis(10_000)),
                commit_interval: Duration::from_millis(commit_interval),
                most_rows,
                names: self.scenario.names(),
            },
        }
    }

    /// Several instances live and die; then nothing goes wrong any more, and whoever is left must get
    /// to the end.
    async fn storm(&self, expected: &Expected<Row<S>>) -> Result<(), String> {
        let least = *self.scenario.instances().start();
        let takes_part = |number: &u32| {
            let (name, what) = (Life::of_instance(*number), "from the beginning");
            *number < least
                || self.chance.strikes_one_in(2, FaultKind::Instance, &name, what).is_some()
        };
        let instances = (0..*self.scenario.instances().end()).filter(takes_part);
        let length = self.chance.of("the storm", "length").pick([2, 5, 15]);
        let end = Instant::now() + Duration::from_secs(length);
        let lives = join_all(instances.map(|number| self.lives(number, end)));
        tokio::select! {
            biased;
            () = self.group.coordinate() => Ok(()),
            () = self.change(end) => Ok(()),
            settled = self.settled(end, expected) => settled,
            lived = lives => lived.into_iter().collect(),
        }
    }

    /// What becomes of the log and of the place meanwhile; does not end.
    async fn change(&self, end: Instant) {
        let length = end - Instant::now();
        let mut draw = self.chance.of("the storm", "changes");
        // What retention has removed cannot be read again where the place goes back.
        let goes_back = draw.one_in(3) && !self.log.is_made_anew();
        let made_anew = async {
            if self.log.is_made_anew() {
                sleep(self.chance.of(LOG, "made anew").millis(1_000).min(length)).await;
                self.chance.report(|| "the topics are deleted and made anew".into());
                self.broker.make_anew();
            }
        };
        let place = async {
            if goes_back {
                self.go_back(end).await;
            }
        };
        let retention = async {
            while !goes_back && Instant::now() < end {
                sleep(self.chance.of(LOG, "retention").millis(3_000)).await;
                self.retain();
            }
        };
        join3(made_anew, place, retention).await;
        pending().await
    }

    /// Retention removes some of what is committed.
    fn retain(&self) {
        let what = "retention removes what is committed";
        if self.chance.strikes_one_in(3, FaultKind::Log, LOG, what).is_none() {
            return;
        }
        let mut removed = Vec::new();
        for partition in self.log.partitions() {
            let mut draw = self.chance.of(LOG, what);
            let at = self.truth.position(partition);
            let log = self.log.generation(self.broker.generation());
            let own = at.log.is_some_and(|of| Some(of.topic_id) == log.topic_id(partition));
            if let Some(offset) = at.offset.filter(|_| own && draw.one_in(2)) {
                // Markers behind it say nothing to anybody.
                let next = log.next_record(partition, offset).unwrap_or(log.end(partition));
                let below = if draw.one_in(2) { next } else { offset };
                self.broker.remove_below(partition, below);
                removed.push((partition, below));
            }
        }
        self.chance.report(|| format!("retention removes what is below {removed:?}"));
    }

    /// The place is taken over by a server that is behind, or somebody resets the job.
    async fn go_back(&self, end: Instant) {
        let what = "what it holds of the job is removed by hand";
        if let Some(mut reset) = self.chance.strikes_one_in(3, FaultKind::Past, PLACE, what) {
            sleep_until(end.min(Instant::now() + reset.millis(8_000))).await;
            if self.store.reset(&self.scenario.job()) {
                self.went_back(what, Seen::default());
            }
            return;
        }
        let what = "a server takes over that is behind";
        let Some(mut draw) = self.chance.strikes_one_in(1, FaultKind::Past, PLACE, what) else {
            return;
        };
        let most = draw.pick([1, 3_000]);
        sleep_until(end.min(Instant::now() + draw.millis(most))).await;
        let (older, seen) = (self.store.keep(), self.truth.keep());
        let most = draw.pick([100, 1_000, 8_000]);
        sleep_until(end.min(Instant::now() + draw.millis(most))).await;
        if let Some(put_back) = older {
            put_back();
            self.went_back(what, seen);
        }
    }

    fn went_back(&self, what: &str, seen: Seen) {
        self.chance.report(|| what.to_owned());
        self.truth.put_back(seen);
        self.steps.check(None, &self.chance);
    }

    /// Waits until the place holds what it should.
    async fn settled(&self, end: Instant, expected: &Expected<Row<S>>) -> Result<(), String> {
        sleep_until(end).await;
        self.calm_down();
        let settling = match self.truth.went_back() {
            true => SETTLING_BEHIND,
            false => self.scenario.settling(),
        };
        let until = end + settling;
        loop {
            sleep(Duration::from_millis(500)).await;
            if let Some(violation) = self.chance.violation() {
                return Err(violation);
            }
            let is_late = Instant::now() > until;
            // To compare all of it costs more than to look how far it is.
            if !is_late && self.offsets() != expected.offsets {
                continue;
            }
            match self.compare(expected) {
                // That a place went back is learned by who commits next, or claims: where nothing more comes, by the
                // last instance.
                Err(_) if is_late && self.truth.went_back() => return Ok(()),
                Ok(()) => return Ok(()),
                Err(left) if is_late => {
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

    /// Where each partition stands that was read to its end.
    fn offsets_at_end(&self, log: &SimLog<S::Value>) -> Result<BTreeMap<Partition, i64>, String> {
        let offsets = self.offsets();
        let short = offsets.iter().find(|(partition, at)| **at != log.end(**partition));
        match short {
            Some((partition, at)) => {
                let end = log.end(*partition);
                Err(format!("{partition} was read to its end {end}, and stands at {at}"))
            }
            None => Ok(offsets),
        }
    }

    fn offsets(&self) -> BTreeMap<Partition, i64> {
        let log = self.log.generation(self.broker.generation());
        let offset = |(partition, at): (Partition, Position)| match log.next_record(partition, 0) {
            // Whether anybody has said of a partition without records that it holds nothing makes no difference.
            None => (partition, log.end(partition)),
            Some(_) => (partition, at.offset.unwrap_or(0)),
        };
        self.store.positions(&self.scenario.job()).into_iter().map(offset).collect()
    }

    /// One instance after another, of the same number.
    async fn lives(&self, number: u32, end: Instant) -> Result<(), String> {
        let (name, what) = (Life::of_instance(number), "at the end of the storm");
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
            if !matches!(&answer, Some(Ok(report)) if report.pending == 0) {
                self.killed.store(true, Ordering::Relaxed);
            }
            let failed = matches!(answer, Some(Err(_)));
            if let Some(answer) = answer {
                self.chance.report(|| format!("{} ends: {answer:?}", life.name));
                answer.map(drop).or_else(|error| Server::may_end(&life.name, &error))?;
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
        self.group.forget_the_gone();
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

    /// Whether the place holds what it should.
    fn compare(&self, expected: &Expected<Row<S>>) -> Result<(), String> {
        if let Some(violation) = self.chance.violation() {
            return Err(violation);
        }
        let mut rows = self.store.rows();
        rows.sort_unstable();
        self.scenario.verdict(expected.without_gone(rows), expected.rows.clone())?;
        difference("dead letter", self.sent(expected), expected.letters.iter().cloned().collect())?;
        let (at, offsets) = (self.offsets(), &expected.offsets);
        if at != *offsets {
            return Err(format!("positions are {at:?}, not {offsets:?}"));
        }
        // Each record is in one class, and in the same.
        let ended = self.truth.ended();
        if let Some(expected) = expected.ended.filter(|expected| *expected != ended) {
            return Err(format!("records ended as {ended:?}, not {expected:?}"));
        }
        self.accounts_say_all()
    }

    /// The dead letters that were sent, but for those of a log that is gone.
    fn sent(&self, expected: &Expected<Row<S>>) -> Vec<Letter> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let is_here =
            |at: &&Letter| expected.letters.contains(at) || !expected.gone_letters.contains(at);
        letters.keys().filter(is_here).cloned().collect()
    }

    /// Where nobody was killed, frozen or lost his tasks, all accounts together say what was done, whatever answers
    /// were lost.
    fn accounts_say_all(&self) -> Result<(), String> {
        let said = accounted(&self.accounts) + self.truth.disowned();
        let applied = self.truth.applied();
        let is_short = self.killed.load(Ordering::Relaxed)
            || self.truth.went_back()
            || self.chance.has_struck([FaultKind::Freeze, FaultKind::Rebalance]);
        match said == applied || is_short {
            true => Ok(()),
            false => Err(format!("{said} records are accounted for, but {applied} were applied")),
        }
    }
}
