//! The laws of anchors: what makes a place's one step exact.

mod case;
mod chunks;
mod fences;
mod forgotten;
mod found;
mod positions;
mod probes;
mod races;
mod under_test;

use crate::testing::laws::law;

use case::Case;

pub use under_test::AnchorUnderTest;

/// Checks that an anchor keeps the laws of [`Anchor`](crate::epoch::Anchor). Nobody else may write to what
/// [`AnchorUnderTest::total`] sums up; the jobs are new ones at each call.
///
/// ```
/// use rtbflow::Record;
/// use rtbflow::epoch::Memory;
/// use rtbflow::sink::{Collected, Sink, Staged};
/// use rtbflow::testing::builders::record;
/// use rtbflow::testing::laws::{self, AnchorUnderTest};
///
/// struct InMemory(Memory, Collected<i64>);
///
/// impl AnchorUnderTest for InMemory {
///     type Anchor = Memory;
///
///     fn anchor(&self) -> Memory {
///         self.0.clone()
///     }
///
///     fn stage(&self, value: i64) -> Staged {
///         let (mut sink, mut staged) = (self.1.sink(), Vec::new());
///         sink.write(&record(value, 0));
///         sink.stage(&mut staged);
///         staged.remove(0)
///     }
///
///     async fn total(&self) -> i64 {
///         self.1.values().iter().sum()
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let place = Memory::new();
/// laws::anchor(&InMemory(place.clone(), place.collected())).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If a law is broken; stderr says which.
pub async fn anchor<P: AnchorUnderTest>(place: &P) {
    macro_rules! check {
        ($($room:ident :: $law:ident: $name:literal;)+) => {
            $(law($name, Box::pin(async { $room::$law(&Case::new(place).await).await })).await;)+
        };
    }
    check! {
        positions::start: "a partition starts from nothing, and a claim returns the order it was given";
        positions::round_trip: "positions come back as they were committed, at the extremes too";
        probes::looked_at: "where partitions stand is said in the order of the question, and changes nothing";
        positions::apart: "other tasks and other jobs are left alone";
        positions::elsewhere: "what is staged for another place is not this anchor's";
        fences::commit_twice: "committing the same epoch twice is committing it once";
        fences::unclaimed: "nobody commits what nobody claimed";
        fences::stale_owner: "a former owner leaves nothing behind";
        fences::stale_commit: "an epoch older than the place leaves nothing behind";
        fences::without_records: "an epoch that reads nothing is fenced as well";
        fences::torn_task: "an epoch with one partition fenced is fenced as a whole";
        fences::group: "in a group each epoch stands or falls alone";
        fences::layout: "state of another number of tasks refuses the claim and changes nothing";
        found::once: "what is found out in the place is the same however often an epoch is committed";
        found::apart: "what is found out about one task's records is not reported of another's";
        chunks::order: "chunks come back in the order of their bucket";
        chunks::moved: "a bucket of one operator becomes one of another in one epoch";
        chunks::names: "operators, buckets and bytes come back as they were, whatever they look like";
        chunks::pages: "state of many pages comes back whole, and each page goes on where the last ended";
        forgotten::anew: "a job that is forgotten begins at the first record, without state";
        forgotten::fences: "nobody commits from before a job was forgotten";
        forgotten::apart: "forgetting a job leaves others alone";
        forgotten::layout: "a job that is forgotten may have another number of tasks";
        forgotten::race: "a commit comes before a job is forgotten, or is fenced";
        races::prepare: "all instances may prepare at once, and again later";
        races::claims: "of two claims at once, the later one owns";
        races::claim_against_commit: "a claim comes before a commit or after it, never in between";
        races::retries: "the same group committed from two sides at once, in any order, is committed once";
        races::abandoned: "a commit that was given up at any point is resolved by committing again";
    }
    if P::TELLS_FORMER_OWNERS {
        check! {
            fences::taken_over: "a former owner finds out what was applied before it was taken over";
        }
    }
}
