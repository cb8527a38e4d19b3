//! Laws on what is committed once and what is fenced.

use super::case::{Case, Owner, append, partition};
use super::under_test::AnchorUnderTest;
use crate::epoch::{Anchor, Claim, Epoch, Verdict};
use crate::position::Task;

const TASK: Task = Task { number: 0, of: 3 };

/// Where the owner's partitions stand now, found by claiming them.
async fn offsets<P: AnchorUnderTest>(
    case: &Case<'_, P>,
    of: &Owner<P::Anchor>,
) -> Vec<Option<i64>> {
    let numbers: Vec<i32> = of.at.iter().map(|(partition, _)| partition.number).collect();
    let now = case.claim(of.task, &numbers).await;
    now.at.iter().map(|(_, position)| position.offset).collect()
}

pub(super) async fn commit_twice<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let owner = case.claim(TASK, &[0, 1]).await;
    let mut epoch = case.epoch(&owner, 3, 1);
    epoch.staged.extend((0..200).map(|_| case.place.stage(1000)));
    let epochs = [epoch];
    let other = Owner { anchor: case.place.anchor(), ..owner.clone() };
    for handle in [&owner, &owner, &other, &owner] {
        assert_eq!(handle.commit_all(&epochs).await, [Verdict::COMMITTED]);
        assert_eq!(case.applied().await, 200_001, "the rows of an epoch, once");
        assert_eq!(handle.state().await.of("laws", 7), ["1"], "the chunk of an epoch, once");
    }
    assert_eq!(offsets(case, &owner).await, [Some(3), Some(3)]);
}

pub(super) async fn unclaimed<P: AnchorUnderTest>(case: &Case<'_, P>) {
    // Of another job's claim, so that the epoch is like any other.
    let claimed = case.claim(TASK, &[0]).await;
    let job = super::case::new_job();
    let anchor = case.place.anchor();
    super::case::patiently("prepare", || anchor.prepare(&job)).await;
    let stranger = Owner { anchor, job, ..claimed };
    let epoch = case.epoch(&stranger, 3, 1);
    assert_eq!(stranger.commit_all(&[epoch]).await, [Verdict::Fenced]);
    assert_eq!(case.applied().await, 0);
    assert!(stranger.state().await.is_empty());
}

/// Commits what must be fenced, twice, and finds nothing of it.
async fn is_fenced<P: AnchorUnderTest>(
    case: &Case<'_, P>,
    stale: &Owner<P::Anchor>,
    mut epoch: Epoch,
) {
    let (applied, state) = (case.applied().await, stale.state().await);
    epoch.chunks.push(append("stale", 1, "stale"));
    epoch.chunks.push(crate::chunk::Chunk::drop_bucket("laws".into(), 7));
    let epochs = [epoch];
    for _ in 0..2 {
        assert_eq!(stale.commit_all(&epochs).await, [Verdict::Fenced]);
    }
    assert_eq!(case.applied().await, applied, "a fenced epoch leaves no row");
    assert_eq!(stale.state().await, state, "a fenced epoch leaves no chunk and drops none");
}

pub(super) async fn stale_owner<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut former = case.claim(TASK, &[0]).await;
    let epoch = case.epoch(&former, 3, 1);
    assert_eq!(former.commit(&epoch).await, Verdict::COMMITTED);
    let stale = case.epoch(&former, 4, 10);
    let mut owner = case.claim(TASK, &[0]).await;
    is_fenced(case, &former, stale).await;
    let epoch = case.epoch(&owner, 5, 100);
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED, "the new owner goes on");
    is_fenced(case, &former, case.epoch(&former, 4, 10)).await;
    assert_eq!(case.applied().await, 101);
    assert_eq!(owner.state().await.of("laws", 7), ["1", "100"]);
    assert_eq!(offsets(case, &owner).await, [Some(8)]);
}

pub(super) async fn stale_commit<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut owner = case.claim(TASK, &[0]).await;
    let (first, second, third) =
        (case.epoch(&owner, 3, 1), case.epoch(&owner, 4, 10), case.epoch(&owner, 5, 100));
    assert_eq!(owner.commit(&first).await, Verdict::COMMITTED);
    let before_third = owner.clone();
    let next = case.epoch(&owner, 2, 1000);
    assert_eq!(owner.commit(&next).await, Verdict::COMMITTED);
    // Both begin where the first began, and the place has moved on twice since.
    is_fenced(case, &before_third, second).await;
    is_fenced(case, &before_third, third).await;
    // The first itself is two steps back: nobody may take it for the last one.
    is_fenced(case, &before_third, first).await;
    assert_eq!(case.applied().await, 1001);
    assert_eq!(offsets(case, &owner).await, [Some(5)]);
}

pub(super) async fn without_records<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut former = case.claim(TASK, &[0, 1]).await;
    let quiet = case.epoch(&former, 0, 1);
    assert_eq!(former.commit(&quiet).await, Verdict::COMMITTED);
    assert_eq!(former.commit_all(&[quiet]).await, [Verdict::COMMITTED]);
    assert_eq!(case.applied().await, 1, "an epoch that reads nothing is committed once");
    let stale = case.epoch(&former, 0, 10);
    let mut owner = case.claim(TASK, &[0, 1]).await;
    is_fenced(case, &former, stale).await;
    assert!(owner.at.iter().all(|(_, at)| at.offset.is_none()), "nothing was read");
    let quiet = case.epoch(&owner, 0, 100);
    assert_eq!(owner.commit(&quiet).await, Verdict::COMMITTED);
    assert_eq!(case.applied().await, 101);
}

pub(super) async fn torn_task<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let former = case.claim(TASK, &[0, 1]).await;
    let rival = case.claim(TASK, &[1]).await;
    is_fenced(case, &former, case.epoch(&former, 3, 1)).await;
    let mut turned = case.epoch(&former, 3, 1);
    turned.advances.reverse();
    is_fenced(case, &former, turned).await;
    assert_eq!(offsets(case, &rival).await, [None]);
    assert_eq!(offsets(case, &former).await, [None, None], "no partition moved alone");
}

pub(super) async fn group<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let of = 40;
    let mut owners = Vec::new();
    for number in 0..of {
        let task = Task { number, of };
        let first = i32::try_from(number).unwrap_or_default() * 2;
        owners.push(case.claim(task, &[first, first + 1]).await);
    }
    let epochs: Vec<Epoch> = owners.iter().map(|owner| case.epoch(owner, 3, 1)).collect();
    let fenced = |number: u32| number % 5 == 1;
    for owner in owners.iter().filter(|owner| fenced(owner.task.number)) {
        let numbers: Vec<i32> = owner.at.iter().map(|(partition, _)| partition.number).collect();
        case.claim(owner.task, &numbers).await;
    }
    let expected: Vec<Verdict> = (0..of)
        .map(|number| if fenced(number) { Verdict::Fenced } else { Verdict::COMMITTED })
        .collect();
    let Some(any) = owners.first() else { return };
    for _ in 0..2 {
        assert_eq!(any.commit_all(&epochs).await, expected, "verdicts in the order of the epochs");
        assert_eq!(case.applied().await, 32, "the rows of the epochs that are not fenced");
    }
    for owner in &owners {
        let is_fenced = fenced(owner.task.number);
        let offset = if is_fenced { None } else { Some(3) };
        assert_eq!(owner.state().await.is_empty(), is_fenced, "task {}", owner.task);
        assert_eq!(offsets(case, owner).await, [offset, offset], "task {}", owner.task);
    }
}

pub(super) async fn layout<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut owner = case.claim(Task { number: 3, of: 7 }, &[3]).await;
    let epoch = case.epoch(&owner, 3, 1);
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    for (number, partitions) in [(3, vec![partition(3), partition(10)]), (12, vec![partition(12)])]
    {
        let claim = Claim { task: Task { number, of: 13 }, partitions, owner: 1 };
        let refused = owner.anchor.claim(&case.job, &claim).await;
        let report = refused.as_ref().err().map(|error| (error.is_config(), error.report()));
        let names_both = report.as_ref().is_some_and(|(is_config, report)| {
            *is_config && report.contains('7') && report.contains("13")
        });
        assert!(names_both, "a configuration error that names 7 and 13, not {refused:?}");
    }
    // A staged row alone is no state.
    let quiet = Epoch { staged: vec![case.place.stage(10)], ..owner.epoch(1) };
    assert_eq!(owner.commit(&quiet).await, Verdict::COMMITTED, "a refused claim changes nothing");
    assert_eq!(case.applied().await, 11);
    assert_eq!(offsets(case, &owner).await, [Some(4)]);
}

/// The answer of a commit was lost, and another owner came before it could be asked again.
pub(super) async fn taken_over<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut former = case.claim(TASK, &[0, 1]).await;
    let applied = case.epoch(&former, 3, 1);
    assert_eq!(former.commit(&applied).await, Verdict::COMMITTED);
    let other = case.epoch(&former, 4, 10);
    let mut owner = case.claim(TASK, &[0, 1]).await;
    for round in 0..3 {
        let again = former.commit_all(std::slice::from_ref(&applied)).await;
        assert_eq!(again, [Verdict::COMMITTED], "it was applied, whoever has come since");
        assert_eq!(former.commit_all(std::slice::from_ref(&other)).await, [Verdict::Fenced]);
        assert_eq!(case.applied().await, 1 + 100 * round, "nothing is applied again");
        let epoch = case.epoch(&owner, 2, 100);
        assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    }
    assert_eq!(offsets(case, &owner).await, [Some(9), Some(9)]);
}
