//! Laws on forgetting a job: it begins anew, and nobody goes on from before.

use futures::future::join;

use super::case::{Case, Owner, append, new_job, partition, patiently};
use super::under_test::AnchorUnderTest;
use crate::chunk::Chunk;
use crate::epoch::{Anchor, Claim, Epoch, Kept, Verdict};
use crate::position::Task;

const TASKS: [Task; 2] = [Task { number: 0, of: 2 }, Task { number: 1, of: 2 }];

async fn forget<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let anchor = case.place.anchor();
    patiently("forget", || anchor.forget(&case.job)).await;
}

async fn kept<P: AnchorUnderTest>(case: &Case<'_, P>) -> Kept {
    let anchor = case.place.anchor();
    patiently("look for what is kept", || anchor.kept(&case.job)).await
}

pub(super) async fn anew<P: AnchorUnderTest>(case: &Case<'_, P>) {
    assert!(kept(case).await.is_empty(), "nothing is kept of a job that never ran");
    forget(case).await;
    let [task, other_task] = TASKS;
    let mut owner = case.claim(task, &[0, 2]).await;
    let mut other = case.claim(other_task, &[1]).await;
    let mut epoch = case.epoch(&owner, 3, 1);
    epoch.chunks.extend((0..2_000).map(|bucket| append("many", bucket, "bytes")));
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    assert_eq!(other.commit(&case.epoch(&other, 4, 10)).await, Verdict::COMMITTED);
    let found = kept(case).await;
    let offsets: Vec<_> = found.positions.values().map(|at| at.offset).collect();
    assert_eq!(offsets, [Some(3), Some(4), Some(3)], "the positions of all partitions");
    assert_eq!(found.buckets, 2_002, "the buckets of all tasks");
    forget(case).await;
    assert!(kept(case).await.is_empty(), "nothing is kept of a job that was forgotten");
    forget(case).await;
    assert_eq!(case.applied().await, 11, "forgetting leaves the results");
    let mut owner = case.claim(task, &[0, 2]).await;
    assert!(owner.at.iter().all(|(_, at)| at.offset.is_none()), "it begins at the first record");
    assert!(owner.state().await.is_empty(), "it begins without state");
    assert_eq!(owner.commit(&case.epoch(&owner, 3, 100)).await, Verdict::COMMITTED);
    assert_eq!(owner.state().await.of("laws", 7), ["100"]);
    assert_eq!(case.applied().await, 111);
}

pub(super) async fn fences<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let [task, _] = TASKS;
    let mut straggler = case.claim(task, &[0]).await;
    assert_eq!(straggler.commit(&case.epoch(&straggler, 3, 1)).await, Verdict::COMMITTED);
    let mut epoch = case.epoch(&straggler, 4, 10);
    epoch.chunks.push(Chunk::drop_bucket("laws".into(), 7));
    let epochs = [epoch];
    forget(case).await;
    for _ in 0..2 {
        assert_eq!(straggler.commit_all(&epochs).await, [Verdict::Fenced], "nobody owns it");
    }
    assert!(kept(case).await.is_empty(), "a fenced epoch leaves nothing");
    let mut owner = case.claim(task, &[0]).await;
    assert_eq!(straggler.commit_all(&epochs).await, [Verdict::Fenced], "another owns it");
    assert_eq!(owner.commit(&case.epoch(&owner, 5, 100)).await, Verdict::COMMITTED);
    assert_eq!(straggler.commit_all(&epochs).await, [Verdict::Fenced]);
    assert_eq!(case.applied().await, 101);
    assert_eq!(owner.state().await.of("laws", 7), ["100"]);
}

pub(super) async fn apart<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let [task, _] = TASKS;
    let anchor = case.place.anchor();
    let neighbour = new_job();
    patiently("prepare", || anchor.prepare(&neighbour)).await;
    let mut beside = Owner::claim(anchor.clone(), &neighbour, 7, task, &[0]).await;
    let epoch = Epoch { chunks: vec![append("laws", 7, "beside")], ..beside.epoch(3) };
    assert_eq!(beside.commit(&epoch).await, Verdict::COMMITTED);
    let mut owner = case.claim(task, &[0]).await;
    assert_eq!(owner.commit(&case.epoch(&owner, 3, 1)).await, Verdict::COMMITTED);
    forget(case).await;
    assert_eq!(beside.state().await.of("laws", 7), ["beside"], "other jobs are left alone");
    let epoch = beside.epoch(1);
    assert_eq!(beside.commit(&epoch).await, Verdict::COMMITTED, "and go on");
    patiently("forget", || anchor.forget(&neighbour)).await;
}

pub(super) async fn layout<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let mut owner = case.claim(Task { number: 3, of: 7 }, &[3]).await;
    assert_eq!(owner.commit(&case.epoch(&owner, 3, 1)).await, Verdict::COMMITTED);
    let task = Task { number: 3, of: 13 };
    let claim = Claim { task, partitions: vec![partition(3)], owner: 1 };
    assert!(owner.anchor.claim(&case.job, &claim).await.is_err(), "it is laid out for 7 tasks");
    forget(case).await;
    let mut owner = case.claim(task, &[3]).await;
    assert!(owner.at.iter().all(|(_, at)| at.offset.is_none()), "it begins at the first record");
    assert_eq!(owner.commit(&case.epoch(&owner, 3, 10)).await, Verdict::COMMITTED);
    assert_eq!(case.applied().await, 11);
}

pub(super) async fn race<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let [task, _] = TASKS;
    let mut sum = 0;
    for round in 0..4 {
        let mut owner = case.claim(task, &[0]).await;
        assert!(owner.at.iter().all(|(_, at)| at.offset.is_none()), "round {round}");
        let epoch = case.epoch(&owner, 3, 1);
        let (verdict, ()) = join(owner.commit(&epoch), forget(case)).await;
        sum += i64::from(verdict == Verdict::COMMITTED);
        assert!(kept(case).await.is_empty(), "the commit came before or not at all");
        assert_eq!(case.applied().await, sum, "what was committed is a result");
    }
}
