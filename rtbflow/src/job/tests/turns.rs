//! The task loop: what it takes in, when it sends barriers, and how it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::clock::SystemClock;
use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::Result;
use crate::flow::Flow;
use crate::job::batch_limit::BatchLimit;
use crate::job::intake::Intake;
use crate::job::measures::TaskMeasures;
use crate::job::pace::Pace;
use crate::job::renaming::Renames;
use crate::job::report::Status;
use crate::job::settings::Settings;
use crate::job::submission::Submission;
use crate::job::task::{TaskLoop, TaskPartition, Work};
use crate::job::tests::{BOUNDS, Written, positions};
use crate::operators::window::{Count, Late, Tumbling};
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
use crate::sink::Collected;
use crate::source::Delivery;
use crate::staged::Place;
use crate::testing::builders::at;
use crate::topology::Tip;

const TASK: Task = Task { number: 0, of: 1 };
const SOON: Duration = Duration::from_secs(60);

/// A task at work on deliveries that were written down; after them its partitions are quiet.
struct Bench {
    run: TaskLoop<Written>,
    submissions: mpsc::Receiver<Submission>,
    finish: oneshot::Sender<()>,
    place: Memory,
    counts: Collected<u64>,
}

impl Bench {
    fn new(inputs: Vec<Vec<Delivery<Written>>>, offset: Option<i64>) -> Self {
        let job = JobName::new("test").unwrap();
        let positions = positions(&vec![(offset, None); inputs.len()]);
        let tip = Tip::source(&[]);
        let activity = tip.activity();
        let now = (at(0), activity.clone());
        let (intake, mailbox) = Intake::new(&positions, BOUNDS, |_| Duration::ZERO, now);
        let place = Memory::new();
        let counts = place.collected();
        let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
        let end = Flow { stream: intake, tip }
            .key_by(|_| ())
            .window(hours)
            .aggregate("hours", Count)
            .map(|hour| hour.value)
            .to(counts.sink());
        let input =
            |(deliveries, (partition, position)): (Vec<_>, &(Partition, Position))| TaskPartition {
                partition: *partition,
                deliveries: Some(stream::iter(deliveries).map(Ok).chain(stream::pending()).boxed()),
                position: *position,
                kept: VecDeque::new(),
                released: 0,
            };
        let (commits, submissions) = mpsc::channel(16);
        let (finish, finished) = oneshot::channel();
        let partitions = positions.iter().map(|(partition, _)| *partition);
        let run = TaskLoop {
            task: TASK,
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
            end,
            mailbox,
            activity,
            inputs: inputs.into_iter().zip(&positions).map(input).collect(),
            commits,
            finish: finished.fuse(),
            status: Arc::new(Status::default()),
            pace: Pace::new(Duration::from_millis(250)),
            batch_limit: BatchLimit::new(32 << 20),
            measures: TaskMeasures::new(&job, TASK, partitions),
            work: Work::new(&Renames::default()),
        };
        Self { run, submissions, finish, place, counts }
    }

    /// Runs it until it ends or `until` says enough; all epochs are committed at once.
    async fn epochs(self, until: impl Fn(&[Epoch]) -> bool) -> (Vec<Epoch>, Result<()>) {
        let Self { mut run, mut submissions, finish, place, .. } = self;
        let job = JobName::new("test").unwrap();
        run.restore(&job, &place).await.unwrap();
        let mut finish = Some(finish);
        let task = async {
            let answer = run.run().await;
            drop(run);
            answer
        };
        let committing = async {
            let mut epochs = Vec::new();
            while let Some(Submission { epoch, verdict, .. }) = submissions.recv().await {
                epochs.push(epoch);
                let _ = verdict.send(Verdict::COMMITTED);
                if until(&epochs) {
                    finish = None;
                }
            }
            epochs
        };
        let (answer, epochs) =
            timeout(SOON, futures::future::join(task, committing)).await.unwrap();
        (epochs, answer)
    }
}

fn taken(epochs: &[Epoch]) -> u64 {
    epochs.iter().map(|epoch| epoch.records_in).sum()
}

#[tokio::test(start_paused = true)]
async fn large_batches_do_not_keep_the_partition_from_being_read_that_they_wait_for() {
    let large = |first, ms| Delivery::Batch(Written::from(first, [ms]).of_bytes(9 << 20));
    let ahead = vec![large(0, 100), large(1, 101), large(2, 102), Delivery::Finished];
    let mut behind: Vec<_> = (0..50).map(|n| Delivery::Batch(Written::from(n, [n]))).collect();
    behind.push(Delivery::Finished);
    let (epochs, answer) = Bench::new(vec![ahead, behind], None).epochs(|_| false).await;
    answer.unwrap();
    assert_eq!(taken(&epochs), 53);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_taken_in_while_the_place_does_not_answer() {
    let batches = (0..1_000).map(|n| Delivery::Batch(Written::from(n, [n]).of_bytes(8 << 20)));
    let bench = Bench::new(vec![batches.collect()], None);
    let (mut run, mut submissions) = (bench.run, bench.submissions);
    run.restore(&JobName::new("test").unwrap(), &bench.place).await.unwrap();
    let status = Arc::clone(&run.status);
    assert!(timeout(SOON, run.run()).await.is_err(), "it waits");
    let mut epochs = 0;
    while submissions.try_recv().is_ok() {
        epochs += 1;
    }
    // Two epochs under way, and one being filled: each of two batches, for two fill the bound.
    assert_eq!((epochs, status.pending()), (2, 6));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_just_ends_closes_no_window() {
    let mut bench = Bench::new(vec![vec![Delivery::Batch(Written::from(0, [1, 2]))]], None);
    for input in &mut bench.run.inputs {
        input.deliveries = input.deliveries.take().map(|all| all.take(1).boxed());
    }
    let counts = bench.counts.clone();
    let (epochs, answer) = bench.epochs(|epochs| taken(epochs) == 2).await;
    answer.unwrap();
    assert!(epochs.iter().all(|epoch| epoch.staged.is_empty()), "a window was emitted");
    assert!(counts.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_an_end_that_moved_is_committed_without_records() {
    let proof = |asked, offset| Delivery::AtEnd { asked: at(asked), offset };
    let proofs = vec![proof(0, 5), proof(100, 7), proof(60_000, 7)];
    let mut bench = Bench::new(vec![proofs], Some(5));
    bench.run.inputs.iter_mut().for_each(|input| {
        let paced = input.deliveries.take().map(|all| {
            let pause = || tokio::time::sleep(Duration::from_secs(1));
            all.then(move |delivery| pause().map(|()| delivery)).boxed()
        });
        input.deliveries = paced;
    });
    let (mut run, mut submissions) = (bench.run, bench.submissions);
    run.restore(&JobName::new("test").unwrap(), &bench.place).await.unwrap();
    let mut ends = Vec::new();
    let committing = async {
        while let Some(Submission { epoch, verdict, .. }) = submissions.recv().await {
            ends.push(epoch.advances.iter().map(|step| step.to.offset).collect::<Vec<_>>());
            let _ = verdict.send(Verdict::COMMITTED);
        }
    };
    let both = futures::future::join(run.run(), committing);
    assert!(timeout(SOON, both).await.is_err(), "it goes on");
    assert_eq!(ends, [[Some(7)]]);
}

/// A place that never brings anything back.
#[derive(Debug, Clone)]
struct Silent(Memory);

impl Anchor for Silent {
    fn place(&self) -> Place {
        self.0.place()
    }
    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.0.prepare(job).await
    }
    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.0.claim(job, claim).await
    }
    async fn restore(&self, _: &JobName, _: Task, _: Option<String>) -> Result<ChunkPage> {
        pending().await
    }
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.0.commit(job, epochs).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_to_end_does_not_wait_for_its_state() {
    let Bench { mut run, finish, place, .. } = Bench::new(vec![Vec::new()], None);
    drop(finish);
    let silent = Silent(place);
    let restored = timeout(SOON, run.restore(&JobName::new("test").unwrap(), &silent)).await;
    assert!(!restored.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_no_row_is_made_of_does_not_wait_for_the_place() {
    let batches = (0..40).map(|n| Delivery::Batch(Written::from(n, [n]).of_bytes(1 << 20)));
    let input = batches.chain([Delivery::Finished]).collect();
    let (epochs, answer) = Bench::new(vec![input], None).epochs(|_| false).await;
    answer.unwrap();
    assert_eq!(taken(&epochs), 40);
    // Half of the room, and the batch with which it was reached.
    assert!(epochs.iter().all(|epoch| epoch.records_in <= 17), "{epochs:?}");
    assert!(epochs.iter().all(|epoch| epoch.originals.is_empty()), "{epochs:?}");
}
