//! All instances of a run, and the supervisor that starts them again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rtbflow_examples::generator::Dice;
use tokio::time::{Instant, sleep};

use crate::Fallible;
use crate::findings::Findings;
use crate::instance::{Account, Instance, LONGEST_STOP};
use crate::load::stretched;
use crate::pipelines::{Kind, Places};

/// Of an instance that was fenced: a supervisor starts it again.
const FENCED: i32 = 4;
/// Of one that found a server away at its start for as long as it waits.
const AWAY: i32 = 3;
/// Of one that found at its start that it lacks rights.
const REFUSED: i32 = 2;
/// How long the last instance of a pipeline may take to read what is left, and to close all windows.
const LONGEST_REST: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);
/// Of a supervisor, before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the accounts of a pipeline's instances come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accounts {
    pub(crate) sum: Account,
    /// Of instances that have ended without an account.
    pub(crate) missing: u64,
    /// How often partitions were taken from an instance.
    pub(crate) revoked: u64,
}

/// All instances.
pub(crate) struct Fleet {
    places: Places,
    folder: PathBuf,
    findings: Findings,
    instances: Vec<Instance>,
    wanted: u8,
    next: u32,
    accounts: BTreeMap<Kind, Accounts>,
    /// Until then nobody is started in the place of one that found no server or no rights.
    pause: Instant,
    /// Whether an instance that lacks rights is to be expected.
    pub(crate) may_be_refused: bool,
}

impl Fleet {
    /// No instance yet.
    pub(crate) fn new(places: Places, folder: &Path, findings: Findings, wanted: u8) -> Self {
        let (instances, accounts) = Default::default();
        let folder = folder.to_owned();
        let pause = Instant::now();
        Self {
            places,
            folder,
            findings,
            instances,
            wanted,
            next: 0,
            accounts,
            pause,
            may_be_refused: false,
        }
    }

    /// One more instance of a pipeline.
    pub(crate) fn add(&mut self, kind: Kind) -> Fallible {
        self.next += 1;
        self.instances.push(Instance::start(kind, &self.places, &self.folder, self.next, &[])?);
        Ok(())
    }

    /// As many instances of each pipeline as are wanted.
    pub(crate) fn fill(&mut self) -> Fallible {
        for kind in Kind::ALL {
            while self.of(kind).len() < usize::from(self.wanted) {
                self.add(kind)?;
            }
        }
        Ok(())
    }

    /// How many of each there are to be from now on.
    pub(crate) fn want(&mut self, count: u8) {
        self.wanted = count;
    }

    /// The places, among all, of a pipeline's instances.
    pub(crate) fn of(&self, kind: Kind) -> Vec<usize> {
        let own = self.instances.iter().enumerate().filter(|(_, instance)| instance.kind == kind);
        own.map(|(at, _)| at).collect()
    }

    /// Looks which instances have ended, which they should not, and starts others in their place.
    pub(crate) fn supervise(&mut self) -> Fallible {
        let mut at = 0;
        while let Some(instance) = self.instances.get_mut(at) {
            let Some(status) = instance.process.ended() else {
                at += 1;
                continue;
            };
            let instance = self.instances.swap_remove(at);
            self.judge(&instance, status);
            self.settle(&instance);
            if matches!(status.code(), Some(AWAY | REFUSED)) {
                self.pause = Instant::now() + PAUSE;
            }
        }
        if Instant::now() < self.pause { Ok(()) } else { self.fill() }
    }

    /// Whether an instance may end by itself like this.
    fn judge(&self, instance: &Instance, status: ExitStatus) {
        match status.code() {
            Some(FENCED) => self.findings.count("ends of instances that were fenced", 1),
            Some(AWAY) => self.findings.count("ends of instances that found no server", 1),
            Some(REFUSED) if self.may_be_refused => {
                self.findings.count("ends of instances that lacked rights", 1);
            }
            _ => self.findings.violation(&format!(
                "{} ended by itself ({status}): {}",
                instance.kind.name(),
                instance.process.last_words()
            )),
        }
    }

    /// Takes in the account of an instance that has ended.
    fn settle(&mut self, instance: &Instance) {
        let accounts = self.accounts.entry(instance.kind).or_default();
        let lost = instance.said("revoked") + instance.said("joins the group again");
        accounts.revoked += u64::try_from(lost).unwrap_or(0);
        self.findings
            .count("assignments", u64::try_from(instance.said("assigned job=")).unwrap_or(0));
        match instance.account() {
            Some(account) => {
                if !account.adds_up() {
                    let said = format!(
                        "an account of {} does not add up: {account:?}",
                        instance.kind.name()
                    );
                    self.findings.violation(&said);
                }
                accounts.sum.add(&account);
            }
            None => accounts.missing += 1,
        }
    }

    /// Kills an instance, and starts another one.
    pub(crate) async fn kill(&mut self, at: usize) -> Fallible {
        self.take_by_force(at).await?;
        self.fill()
    }

    async fn take_by_force(&mut self, at: usize) -> Fallible {
        if at < self.instances.len() {
            let mut instance = self.instances.swap_remove(at);
            instance.process.stop("KILL", LONGEST_STOP).await;
            self.findings.count("SIGKILLs of instances", 1);
            self.settle(&instance);
        }
        Ok(())
    }

    /// Kills a random instance of a pipeline.
    pub(crate) async fn kill_one(&mut self, kind: Kind, dice: &mut Dice) -> Fallible {
        match self.one_of(kind, dice) {
            Some(at) => self.kill(at).await,
            None => Ok(()),
        }
    }

    /// A random instance of a pipeline.
    pub(crate) fn one_of(&self, kind: Kind, dice: &mut Dice) -> Option<usize> {
        let own = self.of(kind);
        own.get(dice.index(own.len())).copied()
    }

    /// Ends an instance in order, within the time that it has.
    pub(crate) async fn stop(&mut self, at: usize) -> Fallible {
        if at >= self.instances.len() {
            return Ok(());
        }
        let instance = self.instances.swap_remove(at);
        self.stop_all_of(vec![instance]).await;
        Ok(())
    }

    async fn stop_all_of(&mut self, mut stopped: Vec<Instance>) {
        let began = Instant::now();
        for instance in &stopped {
            instance.process.signal("CONT");
            instance.process.signal("TERM");
        }
        for instance in &mut stopped {
            let left = stretched(LONGEST_STOP).saturating_sub(began.elapsed()).max(POLL);
            let status = instance.process.end(left).await;
            let name = instance.kind.name();
            match status.map(|status| status.code()) {
                Some(Some(0)) => self.findings.count("ends in order", 1),
                // It was about to end by itself.
                Some(Some(FENCED | AWAY)) => {}
                Some(Some(REFUSED)) if self.may_be_refused => {}
                Some(code) => {
                    let words = instance.process.last_words();
                    self.findings
                        .violation(&format!("{name}, asked to end, ended with {code:?}: {words}"));
                }
                None => {
                    let words = instance.process.last_words();
                    let what = format!(
                        "{name}, asked to end, did not within {:.1} s: {words}",
                        began.elapsed().as_secs_f64()
                    );
                    self.findings.violation(&what);
                    instance.process.stop("KILL", LONGEST_STOP).await;
                }
            }
            self.settle(instance);
        }
    }

    /// Ends the youngest instances of a pipeline in order, until there are this many.
    pub(crate) async fn shrink(&mut self, count: u8) {
        self.wanted = count;
        let mut stopped = Vec::new();
        for kind in Kind::ALL {
            let own = self.of(kind);
            for at in own.into_iter().skip(usize::from(count)).rev() {
                stopped.push(self.instances.swap_remove(at));
            }
        }
        self.stop_all_of(stopped).await;
    }

    /// Freezes an instance.
    pub(crate) fn freeze(&mut self, at: usize) {
        if let Some(instance) = self.instances.get_mut(at) {
            instance.process.signal("STOP");
            instance.frozen = true;
            self.findings.count("SIGSTOPs of instances", 1);
        }
    }

    /// Wakes all that are frozen.
    pub(crate) fn thaw(&mut self) {
        for instance in &mut self.instances {
            if std::mem::take(&mut instance.frozen) {
                instance.process.signal("CONT");
            }
        }
    }

    /// Ends all instances in order.
    pub(crate) async fn end(&mut self) {
        let all = std::mem::take(&mut self.instances);
        self.stop_all_of(all).await;
    }

    /// Reads what is left of a pipeline's input by one more instance, which closes all windows.
    pub(crate) async fn finish(&mut self, kind: Kind) -> Fallible {
        self.next += 1;
        let places = self.places.without_names();
        let mut instance =
            Instance::start(kind, &places, &self.folder, self.next, &["--until-end"])?;
        let status = instance.process.end(stretched(LONGEST_REST)).await;
        match status.and_then(|status| status.code()) {
            Some(0) => {}
            code => {
                let words = instance.process.last_words();
                let what =
                    format!("{} read to the end, and ended with {code:?}: {words}", kind.name());
                self.findings.violation(&what);
                instance.process.stop("KILL", LONGEST_STOP).await;
            }
        }
        match instance.account() {
            Some(account) if account.pending != 0 => {
                self.findings
                    .violation(&format!("{} left records pending: {account:?}", kind.name()));
            }
            Some(_) => {}
            None => self.findings.violation(&format!("{} left no account", kind.name())),
        }
        self.settle(&instance);
        Ok(())
    }

    /// What the accounts come to.
    pub(crate) fn accounts(&self, kind: Kind) -> Accounts {
        self.accounts.get(&kind).copied().unwrap_or_default()
    }

    /// Looks after the instances for this long.
    pub(crate) async fn wait(&mut self, time: Duration) -> Fallible {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.supervise()?;
            sleep(POLL).await;
        }
        Ok(())
    }
}
