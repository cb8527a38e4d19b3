//! The lookout: an older self of the place is noticed, and nothing else is taken for one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;

use crate::barrier::Gathered;
use crate::epoch::{Advance, Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::{Error, Result};
use crate::job::health::{Health, Tasks};
use crate::job::lookout::{Owned, check_is_not_older, look_out};
use crate::position::{JobName, Position, Task};
use crate::record::{Partition, Topic};
use crate::staged::Place;

const TASK: Task = Task { number: 0, of: 2 };
/// Several questions.
const A_WHILE: Duration = Duration::from_secs(9);

/// A place whose positions are what is written down; none while it is away.
#[derive(Debug, Clone)]
struct Standing(Memory, Arc<Mutex<Option<Vec<Position>>>>);

impl Standing {
    fn at(positions: &[Position]) -> Self {
        Self(Memory::new(), Arc::new(Mutex::new(Some(positions.to_vec()))))
    }

    fn set(&self, positions: Option<&[Position]>) {
        *self.1.lock().unwrap() = positions.map(<[_]>::to_vec);
    }
}

impl Anchor for Standing {
    fn place(&self) -> Place {
        self.0.place()
    }
    async fn prepare(&self, _: &JobName) -> Result<()> {
        Ok(())
    }
    async fn probe(&self, _: &JobName, _: &[Partition]) -> Result<Option<Vec<Position>>> {
        let positions = self.1.lock().unwrap().clone();
        positions.map(Some).ok_or_else(|| Error::transient("reach the place"))
    }
    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.0.claim(job, claim).await
    }
    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.0.restore(job, task, from).await
    }
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.0.commit(job, epochs).await
    }
}

fn partition() -> Partition {
    Partition::new(Topic::new("clicks"), 3)
}

fn at(commit: u64, owner: u64) -> Position {
    Position {
        offset: Some(100 + i64::try_from(commit).unwrap()),
        commit,
        owner,
        ..Position::default()
    }
}

fn job() -> JobName {
    JobName::new("older").unwrap()
}

/// What comes of looking out for a while.
async fn looked(place: &Standing, owned: &Owned, health: &Health) -> Option<Error> {
    let looks = look_out(job(), place.clone(), health.clone(), owned.clone());
    timeout(A_WHILE, looks).await.ok().map(Result::unwrap_err)
}

#[tokio::test(start_paused = true)]
async fn a_place_that_stands_before_what_it_has_acknowledged_is_an_older_self() {
    let (owned, health) = (Owned::default(), Health::default());
    owned.claimed(TASK, &[(partition(), at(4, 7))]);
    let place = Standing::at(&[at(4, 7)]);
    assert!(looked(&place, &owned, &health).await.is_none(), "it is where it was claimed");
    let advances = vec![Advance { partition: partition(), from: at(4, 7), to: at(5, 7) }];
    let epoch = Epoch::new(TASK, advances, Gathered::default());
    place.set(Some(&[at(5, 7)]));
    assert!(looked(&place, &owned, &health).await.is_none(), "applied, and not answered yet");
    owned.committed(&epoch);
    assert!(looked(&place, &owned, &health).await.is_none());
    for (older, how) in [(at(4, 7), "commit 4 (offset 104)"), (at(5, 8), "commit 5 (offset 105)")] {
        place.set(Some(&[older]));
        let error = looked(&place, &owned, &health).await.unwrap();
        let text = error.report();
        assert!(error.is_transient() && text.contains(how), "{text}");
        assert!(text.contains("clicks/3") && text.contains("acknowledged commit 5"), "{text}");
    }
    place.set(Some(&[Position::default()]));
    let text = looked(&place, &owned, &health).await.unwrap().report();
    assert!(text.contains("commit 0 (offset the beginning)"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn another_owner_that_is_ahead_and_a_task_that_was_given_back_are_none() {
    let (owned, health) = (Owned::default(), Health::default());
    owned.claimed(TASK, &[(partition(), at(4, 7))]);
    let place = Standing::at(&[at(5, 8)]);
    assert!(looked(&place, &owned, &health).await.is_none());
    owned.revoked(TASK);
    place.set(Some(&[]));
    assert!(looked(&place, &owned, &health).await.is_none());
    // An epoch whose answer comes late claims nothing back.
    let advances = vec![Advance { partition: partition(), from: at(4, 7), to: at(5, 7) }];
    owned.committed(&Epoch::new(TASK, advances, Gathered::default()));
    assert!(looked(&place, &owned, &health).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_away_is_not_an_older_self_but_not_ready() {
    let (owned, health) = (Owned::default(), Health::default());
    health.starting("open the source");
    health.turned(Tasks::Held(1));
    owned.claimed(TASK, &[(partition(), at(4, 7))]);
    let place = Standing::at(&[]);
    place.set(None);
    assert!(looked(&place, &owned, &health).await.is_none());
    let reason = health.ready().unwrap_err();
    assert!(reason.reason().contains("the place does not answer: reach the place"), "{reason}");
    place.set(Some(&[at(4, 7)]));
    assert!(looked(&place, &owned, &health).await.is_none());
    assert!(health.ready().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_answers_for_other_partitions_is_a_fault_of_its_anchor() {
    let (owned, health) = (Owned::default(), Health::default());
    owned.claimed(TASK, &[(partition(), at(4, 7))]);
    let error = looked(&Standing::at(&[]), &owned, &health).await.unwrap();
    assert!(!error.is_transient() && error.report().contains("a fault of the place's `Anchor`"));
}

#[tokio::test(start_paused = true)]
async fn what_was_restored_from_an_older_self_is_restored_again() {
    let place = Standing::at(&[at(4, 7)]);
    let claimed = [(partition(), at(4, 7))];
    check_is_not_older(&job(), &place, &claimed).await.unwrap();
    place.set(Some(&[at(2, 5)]));
    let error = check_is_not_older(&job(), &place, &claimed).await.unwrap_err();
    assert!(error.is_transient() && error.report().contains("older self"), "{}", error.report());
}
