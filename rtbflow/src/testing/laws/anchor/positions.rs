//! Laws on positions: where they start, what comes back, and whose they are.

use super::case::{Case, Owner, new_job, partition, patiently};
use super::under_test::AnchorUnderTest;
use crate::epoch::{Anchor, Claim, Verdict};
use crate::log::{Log, TopicId};
use crate::position::{Position, Task};
use crate::record::Partition;
use crate::staged::{Place, Staged, StagedRows};
use crate::time::Timestamp;

const TASK: Task = Task { number: 0, of: 2 };

pub(super) async fn start<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let numbers = [9, 10, 0, i32::MAX, 1];
    let owner = case.claim_as(5, TASK, &numbers).await;
    for (_, position) in &owner.at {
        let claimed = Position { commit: 1, owner: 5, ..Position::default() };
        assert_eq!(*position, claimed, "the first claim of a partition");
    }
    assert!(owner.state().await.is_empty(), "a new job has no state");
    // Only the partition at 0 moves on: its place in the answer is then distinguished from the others.
    let mut epoch = owner.epoch(0);
    for advance in epoch.advances.iter_mut().filter(|step| step.partition == partition(0)) {
        advance.to.offset = Some(77);
    }
    assert_eq!(owner.commit_all(&[epoch]).await, [Verdict::COMMITTED]);
    let reversed: Vec<i32> = numbers.iter().rev().copied().collect();
    let next = case.claim(TASK, &reversed).await;
    let offsets: Vec<_> = next.at.iter().map(|(_, position)| position.offset).collect();
    assert_eq!(offsets, [None, None, Some(77), None, None], "positions in the order of the claim");
    assert!(next.at.iter().all(|(_, position)| position.commit == 3), "a claim counts as a commit");
    let none = owner.commit_all(&[]).await;
    assert!(none.is_empty(), "a group without epochs");
}

pub(super) async fn round_trip<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let times = [
        None,
        Some(Timestamp::MIN),
        Some(Timestamp::from_millis(-1)),
        Some(Timestamp::from_millis(0)),
        Some(Timestamp::from_millis(1_705_314_600_042)),
        Some(Timestamp::MAX),
    ];
    let offsets = [None, Some(0), Some(1), Some((1 << 53) + 1), Some(i64::MAX)];
    let marks = [u64::MAX, 0, 1 << 63, (1 << 53) + 1];
    let log = |bits, leader_epoch| Some(Log { topic_id: TopicId::new(bits), leader_epoch });
    let logs = [log(1, None), None, log(u128::MAX, Some(i32::MAX)), log(1 << 127, Some(0))];
    let mut owner = case.claim_as(1, TASK, &[0, 1]).await;
    for (turn, event_time) in times.into_iter().enumerate() {
        for (turn, offset) in offsets.into_iter().enumerate().map(|(n, offset)| (turn + n, offset))
        {
            let mut epoch = owner.epoch(0);
            if let Some(step) = epoch.advances.first_mut() {
                (step.to.offset, step.to.event_time) = (offset, event_time);
                step.to.log = logs.get(turn % logs.len()).copied().flatten();
            }
            assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
            let committed = owner.at.clone();
            let mark = marks.get(turn % marks.len()).copied().unwrap_or(1);
            owner = case.claim_as(mark, TASK, &[0, 1]).await;
            follows(mark, &committed, &owner.at);
        }
    }
}

/// Positions were committed so and then claimed with a mark.
fn follows(mark: u64, committed: &[(Partition, Position)], claimed: &[(Partition, Position)]) {
    for ((_, was), (_, is)) in committed.iter().zip(claimed) {
        let expected = Position { commit: was.commit + 1, owner: mark, ..*was };
        assert_eq!(*is, expected, "a position that was committed and claimed");
    }
}

pub(super) async fn apart<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let other_job = new_job();
    let anchor = case.place.anchor();
    patiently("prepare", || anchor.prepare(&other_job)).await;
    let mut here = case.claim(TASK, &[0]).await;
    let mut beside = case.claim(Task { number: 1, of: 2 }, &[1]).await;
    let mut elsewhere = Owner::claim(anchor.clone(), &other_job, 3, TASK, &[0]).await;
    let epochs =
        [case.epoch(&here, 5, 1), case.epoch(&beside, 6, 10), case.epoch(&elsewhere, 7, 100)];
    let [first, second, third] = &epochs;
    assert_eq!(here.commit(first).await, Verdict::COMMITTED);
    assert_eq!(beside.commit(second).await, Verdict::COMMITTED);
    assert_eq!(elsewhere.commit(third).await, Verdict::COMMITTED);
    assert_eq!(here.state().await.of("laws", 7), ["1"]);
    assert_eq!(beside.state().await.of("laws", 7), ["10"]);
    assert_eq!(elsewhere.state().await.of("laws", 7), ["100"]);
    assert_eq!(case.applied().await, 111);
    let offsets = |owner: &Owner<P::Anchor>| owner.at.first().and_then(|(_, at)| at.offset);
    let again = [
        offsets(&case.claim(TASK, &[0]).await),
        offsets(&case.claim(Task { number: 1, of: 2 }, &[1]).await),
        offsets(&Owner::claim(anchor, &other_job, 4, TASK, &[0]).await),
    ];
    assert_eq!(again, [Some(5), Some(6), Some(7)], "each job and partition has its own position");
}

/// What a sink of another place has staged.
struct Foreign;

impl StagedRows for Foreign {}

pub(super) async fn elsewhere<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut owner = case.claim(TASK, &[0]).await;
    let place = Place::new("elsewhere");
    assert_ne!(owner.anchor.place(), place);
    assert_eq!(owner.anchor.place(), case.place.stage(1).place, "the sink's place is the anchor's");
    let mut epoch = case.epoch(&owner, 1, 1);
    epoch.staged.insert(0, Staged::new(place, 1, Foreign));
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    assert_eq!(case.applied().await, 1);
    let claim = Claim { task: TASK, partitions: vec![partition(0)], owner: 9 };
    let anchor = owner.anchor.clone();
    let at = patiently("claim", || anchor.claim(&case.job, &claim)).await;
    assert_eq!(at.first().and_then(|at| at.offset), Some(1));
}
