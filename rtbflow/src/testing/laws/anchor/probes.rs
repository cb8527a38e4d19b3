//! The law on looking where partitions stand.

use super::case::{Case, partition, patiently};
use super::under_test::AnchorUnderTest;
use crate::epoch::{Anchor, Verdict};
use crate::position::{Position, Task};
use crate::record::Partition;

const TASK: Task = Task { number: 0, of: 2 };

/// A place need not say where partitions stand; what it says is how it is.
pub(super) async fn looked_at<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let anchor = case.place.anchor();
    let look = async |numbers: &[i32]| {
        let partitions: Vec<Partition> = numbers.iter().copied().map(partition).collect();
        patiently("probe", || anchor.probe(&case.job, &partitions)).await
    };
    let Some(nothing) = look(&[]).await else { return };
    assert!(nothing.is_empty(), "nothing was asked");
    assert_eq!(look(&[4]).await, Some(vec![Position::default()]), "it was never claimed");
    let mut owner = case.claim(TASK, &[2, 0, 1]).await;
    let epoch = case.epoch(&owner, 3, 1);
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    let by_number = |number: i32| {
        let mut at = owner.at.iter();
        at.find(|(of, _)| *of == partition(number)).map(|(_, at)| *at).unwrap_or_default()
    };
    let expected = [1, 9, 2].map(by_number).to_vec();
    assert_eq!(look(&[1, 9, 2]).await, Some(expected), "in the order of the question");
    let next = case.claim(TASK, &[0]).await;
    let claimed: Vec<_> = next.at.iter().map(|(_, at)| *at).collect();
    assert_eq!(look(&[0]).await, Some(claimed), "a claim counts");
    assert_eq!(case.applied().await, 1, "to look changes nothing");
}
