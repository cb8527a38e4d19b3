//! Laws on state: chunks in their buckets, in order, page by page.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::case::{Case, Owner, append, patiently};
use super::under_test::AnchorUnderTest;
use crate::chunk::{BucketChange, Chunk};
use crate::epoch::{Anchor, Epoch, Verdict};
use crate::position::{JobName, Task};

const TASK: Task = Task { number: 1, of: 4 };

/// The state of a task: the log of each bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State(BTreeMap<(String, i64), Vec<Bytes>>);

impl State {
    /// Reads a task's state back, page by page.
    pub(super) async fn restore<A: Anchor>(anchor: &A, job: &JobName, task: Task) -> Self {
        let (mut state, mut from, mut seen) = (Self::default(), None, HashSet::new());
        loop {
            let page = patiently("restore", || anchor.restore(job, task, from.clone())).await;
            for chunk in page.chunks {
                assert_ne!(
                    chunk.change,
                    BucketChange::Drop,
                    "a bucket that ended does not come back"
                );
                state.apply(chunk);
            }
            let Some(next) = page.next else { return state };
            assert!(seen.insert(next.clone()), "restore goes in circles at {next:?}");
            from = Some(next);
        }
    }

    /// What a chunk means.
    fn apply(&mut self, chunk: Chunk) {
        let bucket = (chunk.operator.to_string(), chunk.bucket);
        match chunk.change {
            BucketChange::Append(bytes) => self.0.entry(bucket).or_default().push(bytes),
            BucketChange::Replace(bytes) => {
                self.0.insert(bucket, vec![bytes]);
            }
            BucketChange::Drop => {
                self.0.remove(&bucket);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The log of one bucket.
    pub(super) fn of(&self, operator: &str, bucket: i64) -> &[Bytes] {
        self.0.get(&(operator.to_owned(), bucket)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Commits the groups of chunks one after another, an epoch each, and expects what they mean.
impl<A: Anchor> Owner<A> {
    /// The state of the task as it would be restored: the bytes of each bucket, in order.
    pub(super) async fn state(&self) -> State {
        State::restore(&self.anchor, &self.job, self.task).await
    }
}

async fn check<P: AnchorUnderTest>(case: &Case<'_, P>, groups: Vec<Vec<Chunk>>) {
    let mut owner = case.claim(TASK, &[1]).await;
    let mut expected = State::default();
    for chunks in groups {
        chunks.iter().cloned().for_each(|chunk| expected.apply(chunk));
        let epoch = Epoch { chunks, ..owner.epoch(1) };
        assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
        let restored = owner.state().await;
        assert!(restored == expected, "state was {expected:?}, and came back as {restored:?}");
    }
    let next = case.claim(TASK, &[1]).await;
    assert!(next.state().await == expected, "the next owner finds the same state");
}

fn replace(operator: &str, bucket: i64, bytes: impl Into<Bytes>) -> Chunk {
    Chunk { operator: operator.into(), bucket, change: BucketChange::Replace(bytes.into()) }
}

fn end(operator: &str, bucket: i64) -> Chunk {
    Chunk::drop_bucket(operator.into(), bucket)
}

pub(super) async fn order<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let life = |bucket| {
        vec![
            append("a", bucket, "1"),
            append("a", bucket, "2"),
            replace("a", bucket, "3"),
            append("a", bucket, "4"),
            end("a", bucket),
            append("a", bucket, "5"),
        ]
    };
    // One chunk per epoch, then all in one, then lives that are woven into each other.
    let mut groups: Vec<Vec<Chunk>> = life(1).into_iter().map(|chunk| vec![chunk]).collect();
    groups.push(life(2));
    groups.push(life(3).into_iter().zip(life(4)).flat_map(|(one, other)| [one, other]).collect());
    groups.push(vec![end("a", 5), append("a", 6, "x"), end("a", 6), end("a", 1), end("a", 2)]);
    groups.push((0..300).map(|n: i64| append("b", n % 3, n.to_string())).collect());
    groups.push((0..300).map(|n: i64| append("b", n % 3, n.to_string())).collect());
    groups.push(vec![replace("b", 0, "whole"), replace("b", 1, "whole"), append("b", 1, "more")]);
    groups.push(vec![]);
    check(case, groups).await;
}

/// As an operator that is renamed takes its state along, bucket by bucket.
pub(super) async fn moved<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let old = |bucket| [append("old", bucket, "1"), append("old", bucket, "2")];
    let new = |bucket| [end("old", bucket), append("new", bucket, "1"), append("new", bucket, "2")];
    check(
        case,
        vec![
            (0..3).flat_map(old).collect(),
            new(1).into_iter().chain([append("new", 1, "3")]).collect(),
            vec![end("old", 2), replace("new", 2, "whole")],
            vec![end("old", 0), end("new", 0), append("new", 5, "4")],
        ],
    )
    .await;
}

pub(super) async fn names<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let operators = [
        "a", "a:1", "a:", ":", "A", "win'dows", "\"", "x\\", "{a}", "한글", "%_*", "a b", "0", "-1",
    ];
    let buckets = [i64::MIN, i64::MAX, -1, 0, 1, 10];
    let groups = operators.map(|operator| {
        buckets.map(|bucket| append(operator, bucket, format!("{operator} {bucket}"))).to_vec()
    });
    let mut groups = groups.to_vec();
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    groups.push(vec![append("a", 0, bytes), append("a", 0, Bytes::new()), append("a", 1, "\0")]);
    groups.push(vec![replace("a", 0, Bytes::new()), end("a:", 1), end("a", -1)]);
    groups.push(vec![append("a", 0, vec![0x80; 1 << 20]), append(&"n".repeat(200), 0, "long")]);
    check(case, groups).await;
}

pub(super) async fn pages<P: AnchorUnderTest>(case: &Case<'_, P>) {
    let small = (0..3000_i64).map(|n| append("small", n % 700, n.to_string()));
    let large =
        (0..24_i64).map(|n| append("large", n % 2, vec![u8::try_from(n).unwrap_or(0); 1 << 19]));
    check(case, vec![small.collect(), large.collect(), vec![end("large", 1), end("small", 3)]])
        .await;
}
