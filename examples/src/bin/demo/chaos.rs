//! Kills pipelines in the middle of their work, and measures how long it takes until they commit again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rtbflow::{Error, Result};
use rtbflow_examples::generator::Dice;
use rtbflow_examples::pipeline::BALANCE;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::options::DemoOptions;
use crate::pipelines::Role;
use crate::progress::{At, Positions, lag};
use crate::reader::Reader;
use crate::traffic::Shared;
use crate::worker::Killer;

/// How often a pipeline that was killed is looked at: how exactly its outage is measured.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// After this it is taken for lost. The proof then says what is missing.
const LONGEST_OUTAGE: Duration = Duration::from_secs(30);
/// A pipeline that has more to catch up with is left alone: the traffic does not wait for the slowest.
const MOST_LAG: u64 = 5_000;
/// Between two kills.
const LONGEST_PEACE_MS: u64 = 3_000;

/// A kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    /// Whose process it was.
    pub(crate) name: &'static str,
    /// When, from the beginning.
    pub(crate) at: Duration,
    /// How long it took from the kill to the next commit; unknown until then.
    pub(crate) outage: Option<Duration>,
}

/// All kills so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Kills(Mutex<Vec<Kill>>);

impl Kills {
    fn list(&self) -> MutexGuard<'_, Vec<Kill>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are now.
    pub(crate) fn all(&self) -> Vec<Kill> {
        self.list().clone()
    }

    /// A process has died: which kill that was.
    fn died(&self, name: &'static str, at: Duration) -> usize {
        let mut list = self.list();
        list.push(Kill { name, at, outage: None });
        list.len() - 1
    }

    /// After one of the kills the pipeline commits again.
    fn returned(&self, kill: usize, after: Duration) {
        if let Some(kill) = self.list().get_mut(kill) {
            kill.outage = Some(after);
        }
    }

    /// Whether a pipeline has been killed and does not commit yet.
    fn is_away(&self, name: &str) -> bool {
        self.list().iter().any(|kill| kill.name == name && kill.outage.is_none())
    }
}

/// A pipeline that may be killed.
pub(crate) type Victim = (Role, Killer);

/// Who kills.
pub(crate) struct Chaos {
    pub(crate) victims: Vec<Victim>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) kills: Arc<Kills>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) begun: Instant,
}

impl Chaos {
    /// Kills until the traffic is over: with `--chaos` again and again, whoever is at work, otherwise once.
    /// Ends when all are back.
    pub(crate) async fn run(self, options: &DemoOptions) -> Result<()> {
        let mut dice = Dice::new(options.seed);
        let mut away = FuturesUnordered::new();
        let mut is_hunting = true;
        let first = if options.chaos { Duration::ZERO } else { options.duration * 2 / 5 };
        let mut due = self.begun + first;
        loop {
            tokio::select! {
                Some(back) = away.next() => back?,
                () = self.shared.over(), if is_hunting => is_hunting = false,
                () = sleep_until(due), if is_hunting => {
                    due = Instant::now() + LOOK_EVERY;
                    let Some(victim) = self.choose(&mut dice) else { continue };
                    if self.is_at_work(&victim.0).await? {
                        away.push(self.kill(victim).await?);
                        is_hunting = options.chaos;
                        due += Duration::from_millis(dice.below(LONGEST_PEACE_MS));
                    }
                }
                else => return Ok(()),
            }
        }
    }

    /// The first is the one that moves the money; then any that is not away.
    fn choose(&self, dice: &mut Dice) -> Option<&Victim> {
        let is_first = self.kills.list().is_empty();
        let may_be = |(role, _): &&Victim| {
            !self.kills.is_away(role.name()) && (!is_first || role.pipeline == BALANCE)
        };
        let victims: Vec<&Victim> = self.victims.iter().filter(may_be).collect();
        let count = u64::try_from(victims.len()).unwrap_or(0);
        let number = (count > 0).then(|| dice.below(count))?;
        victims.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether a pipeline is in the middle of its work: it has committed, and is not still catching up.
    async fn is_at_work(&self, role: &Role) -> Result<bool> {
        let positions = self.reader.positions(role).await?;
        let has_committed = positions.values().any(|position| position.next > 0);
        Ok(has_committed && self.lag(role, &positions).await? < MOST_LAG)
    }

    async fn lag(&self, role: &Role, positions: &Positions) -> Result<u64> {
        Ok(lag(positions, &role.own(&self.reader.ends().await?)))
    }

    /// Whether a pipeline that was killed commits again; or would, if there were anything to commit.
    async fn is_back(&self, role: &Role, left: &Positions) -> Result<bool> {
        let now = self.reader.positions(role).await?;
        if has_moved(left, &now) {
            return Ok(true);
        }
        let is_idle = self.shared.is_over() && now.keys().any(|at| by_another(left, &now, *at));
        Ok(is_idle && self.lag(role, &now).await? == 0)
    }

    /// Kills a pipeline's process; what then waits until the next one commits.
    async fn kill<'a>(
        &'a self,
        (role, killer): &'a Victim,
    ) -> Result<impl Future<Output = Result<()>> + use<'a>> {
        let failed = || Error::permanent(format!("kill {}", role.name()));
        let (answer, died) = oneshot::channel();
        killer.send(answer).await.map_err(|_| failed())?;
        let died = died.await.map_err(|_| failed())?;
        let kill = self.kills.died(role.name(), died.duration_since(self.begun));
        let left = self.reader.positions(role).await?;
        Ok(async move {
            while died.elapsed() < LONGEST_OUTAGE {
                sleep(LOOK_EVERY).await;
                if self.is_back(role, &left).await? {
                    self.kills.returned(kill, died.elapsed());
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Whether another process has committed since. The last commit of the one that was killed may have been on
/// its way: it does not count.
fn has_moved(left: &Positions, now: &Positions) -> bool {
    let before = |at| left.get(at).map_or(0, |position| position.next);
    now.iter().any(|(at, position)| by_another(left, now, *at) && position.next > before(at))
}

/// Whether another process has a partition now. Where the place names none, it may be.
fn by_another(left: &Positions, now: &Positions, at: At) -> bool {
    let owner = |positions: &Positions| positions.get(&at).and_then(|position| position.owner);
    owner(now).is_none() || owner(now) != owner(left)
}

#[cfg(test)]
mod tests {
    use rtbflow_examples::topics::SystemTopic;

    use super::*;
    use crate::progress::PartitionPosition;

    fn at(owner: Option<u64>, next: i64) -> Positions {
        let position = PartitionPosition { next, event_time: None, owner };
        Positions::from([((SystemTopic::AdEvents, 0), position)])
    }

    #[test]
    fn only_a_commit_of_another_process_counts() {
        let left = at(Some(7), 10);
        for (now, moved) in [
            (at(Some(7), 10), false),
            // The last one of the process that was killed, which was on its way.
            (at(Some(7), 12), false),
            // Claimed, not committed.
            (at(Some(8), 10), false),
            (at(Some(8), 11), true),
        ] {
            assert_eq!(has_moved(&left, &now), moved, "{now:?}");
        }
        assert!(has_moved(&at(None, 10), &at(None, 11)), "a place that names no owner");
        assert!(has_moved(&Positions::new(), &at(Some(8), 1)), "killed before its first commit");
    }

    #[test]
    fn who_is_away_comes_back() {
        let kills = Kills::default();
        let second = Duration::from_secs(1);
        let one = kills.died("one", second);
        let other = kills.died("other", second * 2);
        kills.returned(one, second * 3);
        let kill = |name, at, outage| Kill { name, at, outage };
        let expected = [kill("one", second, Some(second * 3)), kill("other", second * 2, None)];
        assert_eq!(kills.all(), expected);
        assert!(!kills.is_away("one") && kills.is_away("other") && !kills.is_away("third"));
        kills.returned(other, second);
        assert!(!kills.is_away("other"));
    }
}
