//! What is due at once, and more than an epoch is to have, is committed in several.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::Result;
use crate::flow::{End, Flow};
use crate::job::{Intake, Job};
use crate::operators::interval_join::{Bound, IntervalJoin};
use crate::operators::window::{Count, Late, Tumbling};
use crate::position::{JobName, Position, Task};
use crate::source::{IteratorSource, MemoryBatch};
use crate::staged::Place;

/// A place that notes how many rows each epoch has.
#[derive(Debug, Clone)]
struct Counting {
    place: Memory,
    rows: Arc<Mutex<Vec<usize>>>,
}

impl Anchor for Counting {
    fn place(&self) -> Place {
        self.place.place()
    }
    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.place.prepare(job).await
    }
    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.place.claim(job, claim).await
    }
    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.place.restore(job, task, from).await
    }
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let rows = |epoch: &Epoch| epoch.staged.iter().map(|staged| staged.rows).sum::<usize>();
        self.rows.lock().unwrap().extend(epochs.iter().map(rows));
        self.place.commit(job, epochs).await
    }
}

type Numbers = Intake<MemoryBatch<u64>>;

const MOST: usize = 100;
const COUNT: u64 = 1_050;

/// How many rows the epochs have of what a pipeline makes of this many numbers at one time.
async fn rows_of_epochs(
    count: u64,
    pipeline: impl Fn(Flow<Numbers>, &Memory) -> End + Send + Sync + 'static,
) -> Vec<usize> {
    let place = Counting { place: Memory::new(), rows: Arc::default() };
    let memory = place.place.clone();
    let job = Job::new("portions")
        .source(IteratorSource::new("numbers", move || 0..count))
        .anchor(place.clone())
        .until_end(true)
        .most_rows(MOST)
        .pipeline(move |numbers| pipeline(numbers, &memory));
    job.run_until(std::future::pending()).await.unwrap();
    place.rows.lock().unwrap().clone()
}

/// As many epochs as it takes, none of which has more than it is to have.
fn evenly(rows: &[usize]) {
    assert_eq!(rows.iter().sum::<usize>() as u64, COUNT);
    let most = rows.iter().max();
    assert_eq!(most, Some(&MOST), "{rows:?}");
}

#[tokio::test]
async fn a_window_of_many_keys() {
    let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    let rows = rows_of_epochs(COUNT, move |numbers, place| {
        let counts = numbers.key_by(|n| *n).window(hours).aggregate("counts", Count);
        counts.to(place.collected().sink())
    });
    evenly(&rows.await);
}

#[tokio::test]
async fn two_windows_one_behind_the_other() {
    let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    let rows = rows_of_epochs(COUNT, move |numbers, place| {
        let counts = numbers.key_by(|n| *n).window(hours).aggregate("counts", Count);
        let again = counts.key_by(|count| count.key).window(hours).aggregate("again", Count);
        again.to(place.collected().sink())
    });
    evenly(&rows.await);
}

#[tokio::test]
async fn records_that_find_no_partner() {
    let soon = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_hours(9)));
    let rows = rows_of_epochs(COUNT, move |numbers, place| {
        let (left, right) = numbers.split_by(|_| true);
        let joined = left
            .key_by(|n| *n)
            .connect(right.key_by(|n| *n))
            .interval_join("join", soon.left_outer().late(Late::Drop));
        joined.to(place.collected().sink())
    });
    evenly(&rows.await);
}

#[tokio::test]
async fn records_that_were_held() {
    let rows = rows_of_epochs(COUNT, |numbers, place| {
        let day = Duration::from_hours(24);
        let held = numbers.delay("held", day, move |record| record.timestamp + day);
        held.key_by(|n| *n).debounce("quiet", day).to(place.collected().sink())
    });
    evenly(&rows.await);
}

#[tokio::test]
async fn what_is_made_of_one_record_stays_together() {
    let rows = rows_of_epochs(1, |numbers, place| {
        numbers.flat_map(|_| 0..COUNT).to(place.collected().sink())
    });
    assert_eq!(rows.await.iter().max(), Some(&usize::try_from(COUNT).unwrap()));
}
