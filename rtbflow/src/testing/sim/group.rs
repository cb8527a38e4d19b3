//! The group: who has which tasks, and how they are taken away and given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{join_all, pending};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, Result};
use crate::testing::sim::chance::Chance;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::life::Life;

/// The name under which its faults are reported.
const GROUP: &str = "the group";

/// How long the tasks of a member with a name stay its own when it is gone.
const SESSION: Duration = Duration::from_secs(6);

/// The group of a job. Clones are the same group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    tasks: u32,
    chance: Chance,
    members: Arc<Mutex<Members>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Members {
    seats: u64,
    by_seat: BTreeMap<u64, Member>,
}

#[derive(Debug)]
struct Member {
    name: Arc<str>,
    /// The instance's name, if it has one: then its tasks stay its own for a while when it goes.
    instance: Option<Arc<str>>,
    /// Since when it has been gone.
    gone: Option<Instant>,
    held: BTreeSet<u32>,
    news: VecDeque<News>,
    wake: Arc<Notify>,
}

/// What a member learns.
#[derive(Debug)]
pub(crate) enum News {
    Assigned(Vec<u32>),
    Revoked {
        tasks: Vec<u32>,
        lost: bool,
        deadline: Duration,
        done: oneshot::Sender<()>,
    },
    /// It has to come again.
    Broken,
}

/// A member's seat, which it leaves by dropping it.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    group: Group,
    life: Life,
    wake: Arc<Notify>,
}

impl Seat {
    /// The next news; waits for it. Cancel safe.
    pub(crate) async fn next(&self) -> Result<News> {
        loop {
            self.life.stand().await;
            let news = match self.group.members().by_seat.get_mut(&self.number) {
                Some(member) => member.news.pop_front(),
                None => return Err(Error::fenced("follow the group: another has this one's name")),
            };
            match news {
                Some(News::Broken) => {
                    return Err(Error::transient("follow the group: the connection broke"));
                }
                Some(news) => {
                    self.life.endanger("it learns of a rebalance");
                    return Ok(news);
                }
                None => self.wake.notified().await,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut members = self.group.members();
        match members.by_seat.get_mut(&self.number) {
            Some(member) if member.instance.is_some() => member.gone = Some(Instant::now()),
            Some(_) | None => drop(members.by_seat.remove(&self.number)),
        }
        drop(members);
        self.group.changed.notify_one();
    }
}

impl Members {
    /// The member of this name, which is none any more.
    fn take_out(&mut self, instance: Option<&str>) -> Option<Member> {
        let named = |(_, member): &(&u64, &Member)| member.instance.as_deref() == instance;
        let seat = instance.and_then(|_| self.by_seat.iter().find(named).map(|(seat, _)| *seat));
        seat.and_then(|seat| self.by_seat.remove(&seat))
    }

    /// When the next member that is gone will have been so for too long.
    fn gives_up(&self) -> Option<Instant> {
        self.by_seat.values().filter_map(Member::stays_until).min()
    }

    /// Members that have been gone for too long are none any more.
    fn give_up(&mut self) {
        let stays = |until: Instant| until > Instant::now();
        self.by_seat.retain(|_, member| member.stays_until().is_none_or(stays));
    }
}

impl Member {
    /// Until when it is a member, if it is gone.
    fn stays_until(&self) -> Option<Instant> {
        self.gone.map(|gone| gone + SESSION)
    }
}

impl Group {
    /// Whoever is gone is none of its members any more.
    pub(crate) fn forget_the_gone(&self) {
        self.members().by_seat.retain(|_, member| member.gone.is_none());
    }

    pub(crate) fn new(tasks: u32, chance: &Chance) -> Self {
        let (members, changed) = Default::default();
        Self { tasks, chance: chance.clone(), members, changed }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the group; under a name that a member has or had, in its place.
    pub(crate) fn join(&self, life: &Life, instance: Option<Arc<str>>) -> Seat {
        let wake = Arc::new(Notify::new());
        let mut members = self.members();
        members.seats += 1;
        let number = members.seats;
        let mut member = Member {
            name: Arc::clone(&life.name),
            held: BTreeSet::new(),
            news: VecDeque::new(),
            wake: Arc::clone(&wake),
            gone: None,
            instance,
        };
        if let Some(former) = members.take_out(member.instance.as_deref()) {
            member.held = former.held;
            member.news.push_back(News::Assigned(member.held.iter().copied().collect()));
            former.wake.notify_one();
        }
        members.by_seat.insert(number, member);
        drop(members);
        self.changed.notify_one();
        Seat { number, group: self.clone(), life: life.clone(), wake }
    }

    /// Rebalances whenever somebody comes or goes, and sometimes for no reason.
    pub(crate) async fn coordinate(&self) {
        loop {
            if self.chance.is_calm() {
                self.comes_or_goes().await;
            } else if !self.stirs().await {
                continue;
            }
            self.members().give_up();
            self.rebalance().await;
        }
    }

    /// Waits until somebody comes or goes, or has been gone for too long.
    async fn comes_or_goes(&self) {
        let gives_up = self.members().gives_up();
        let given_up = async {
            match gives_up {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.changed.notified() => {}
            () = given_up => {}
        }
    }

    /// The same, or for a while. Whether there is a rebalance.
    async fn stirs(&self) -> bool {
        let mut time = self.chance.of(GROUP, "time");
        let most = time.pick([300, 3_000, 30_000]);
        let whim = tokio::time::sleep(time.millis(most));
        tokio::select! {
            biased;
            () = self.comes_or_goes() => {}
            () = whim => {
                // Sooner or later for no reason.
                let reason = "for no reason";
                if self.chance.strikes_one_in(1, FaultKind::Rebalance, GROUP, reason).is_none() {
                    return false;
                }
            }
        }
        tokio::time::sleep(time.millis(300)).await;
        true
    }

    async fn rebalance(&self) {
        let Some(target) = self.target() else { return };
        let done = self.revoke(&target);
        join_all(done).await;
        let mut members = self.members();
        for (seat, member) in &mut members.by_seat {
            let Some(target) = target.get(seat) else { continue };
            for news in &mut member.news {
                // Whoever has not even heard of it in time has lost them.
                if let News::Revoked { lost, .. } = news {
                    *lost = true;
                }
            }
            let coming: Vec<u32> = target.difference(&member.held).copied().collect();
            let name = &member.name;
            self.chance.report(|| format!("group: {name} is given {coming:?}"));
            member.held.clone_from(target);
            member.news.push_back(News::Assigned(coming));
            let (name, breaks) = (&member.name, "the connection to the group");
            if self.chance.strikes_less(4, FaultKind::Error, name, breaks).is_some() {
                member.news.push_back(News::Broken);
            }
            member.wake.notify_one();
        }
    }

    /// Who should have which tasks.
    fn target(&self) -> Option<BTreeMap<u64, BTreeSet<u32>>> {
        let members = self.members();
        let seats: Vec<u64> = members.by_seat.keys().copied().collect();
        if seats.is_empty() {
            return None;
        }
        let mut target: BTreeMap<u64, BTreeSet<u32>> =
            seats.iter().map(|seat| (*seat, BTreeSet::new())).collect();
        let mut draw = self.chance.of(GROUP, "target");
        let sticky = draw.one_in(2);
        for task in 0..self.tasks {
            let holds = |(_, member): &(&u64, &Member)| member.held.contains(&task);
            let holder = members.by_seat.iter().find(holds).map(|(seat, _)| *seat);
            let any = seats.get(draw.below(seats.len())).copied();
            let seat = if sticky { holder.or(any) } else { any };
            if let Some(tasks) = seat.and_then(|seat| target.get_mut(&seat)) {
                tasks.insert(task);
            }
        }
        Some(target)
    }

    /// Takes away what goes, and returns what to wait for.
    fn revoke(
        &self,
        target: &BTreeMap<u64, BTreeSet<u32>>,
    ) -> Vec<impl Future<Output = ()> + use<>> {
        let mut waits = Vec::new();
        // Eager groups take everything away first, cooperative ones only what goes.
        let eager = self.chance.of(GROUP, "eager").one_in(2);
        for (seat, member) in &mut self.members().by_seat {
            let stays = target.get(seat).filter(|_| !eager).cloned().unwrap_or_default();
            let going: Vec<u32> = member.held.difference(&stays).copied().collect();
            if going.is_empty() {
                continue;
            }
            let name = &member.name;
            let what = "its tasks are lost to it";
            let lost = self.chance.strikes_one_in(6, FaultKind::Rebalance, name, what).is_some();
            let deadline = self.chance.of(name, "deadline").pick([50, 500, 3_000]);
            let deadline = Duration::from_millis(deadline);
            self.chance.report(|| {
                let how = if lost { "loses" } else { "gives back" };
                format!("group: {name} {how} {going:?} within {deadline:?}")
            });
            member.held.retain(|task| stays.contains(task));
            let (done, is_done) = oneshot::channel();
            member.news.push_back(News::Revoked { tasks: going, lost, deadline, done });
            member.wake.notify_one();
            if !lost {
                let wait = tokio::time::timeout(deadline, is_done);
                waits.push(async move { drop(wait.await) });
            }
        }
        waits
    }
}
