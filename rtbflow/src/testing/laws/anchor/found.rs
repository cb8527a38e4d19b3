//! Laws on what only the place can find out about a record, such as that it repeats one that is there.

use super::case::{Case, Owner, partition};
use super::under_test::AnchorUnderTest;
use crate::barrier::{Class, Tally};
use crate::epoch::{Epoch, Verdict};
use crate::position::Task;
use crate::record::{Origin, Record};
use crate::time::Timestamp;

const TASKS: [Task; 2] = [Task { number: 0, of: 2 }, Task { number: 1, of: 2 }];

/// Committed, and this many records were found to be duplicates.
fn committed(duplicates: u64) -> Verdict {
    let mut tally = Tally::NONE;
    tally.add(Class::Duplicate, duplicates);
    Verdict::Committed(tally)
}

/// An epoch of records with these values, each read from one of the owner's partitions; `None` where the
/// place finds nothing out.
fn epoch<P: AnchorUnderTest>(
    case: &Case<'_, P>,
    owner: &Owner<P::Anchor>,
    values: &[(i32, i64)],
) -> Option<Epoch> {
    let mut epoch = owner.epoch(1);
    for (offset, (number, value)) in (0..).zip(values) {
        let origin = Some(Origin::new(partition(*number), offset));
        let record = Record { value: *value, timestamp: Timestamp::default(), origin };
        epoch.staged.push(case.place.stage_distinct(&record)?);
    }
    Some(epoch)
}

pub(super) async fn once<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let [task, _] = TASKS;
    let mut owner = case.claim(task, &[0, 1]).await;
    let value = rand::random::<u32>().into();
    let Some(first) = epoch(case, &owner, &[(0, value)]) else { return };
    assert_eq!(owner.commit(&first).await, committed(0), "the first of its value");
    let Some(second) = epoch(case, &owner, &[(1, value), (0, value + 1), (1, value + 1)]) else {
        return;
    };
    let epochs = [second];
    let other = Owner { anchor: case.place.anchor(), ..owner.clone() };
    for handle in [&owner, &owner, &other, &owner] {
        assert_eq!(handle.commit_all(&epochs).await, [committed(2)], "a repeat, and one within");
        assert_eq!(case.applied().await, 2 * value + 1, "repeats are left out");
    }
    let [second] = &epochs;
    assert_eq!(owner.commit(second).await, committed(2));
    let quiet = owner.epoch(1);
    for _ in 0..2 {
        let verdicts = owner.commit_all(std::slice::from_ref(&quiet)).await;
        assert_eq!(verdicts, [committed(0)], "each epoch has its own");
    }
}

pub(super) async fn apart<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let [task, other_task] = TASKS;
    let mut owner = case.claim(task, &[0, 1]).await;
    let beside = case.claim(other_task, &[2]).await;
    let value = rand::random::<u32>().into();
    let Some(first) = epoch(case, &owner, &[(0, value)]) else { return };
    assert_eq!(owner.commit(&first).await, committed(0));
    let Some(here) = epoch(case, &owner, &[(0, value), (1, value)]) else { return };
    let Some(mut there) = epoch(case, &beside, &[(2, value)]) else { return };
    // One of several records that were made of the one that was read there.
    let origin = Some(Origin::new(partition(2), 0).shared());
    let shared = Record { value, timestamp: Timestamp::default(), origin };
    there.staged.extend(case.place.stage_distinct(&shared));
    let epochs = [here, there];
    for _ in 0..2 {
        assert_eq!(owner.commit_all(&epochs).await, [committed(2), committed(1)]);
    }
    assert_eq!(case.applied().await, value, "repeats are left out");
}
