//! A program or a source that is not what it was: each way out that the messages name, taken.

#![expect(clippy::unwrap_used, reason = "what a test cannot do has failed it")]

use std::future::ready;
use std::time::Duration;

use futures::{StreamExt, stream};
use rtbflow::epoch::{Anchor, JobName, Memory, Position};
use rtbflow::job::Report;
use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
use rtbflow::sink::Collected;
use rtbflow::source::{
    Context, Delivery, Feed, MemoryBatch, MemorySource, Source, SourceEvent, StreamSource,
};
use rtbflow::{Error, Job, Partition, Result, Timestamp, Topic};

const JOB: &str = "clicks";

/// How the program at hand calls its window; none has no window.
type Name = Option<&'static str>;

struct Place {
    memory: Memory,
    out: Collected<(u64, u64)>,
}

impl Place {
    fn new() -> Self {
        let memory = Memory::new();
        let out = memory.collected();
        Self { memory, out }
    }

    /// Clicks on ads: of 40 keys, all in one window, as they come every ten milliseconds.
    /// Only those come that were not read yet, and unless that is the end of all, nothing ends.
    fn source(&self, upto: i64, ends: bool) -> StreamSource<(u64, i64)> {
        let positions = self.memory.positions(&JobName::new(JOB).unwrap());
        let from = positions.values().next().and_then(|at| at.offset).unwrap_or(0);
        let clicks = (from..upto).map(|n| (n.cast_unsigned() % 40, n * 10));
        let clicks = stream::iter(clicks.collect::<Vec<_>>());
        let clicks = if ends { clicks.boxed() } else { clicks.chain(stream::pending()).boxed() };
        StreamSource::new("clicks", clicks)
            .event_time(|(_, at)| Timestamp::from_millis(*at), Duration::ZERO)
    }

    /// Runs a program over the first records: to the end of all time, or until what is there is committed.
    async fn run(
        &self,
        name: Name,
        upto: i64,
        until_end: bool,
        change: impl FnOnce(Job) -> Job,
    ) -> Result<Report> {
        let (memory, out) = (self.memory.clone(), self.out.clone());
        let job = change(Job::new(JOB)).source(self.source(upto, until_end)).anchor(memory.clone());
        let job = job.until_end(until_end).commit_interval(Duration::from_millis(1));
        let committed = self.committed(upto);
        let stop = async move {
            if until_end {
                std::future::pending::<()>().await;
            }
            committed.await;
        };
        let window = || Tumbling::of(Duration::from_secs(600)).late(Late::DeadLetter);
        match name {
            Some(name) => {
                let job = job.pipeline(move |clicks| {
                    clicks
                        .key_by(|(ad, _)| *ad)
                        .window(window())
                        .aggregate(name, Count)
                        .map(|count: Windowed<u64, u64>| (count.key, count.value))
                        .to(out.sink())
                });
                job.run_until(stop).await
            }
            None => {
                let job = job.pipeline(move |clicks| clicks.map(|(ad, _)| (ad, 1)).to(out.sink()));
                job.run_until(stop).await
            }
        }
    }

    fn committed(&self, upto: i64) -> impl Future<Output = ()> + Send + use<> {
        let memory = self.memory.clone();
        async move {
            let job = JobName::new(JOB).unwrap();
            while memory.positions(&job).values().all(|at| at.offset < Some(upto)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    async fn buckets(&self) -> u64 {
        self.memory.kept(&JobName::new(JOB).unwrap()).await.unwrap().buckets
    }

    fn sum(&self) -> (usize, u64) {
        let values = self.out.values();
        (values.len(), values.iter().map(|(_, count)| count).sum())
    }
}

fn same(job: Job) -> Job {
    job
}

/// Runs the old program for a while; its windows are open. Then one that does not know them is refused.
async fn refused(name: Name) -> (Place, Error) {
    let place = Place::new();
    place.run(Some("old"), 400, false, same).await.unwrap();
    assert_eq!(place.sum(), (0, 0), "the windows are open");
    let error = place.run(name, 1_000, true, same).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("\"old\""), "{error:?}");
    assert_eq!(place.sum(), (0, 0), "nothing was emitted");
    (place, error)
}

#[tokio::test(start_paused = true)]
async fn a_renamed_operator_goes_on_where_it_was() {
    let (place, error) = refused(Some("new")).await;
    assert!(error.to_string().contains("Job::renamed"), "{error}");
    let renamed = |job: Job| job.renamed("old", "new");
    // Stopped again and again on the way, and the last life need not know the old name.
    for upto in [401, 402, 500] {
        place.run(Some("new"), upto, false, renamed).await.unwrap();
    }
    place.run(Some("new"), 1_000, true, same).await.unwrap();
    assert_eq!(place.sum(), (40, 1_000), "each window once, with every record");
    assert_eq!(place.buckets().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_old_program_run_to_its_end_leaves_nothing_behind() {
    let (place, error) = refused(None).await;
    assert!(error.to_string().contains("until_end"), "{error}");
    place.run(Some("old"), 400, true, same).await.unwrap();
    assert_eq!((place.sum(), place.buckets().await), ((40, 400), 0), "what was open is emitted");
    place.run(None, 1_000, true, same).await.unwrap();
    assert_eq!(place.sum(), (40 + 600, 1_000), "the new program goes on behind it");
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_removed_operator_is_given_up_when_that_is_said() {
    let (place, error) = refused(None).await;
    assert!(error.to_string().contains("Job::removed"), "{error}");
    place.run(None, 1_000, true, |job| job.removed("old")).await.unwrap();
    assert_eq!((place.sum(), place.buckets().await), ((600, 600), 0), "the rest goes on");
    place.run(None, 1_001, true, same).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reset_and_read_again_the_contents_are_those_of_one_run() {
    let (place, _) = refused(Some("new")).await;
    place.memory.forget_with(&JobName::new(JOB).unwrap(), || place.out.clear());
    place.run(Some("new"), 1_000, true, same).await.unwrap();
    assert_eq!(place.sum(), (40, 1_000));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_fit_the_pipeline_is_refused() {
    let place = Place::new();
    for (change, says) in [
        (("old", Some("other")), "no operator \"other\""),
        (("new", Some("new")), "has an operator \"new\""),
        (("new", None), "has an operator \"new\""),
    ] {
        let apply = |job: Job| match change {
            (old, Some(new)) => job.renamed(old, new),
            (old, None) => job.removed(old),
        };
        let error = place.run(Some("new"), 10, true, apply).await.unwrap_err();
        assert!(error.is_config() && error.to_string().contains(says), "{error:?}");
    }
}

/// Partitions in memory that stay open once all of them is read, unless that is the end.
struct Partitions {
    all: MemorySource<u64>,
    end: bool,
}

/// The same, opened.
struct Opened {
    feed: <MemorySource<u64> as Source>::Feed,
    end: bool,
}

impl Source for Partitions {
    type Batch = MemoryBatch<u64>;
    type Feed = Opened;

    fn topics(&self) -> Vec<String> {
        self.all.topics()
    }

    fn out_of_orderness(&self, topic: Topic) -> Duration {
        self.all.out_of_orderness(topic)
    }

    async fn open(&self, context: Context) -> Result<Opened> {
        Ok(Opened { feed: self.all.open(context).await?, end: self.end })
    }
}

impl Feed for Opened {
    type Batch = MemoryBatch<u64>;

    async fn next(&mut self) -> Result<SourceEvent<Self::Batch>> {
        let mut event = self.feed.next().await?;
        if let (SourceEvent::Assigned(assignment), false) = (&mut event, self.end) {
            for input in assignment.tasks.iter_mut().flat_map(|task| &mut task.partitions) {
                let all = std::mem::replace(&mut input.deliveries, stream::pending().boxed());
                let open = all.filter(|next| ready(!matches!(next, Ok(Delivery::Finished))));
                input.deliveries = open.chain(stream::pending()).boxed();
            }
        }
        Ok(event)
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        self.feed.committed(positions);
    }

    async fn close(self) {
        self.feed.close().await;
    }
}

/// Counts clicks in windows over a source of these partitions: to the end, or until all are committed.
async fn count(place: &Place, partitions: Vec<Vec<u64>>, until_end: bool) -> Result<Report> {
    let (memory, out) = (place.memory.clone(), place.out.clone());
    let read: Vec<Option<i64>> = partitions.iter().map(|all| all.len().try_into().ok()).collect();
    let all = MemorySource::new("clicks", partitions)
        .event_time(|n| Timestamp::from_millis(n.cast_signed() * 10), Duration::ZERO);
    let clicks = Partitions { all, end: until_end };
    let job = Job::new(JOB).source(clicks).anchor(memory.clone()).until_end(until_end);
    let job = job.commit_interval(Duration::from_millis(1)).pipeline(move |clicks| {
        clicks
            .key_by(|n| n % 40)
            .window(Tumbling::of(Duration::from_secs(600)).late(Late::DeadLetter))
            .aggregate("clicks", Count)
            .map(|count: Windowed<u64, u64>| (count.key, count.value))
            .to(out.sink())
    });
    let memory = place.memory.clone();
    let committed = || memory.positions(&JobName::new(JOB).unwrap());
    job.run_until(async {
        while until_end || !committed().values().map(|at| at.offset).eq(read.iter().copied()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

fn two_partitions() -> Vec<Vec<u64>> {
    vec![(0..100).collect(), (100..200).collect()]
}

fn three_partitions() -> Vec<Vec<u64>> {
    vec![(0..100).collect(), (100..210).collect(), (300..350).collect()]
}

#[tokio::test(start_paused = true)]
async fn more_partitions_under_open_windows_are_refused_and_a_reset_leaves_the_contents_of_one_run()
{
    let place = Place::new();
    count(&place, two_partitions(), false).await.unwrap();
    assert_eq!((place.buckets().await > 0, place.sum()), (true, (0, 0)), "the windows are open");
    let error = count(&place, three_partitions(), true).await.unwrap_err();
    let report = error.report();
    assert!(
        error.is_config() && report.contains("of 3") && report.contains("for 2 tasks"),
        "{report}"
    );
    assert!(report.contains("partition counts") && report.contains("reset the job"), "{report}");
    assert!(
        report.contains("`forget_with` of the place") && report.contains("`until_end`"),
        "{report}"
    );
    assert_eq!(place.sum(), (0, 0), "nothing was emitted");
    // What the message says.
    place.memory.forget_with(&JobName::new(JOB).unwrap(), || place.out.clear());
    count(&place, three_partitions(), true).await.unwrap();
    assert_eq!((place.sum().1, place.buckets().await), (260, 0));
}

/// What the message about another number of partitions says for the next time.
#[tokio::test(start_paused = true)]
async fn a_job_that_was_run_to_its_end_takes_more_partitions() {
    let place = Place::new();
    count(&place, two_partitions(), true).await.unwrap();
    assert_eq!(place.buckets().await, 0, "it leaves no state");
    let report = count(&place, three_partitions(), true).await.unwrap();
    assert_eq!((report.records_in(), place.sum().1), (60, 260), "each record once");
}
