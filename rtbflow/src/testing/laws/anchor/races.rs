//! Laws on what happens at once, and on commits that are given up half-way.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures::future::join_all;

use super::case::{Case, Owner, patiently};
use super::under_test::AnchorUnderTest;
use crate::epoch::{Anchor, Epoch, Verdict};
use crate::position::Task;

const TASK: Task = Task { number: 0, of: 2 };
const ROUNDS: i64 = 16;

pub(super) async fn prepare<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let job = super::case::new_job();
    let anchors: Vec<P::Anchor> = (0..8).map(|_| case.place.anchor()).collect();
    join_all(anchors.iter().map(|anchor| patiently("prepare", || anchor.prepare(&job)))).await;
    let Some(anchor) = anchors.first() else { return };
    let mut owner = Owner::claim(anchor.clone(), &job, 1, TASK, &[0]).await;
    let epoch = case.epoch(&owner, 3, 1);
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    join_all(anchors.iter().map(|anchor| patiently("prepare", || anchor.prepare(&job)))).await;
    assert_eq!(owner.state().await.of("laws", 7), ["1"], "preparing again keeps the state");
    let epoch = case.epoch(&owner, 3, 10);
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED, "and takes nobody's tasks away");
}

pub(super) async fn claims<P: AnchorUnderTest>(case: &Case<'_, P>) {
    for round in 0..ROUNDS {
        let (one, other) =
            futures::join!(case.claim(TASK, &[0, 1, 2]), case.claim(TASK, &[2, 1, 0]));
        let commit = |owner: &Owner<P::Anchor>| {
            let commits: Vec<u64> = owner.at.iter().map(|(_, at)| at.commit).collect();
            assert!(
                commits.windows(2).all(|two| two.first() == two.last()),
                "one step: {commits:?}"
            );
            commits.first().copied()
        };
        let (mut first, mut last) = (one, other);
        if commit(&first) > commit(&last) {
            std::mem::swap(&mut first, &mut last);
        }
        assert_ne!(commit(&first), commit(&last), "two claims are two steps");
        let (stale, epoch) = (case.epoch(&first, 1, 1 << 40), case.epoch(&last, 1, 1));
        assert_eq!(first.commit(&stale).await, Verdict::Fenced);
        assert_eq!(last.commit(&epoch).await, Verdict::COMMITTED);
        assert_eq!(case.applied().await, round + 1);
    }
}

pub(super) async fn claim_against_commit<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let (mut read, mut applied) = (0, 0);
    for round in 0..ROUNDS {
        let mut former = case.claim(TASK, &[0, 1]).await;
        let epoch = case.epoch(&former, 1, 1);
        // Both orders of setting out are tried.
        let (verdict, owner) = if round % 2 == 0 {
            futures::join!(former.commit(&epoch), case.claim(TASK, &[0, 1]))
        } else {
            let (owner, verdict) = futures::join!(case.claim(TASK, &[0, 1]), former.commit(&epoch));
            (verdict, owner)
        };
        if verdict == Verdict::COMMITTED {
            (read, applied) = (read + 1, applied + 1);
        }
        let expected = (read > 0).then_some(read);
        assert!(
            owner.at.iter().all(|(_, at)| at.offset == expected),
            "the claim found {:?} after {verdict:?}, not {expected:?}",
            owner.at
        );
        assert_eq!(case.applied().await, applied, "{verdict:?}");
        let log = owner.state().await.of("laws", 7).len();
        assert_eq!(i64::try_from(log), Ok(applied), "{verdict:?}");
    }
}

pub(super) async fn retries<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let one = case.claim(TASK, &[0, 1]).await;
    let other = case.claim(Task { number: 1, of: 2 }, &[2, 3]).await;
    let mut owners = [one, other];
    for round in 1..=ROUNDS {
        let mut epochs: Vec<Epoch> = owners.iter().map(|owner| case.epoch(owner, 1, 1)).collect();
        let ahead: Vec<_> = epochs.iter().map(steps).collect();
        // The second copy is the same group in the other order, with its partitions turned round.
        let mut copy: Vec<Epoch> =
            owners.iter().rev().map(|owner| case.epoch(owner, 1, 1)).collect();
        copy.iter_mut().for_each(|epoch| epoch.advances.reverse());
        let [one, other] = &owners;
        let (first, second) = futures::join!(one.commit_all(&epochs), other.commit_all(&copy));
        assert_eq!((first, second), (vec![Verdict::COMMITTED; 2], vec![Verdict::COMMITTED; 2]));
        assert_eq!(case.applied().await, 2 * round, "each epoch once");
        epochs.clear();
        for (owner, at) in owners.iter_mut().zip(ahead) {
            owner.at = at;
        }
    }
}

fn steps(epoch: &Epoch) -> Vec<(crate::Partition, crate::position::Position)> {
    epoch.advances.iter().map(|step| (step.partition, step.to)).collect()
}

/// Drives a future until it has been polled this often, then gives it up. Whether it was finished.
async fn give_up<F: Future>(future: F, after_polls: u32) -> bool {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls == after_polls {
            return Poll::Ready(false);
        }
        polls += 1;
        let poll = future.as_mut().poll(context).map(|_| true);
        // The last poll was made: nothing would wake us for the next.
        if poll.is_pending() && polls == after_polls { Poll::Ready(false) } else { poll }
    })
    .await
}

pub(super) async fn abandoned<P: AnchorUnderTest>(case: &Case<'_, P>) {
    const MOST_POLLS: u32 = 64;
    let mut owner = case.claim(TASK, &[0, 1]).await;
    let (mut applied, mut finished) = (0, 0);
    for after_polls in 1..MOST_POLLS {
        let epochs = [case.epoch(&owner, 1, 1)];
        let done = give_up(owner.anchor.commit(&case.job, &epochs), after_polls).await;
        finished += u32::from(done);
        let (again, elsewhere) = (owner.clone(), case.place.anchor());
        let rescuer = Owner { anchor: elsewhere, ..owner.clone() };
        // By the same handle, whose connection may be half-way, and by another one.
        let handle = if after_polls % 2 == 0 { again } else { rescuer };
        assert_eq!(handle.commit_all(&epochs).await, [Verdict::COMMITTED]);
        applied += 1;
        assert_eq!(case.applied().await, applied, "given up after {after_polls} polls");
        let [epoch] = &epochs;
        owner.at = steps(epoch);
        if finished >= 3 {
            break;
        }
    }
    let next = case.claim(TASK, &[0, 1]).await;
    assert!(next.at.iter().all(|(_, at)| at.offset == Some(applied)), "{:?}", next.at);
    let log = next.state().await.of("laws", 7).len();
    assert_eq!(i64::try_from(log), Ok(applied), "a chunk for each epoch, once");
}
