//! A stream read by jobs that end, begin anew and fall quiet.

use super::*;
use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::Error;
use crate::job::Job;
use crate::operators::window::{Count, Late, Tumbling};
use crate::position::{JobName, Task};
use crate::staged::Place;
use crate::testing::TokioClock;
use crate::testing::builders::at;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(start_paused = true)]
async fn a_second_process_numbers_on() {
    let place = Memory::new();
    let out = place.collected();
    for values in [0..3, 3..6] {
        let results = out.clone();
        let job = Job::new("numbers");
        let job = job.source(StreamSource::new("numbers", stream::iter(values)));
        let job = job.anchor(place.clone());
        let job = job.pipeline(move |numbers| numbers.to(results.sink()));
        assert_eq!(job.run_until(std::future::pending()).await.unwrap().records_in(), 3);
    }
    assert_eq!(out.values(), (0..6).collect::<Vec<_>>());
}

/// A place whose first commit breaks the run, as a source's lost connection would.
#[derive(Clone)]
struct Breaking(Memory, Arc<AtomicBool>);

impl Anchor for Breaking {
    fn place(&self) -> Place {
        self.0.place()
    }
    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.0.prepare(job).await
    }
    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.0.claim(job, claim).await
    }
    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.0.restore(job, task, from).await
    }
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        if !self.1.swap(true, Ordering::Relaxed) {
            return Err(Error::permanent("commit: broken"));
        }
        self.0.commit(job, epochs).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_and_not_committed_is_read_again_within_the_process() {
    let place = Breaking(Memory::new(), Arc::default());
    let source = Arc::new(StreamSource::new("numbers", stream::iter(0..1_200)));
    /// The same source for two jobs: what a restart within the process is.
    struct Shared(Arc<StreamSource<i64>>);
    impl Source for Shared {
        type Batch = MemoryBatch<i64>;
        type Feed = FixedFeed<MemoryBatch<i64>>;
        fn topics(&self) -> Vec<String> {
            self.0.topics()
        }
        async fn open(&self, context: Context) -> Result<Self::Feed> {
            self.0.open(context).await
        }
    }
    let out = place.0.collected();
    let run = || {
        let out = out.clone();
        let job = Job::new("numbers").source(Shared(Arc::clone(&source)));
        let job = job.anchor(place.clone());
        job.pipeline(move |numbers| numbers.to(out.sink())).run_until(std::future::pending())
    };
    assert!(run().await.is_err());
    assert!(out.values().is_empty());
    run().await.unwrap();
    assert_eq!(out.values(), (0..1_200).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_closes_its_windows_where_it_is_asked_to() {
    for pending_is_end in [true, false] {
        let place = Memory::new();
        let counts = place.collected::<u64>();
        let stream = stream::iter([at(500)]).chain(stream::pending());
        let source = StreamSource::new("times", stream)
            .event_time(|at| *at, Duration::ZERO)
            .pending_is_end(pending_is_end);
        let results = counts.clone();
        let job = Job::new("quiet").clock(TokioClock::new(at(1_000)));
        let job = job.source(source).anchor(place.clone()).pipeline(move |times| {
            times
                .key_by(|_| 0)
                .window(Tumbling::of(Duration::from_secs(1)).late(Late::DeadLetter))
                .aggregate("counts", Count)
                .map(|window| window.value)
                .to(results.sink())
        });
        job.run_until(tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
        assert_eq!(counts.values().len(), usize::from(pending_is_end));
    }
}

#[test]
fn what_is_committed_is_dropped() {
    let kept = Uncommitted::default();
    assert!(kept.begin(7).is_empty());
    assert_eq!(kept.keep(vec!['a', 'b']).0, 7);
    assert_eq!(kept.keep(vec!['c']).0, 9);
    kept.committed(8);
    assert_eq!(kept.lock().count, 3);
    kept.committed(9);
    assert_eq!(kept.lock().count, 1);
    assert_eq!(kept.begin(9), [(9, Arc::new(vec!['c']))]);
}
