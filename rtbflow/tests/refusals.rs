//! What a place refuses for what it is becomes a dead letter; all else of its epoch is applied.
#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::epoch::{
    Anchor, ChunkPage, Claim, DeadLetter, DeadLetters, Epoch, JobName, Memory, Position, Refusal,
    RefusedResult, Task, Verdict, Writer,
};
use rtbflow::job::Report;
use rtbflow::operators::Logic;
use rtbflow::operators::window::{
    Apply, CountWindow, Decided, Late, Session, Sliding, Sum, Tumbling, Windowed,
};
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::source::MemorySource;
use rtbflow::writer::Rows;
use rtbflow::{BadRecord, Error, Job, Record, Result, Timestamp};

/// Keeps what is delivered.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<DeadLetter>>>);

impl DeadLetters for Letters {
    fn deliver<'a>(&'a self, _: &'a str, letters: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>> {
        self.0.lock().unwrap().extend_from_slice(letters);
        async { Ok(()) }.boxed()
    }
}

impl Letters {
    fn all(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap().clone()
    }

    fn offsets(&self) -> Vec<i64> {
        self.all().iter().map(|letter| letter.origin.offset()).collect()
    }
}

fn positive(value: &i64) -> Result<(), BadRecord> {
    if *value < 0 { Err(BadRecord::new("it is negative")) } else { Ok(()) }
}

async fn values_of(values: Vec<i64>, letters: &Letters) -> (Vec<i64>, Report) {
    let place = Memory::new();
    let out = place.collected::<i64>();
    let all = place.collected::<i64>();
    let job = Job::new("values")
        .source(MemorySource::new("values", vec![values]))
        .anchor(place.clone())
        .dead_letters(letters.clone())
        .pipeline({
            let (out, all) = (out.clone(), all.clone());
            move |flow| flow.to((all.sink(), out.sink().constraint(positive)))
        });
    let report = job.until_end(true).run_until(std::future::pending()).await.unwrap();
    assert_eq!(all.values(), out.values(), "a record is used by all sinks or by none");
    (out.values(), report)
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_is_one_dead_letter_and_all_others_are_applied_once() {
    let letters = Letters::default();
    let (out, report) = values_of(vec![1, -2, 3, -4, 5], &letters).await;
    assert_eq!(out, [1, 3, 5]);
    assert_eq!((report.decoded, report.dead_lettered, report.records_in()), (3, 2, 5));
    assert_eq!((report.records_out, report.results_refused), (6, 0));
    assert_eq!(letters.offsets(), [1, 3]);
    assert!(letters.all()[0].reason.reason().contains("negative"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_nothing_but_refused_records_ends_as_well() {
    let letters = Letters::default();
    let (out, report) = values_of(vec![-1; 3000], &letters).await;
    assert_eq!((out.len(), report.dead_lettered, letters.all().len()), (0, 3000, 3000));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_to_fail_on_bad_records_fails_on_a_refused_one_and_names_it() {
    let place = Memory::new();
    let out = place.collected::<i64>();
    let job = Job::new("values")
        .source(MemorySource::new("values", vec![vec![1, -2]]))
        .anchor(place.clone())
        .fail_on_bad_records()
        .pipeline({
            let out = out.clone();
            move |flow| flow.to(out.sink().constraint(positive))
        });
    let error = job.until_end(true).run_until(std::future::pending()).await.unwrap_err().report();
    assert!(error.contains("values/0 at offset 1") && error.contains("negative"), "{error}");
    assert_eq!(out.values(), [0; 0]);
}

/// A sink whose place takes no window of more than a hundred, which it sees as the sink does.
struct Small<K>(K);

impl<K: Sink<i64>> Sink<i64> for Small<K> {
    fn check(&self, record: &Record<i64>) -> Result<(), BadRecord> {
        if record.value > 100 { Err(BadRecord::new("more than a hundred")) } else { Ok(()) }
    }
    fn result(&self, record: &Record<i64>) -> RefusedResult {
        RefusedResult::new(record.value.to_string())
    }
    fn write(&mut self, record: &Record<i64>) {
        self.0.write(record);
    }
    fn pending(&self) -> usize {
        self.0.pending()
    }
    fn stage(&mut self, out: &mut Vec<Staged>) {
        self.0.stage(out);
    }
    fn places(&self) -> Vec<Place> {
        self.0.places()
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_of_many_records_that_is_refused_is_a_whole_dead_letter_and_counted_by_itself() {
    let (place, letters) = (Memory::new(), Letters::default());
    let out = place.collected::<i64>();
    let source = MemorySource::new("values", vec![vec![10, 20, 90, 95, 7]])
        .event_time(|value| Timestamp::from_millis(value / 50 * 60_000), Duration::ZERO);
    let job = Job::new("sums")
        .source(source)
        .anchor(place.clone())
        .dead_letters(letters.clone())
        .pipeline({
            let out = out.clone();
            move |flow| {
                flow.key_by(|_| ())
                    .window(Tumbling::of(Duration::from_secs(60)).late(Late::Drop))
                    .sum("sum", |value| *value)
                    .map(|window| window.value)
                    .to(Small(out.sink()))
            }
        });
    let report = job.until_end(true).run_until(std::future::pending()).await.unwrap();
    assert_eq!(out.values(), [30]);
    assert_eq!((report.decoded, report.late, report.results_refused), (4, 1, 1));
    assert_eq!(report.records_in(), 5, "a result is no record");
    let [letter] = &letters.all()[..] else { panic!("{:?}", letters.all()) };
    assert_eq!(letter.value.as_deref(), Some(b"185".as_slice()), "the whole result");
    assert_eq!((letter.beside(), letter.origin.offset()), ("values", 4), "the last record read");
    assert!(letter.reason.reason().contains("a result was refused: more than a hundred"));
}

/// Runs windows of sums of which one is beyond its type: those that are taken, and the letters.
async fn sums<W>(windows: W) -> (Vec<i64>, Report, Vec<DeadLetter>)
where
    W: Apply<(), i64, fn(&i64), Sum<fn(&i64) -> i64>> + Decided + Send + Sync + Copy + 'static,
    W::Logic: Logic<Out = Windowed<(), i64>, In = i64>,
{
    let (place, letters) = (Memory::new(), Letters::default());
    let out = place.collected::<i64>();
    // At 0, 60 and 120 seconds: the sum of the second window is beyond.
    let values = vec![1, 2, i64::MAX, 3, 5];
    let source = MemorySource::new("values", vec![values]).event_time(
        |value| {
            Timestamp::from_millis(match value {
                1 | 2 => 0,
                5 => 120_000,
                _ => 60_000,
            })
        },
        Duration::ZERO,
    );
    let job = Job::new("sums")
        .source(source)
        .anchor(place.clone())
        .dead_letters(letters.clone())
        .pipeline({
            let out = out.clone();
            move |flow| {
                let (key, value): (fn(&i64), fn(&i64) -> i64) = (|_| (), |value| *value);
                flow.key_by(key)
                    .window(windows)
                    .aggregate("sum", Sum::of(value))
                    .map(|window| window.value)
                    .to(out.sink())
            }
        });
    let report = job.until_end(true).run_until(std::future::pending()).await.unwrap();
    (out.values(), report, letters.all())
}

fn is_one_letter_of_a_sum_beyond(letters: &[DeadLetter]) {
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = letters.first().unwrap();
    let reason = letter.reason.reason();
    assert!(reason.contains("the sum is 9223372036854775810, which is beyond i64"), "{reason}");
    let value = String::from_utf8(letter.value.clone().unwrap()).unwrap();
    assert!(
        value.contains("1970-01-01T00:01:00Z") && value.contains("9223372036854775810"),
        "{value}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sum_beyond_its_type_is_a_dead_letter_in_windows_of_each_kind() {
    let minute = Duration::from_secs(60);
    let (out, report, letters) = sums(Tumbling::of(minute).late(Late::Drop)).await;
    assert_eq!((out, report.decoded, report.results_refused), (vec![3, 5], 5, 1));
    is_one_letter_of_a_sum_beyond(&letters);
    let sliding = Sliding::of(minute).every(minute).late(Late::Drop);
    let (out, report, letters) = sums(sliding).await;
    assert_eq!((out, report.decoded, report.results_refused), (vec![3, 5], 5, 1));
    is_one_letter_of_a_sum_beyond(&letters);
    let (out, report, letters) = sums(Session::gap(minute / 2).late(Late::Drop)).await;
    assert_eq!((out, report.decoded, report.results_refused), (vec![3, 5], 5, 1));
    is_one_letter_of_a_sum_beyond(&letters);
    let (out, report, letters) = sums(CountWindow::of(2).ttl(minute * 60)).await;
    assert_eq!((out, report.decoded, report.results_refused), (vec![3], 5, 1));
    is_one_letter_of_a_sum_beyond(&letters);
}

/// A place whose calls time out when they have more rows than it can write.
#[derive(Clone)]
struct Slow(Memory, Arc<AtomicUsize>);

impl Anchor for Slow {
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
        let rows: usize =
            epochs.iter().flat_map(|epoch| &epoch.staged).map(|staged| staged.rows).sum();
        self.1.fetch_max(epochs.len(), Ordering::Relaxed);
        // A hundred a second, and ten seconds at the most.
        tokio::time::sleep(Duration::from_millis(10) * u32::try_from(rows).unwrap()).await;
        if rows > 1000 {
            return Err(Error::transient("commit: no answer in 10 s"));
        }
        self.0.commit(job, epochs).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_slow_takes_a_backlog_of_any_size() {
    let place = Slow(Memory::new(), Arc::default());
    let out = place.0.collected::<i64>();
    let partitions: Vec<Vec<i64>> =
        (0..8).map(|at| (0..5_000).map(|n| n * 8 + at).collect()).collect();
    let job = Job::new("slow")
        .source(MemorySource::new("values", partitions))
        .anchor(place.clone())
        .pipeline({
            let out = out.clone();
            move |flow| flow.to(out.sink())
        });
    let started = tokio::time::Instant::now();
    job.until_end(true).run_until(std::future::pending()).await.unwrap();
    let mut values = out.values();
    values.sort_unstable();
    assert!(values.iter().copied().eq(0..40_000), "each once");
    assert!(place.1.load(Ordering::Relaxed) > 1, "epochs of several tasks went together");
    // 400 s is what the rows alone take.
    assert!(started.elapsed() < Duration::from_secs(1_500), "{:?}", started.elapsed());
}

/// A writer beside the place that takes no negative value.
#[derive(Clone)]
struct Beside(Place, Arc<Mutex<Vec<i64>>>);

impl Writer for Beside {
    fn place(&self) -> Place {
        self.0
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        let mut refusals = Vec::new();
        for (epoch, of) in epochs.iter().enumerate() {
            for (staged, batch) in of.staged.iter().enumerate() {
                let values = Rows::<i64>::of(std::slice::from_ref(of), self.0).unwrap();
                let bad = values.map(|record| record.value).find(|value| *value < 0);
                let row = bad.and_then(|_| {
                    (0..batch.rows).find(|row| {
                        !batch.is_refused(*row)
                            && batch.origin(*row).is_some_and(|at| at.offset() % 2 == 1)
                    })
                });
                let reason = BadRecord::new("it is negative");
                refusals.extend(row.map(|row| Refusal::new(epoch, staged, row, reason)));
            }
        }
        if refusals.is_empty() {
            let values = Rows::<i64>::of(epochs, self.0).unwrap().map(|record| record.value);
            self.1.lock().unwrap().extend(values);
            return async { Ok(()) }.boxed();
        }
        async move { Err(Error::refused(refusals)) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_writer_beside_the_place_refuses_becomes_a_dead_letter_too() {
    let (letters, beside) = (Letters::default(), Beside(Place::new("beside"), Arc::default()));
    let job = Job::new("beside")
        .source(MemorySource::new("values", vec![vec![1, -2, 3, -4]]))
        .anchor(Memory::new())
        .writer(beside.clone())
        .dead_letters(letters.clone())
        .pipeline({
            let place = beside.0;
            move |flow| flow.to(Rows::<i64>::new(place))
        });
    let report = job.until_end(true).run_until(std::future::pending()).await.unwrap();
    assert_eq!(*beside.1.lock().unwrap(), [1, 3]);
    assert_eq!((report.decoded, report.dead_lettered), (2, 2));
    assert_eq!(letters.offsets(), [1, 3]);
}
