//! What a job measures: by which labels, and that each operator's counts are those of the account.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use tokio::time::sleep;

use crate::either::Either::{self, Left, Right};
use crate::epoch::Memory;
use crate::error::{BadRecord, Error, Result};
use crate::job::tests::Written;
use crate::job::{Job, Report};
use crate::operators::interval_join::{Bound, IntervalJoin};
use crate::operators::window::{Count, Late, Tumbling, Windowed};
use crate::position::{Position, Task};
use crate::record::{Partition, Record, Topic};
use crate::sink::{Collect, Sink};
use crate::source::{
    Assignment, Content, Context, Delivery, Feed, MemorySource, PartitionInput, Source,
    SourceEvent, TaskInput,
};
use crate::staged::{Place, Staged};
use crate::testing::builders::at;

/// Keeps the last value of each metric, by kind, name and labels.
#[derive(Default)]
struct Recorded(Mutex<BTreeMap<(&'static str, Key), Arc<AtomicU64>>>);

struct Ignored;

impl HistogramFn for Ignored {
    fn record(&self, _: f64) {}
}

impl Recorded {
    fn cell(&self, kind: &'static str, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(self.0.lock().unwrap().entry((kind, key.clone())).or_default())
    }

    /// Each series: kind, name, and labels in order.
    fn series(&self) -> Vec<(&'static str, String, BTreeMap<String, String>, u64)> {
        let all = self.0.lock().unwrap();
        let series = all.iter().map(|((kind, key), value)| {
            let labels =
                key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            (*kind, key.name().to_owned(), labels.collect(), value.load(Ordering::Relaxed))
        });
        series.collect()
    }

    /// The value of a metric of a job.
    fn of_job(&self, job: &str, name: &str) -> u64 {
        let is_it = |found: &str, labels: &BTreeMap<String, String>| {
            found == name && labels.len() == 1 && labels.get("job").is_some_and(|of| of == job)
        };
        let mut series = self.series().into_iter();
        let found = series.find(|(_, found, labels, _)| is_it(found, labels));
        found.unwrap_or_else(|| panic!("{job} has no {name}")).3
    }

    /// The values of a metric by operator.
    fn by_operator(&self, name: &str) -> BTreeMap<String, u64> {
        let series = self.series().into_iter().filter(|(_, found, ..)| found == name);
        series.map(|(_, _, labels, value)| (labels["operator"].clone(), value)).collect()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell("counter", key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell("gauge", key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell("histogram", key);
        Histogram::from_arc(Arc::new(Ignored))
    }
}

/// A sink that refuses windows of this second.
struct Without(i64, Collect<Windowed<i64, u64>>);

impl Sink<Windowed<i64, u64>> for Without {
    fn check(&self, record: &Record<Windowed<i64, u64>>) -> Result<(), BadRecord> {
        match record.value.key == self.0 {
            true => Err(BadRecord::new("that second")),
            false => Ok(()),
        }
    }

    fn write(&mut self, record: &Record<Windowed<i64, u64>>) {
        self.1.write(record);
    }

    fn pending(&self) -> usize {
        self.1.pending()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        self.1.stage(out);
    }

    fn places(&self) -> Vec<Place> {
        self.1.places()
    }
}

/// Of a hundred seconds in order one in ten is filtered and one in ten is bad; two come again, and one comes late.
async fn seconds() -> Report {
    let place = Memory::new();
    let out = place.collected();
    let seconds: Vec<i64> = (0..100).chain([99, 99, 5]).collect();
    let source =
        MemorySource::new("seconds", vec![seconds]).event_time(|s| at(s * 1000), Duration::ZERO);
    let windows = Tumbling::of(Duration::from_secs(1)).late(Late::Drop);
    let three = |n: i64| if n % 10 == 3 { Err(BadRecord::new("a three")) } else { Ok(n) };
    let job = Job::new("seconds").source(source).anchor(place).pipeline(move |seconds| {
        let good = seconds.filter(|n| n % 10 != 7).map(three).dead_letter().key_by(|n| *n);
        let seen = good.dedup("seen", Duration::from_secs(10));
        let counts = seen.key_by(|n| *n).window(windows).aggregate("counts", Count);
        counts.to(Without(42, out.sink()))
    });
    job.until_end(true).run_until(std::future::pending()).await.unwrap()
}

/// A left record that comes behind the watermark, and is joined.
async fn joined() -> Report {
    let place = Memory::new();
    let out = place.collected();
    let events = vec![Right(10), Left(100), Right(101), Left(50)];
    let ms = |event: &Either<i64, i64>| match *event {
        Left(ms) | Right(ms) => at(ms),
    };
    let source = MemorySource::new("events", vec![events]).event_time(ms, Duration::ZERO);
    let before = Bound::before(Duration::from_millis(100));
    let near = IntervalJoin::between(before, Bound::same()).left_outer().last_touch().late_joins();
    let job = Job::new("joined").source(source).anchor(place).pipeline(move |events| {
        let pairs = events.key_by_either(|_| 0_u8, |_| 0_u8).interval_join("near", near);
        pairs.to(out.sink())
    });
    job.until_end(true).run_until(std::future::pending()).await.unwrap()
}

/// A source of a record and one without a value. It fails after a second, and is opened again.
#[derive(Default)]
struct FailsOnce(AtomicBool);

struct Opened {
    fails: bool,
    is_assigned: bool,
}

impl Source for FailsOnce {
    type Batch = Written;
    type Feed = Opened;

    fn topics(&self) -> Vec<String> {
        vec!["test".into()]
    }

    async fn open(&self, _: Context) -> Result<Opened> {
        Ok(Opened { fails: !self.0.swap(true, Ordering::Relaxed), is_assigned: false })
    }
}

impl Feed for Opened {
    type Batch = Written;

    async fn next(&mut self) -> Result<SourceEvent<Written>> {
        if std::mem::replace(&mut self.is_assigned, true) {
            if !self.fails {
                return pending().await;
            }
            sleep(Duration::from_secs(1)).await;
            return Err(Error::transient("read"));
        }
        let records = vec![(0, Content::Value(1, at(1))), (1, Content::Tombstone)];
        let both = Delivery::Batch(Written { records, bytes: 1 });
        let deliveries = stream::iter([Ok(both)]).chain(stream::pending()).boxed();
        let partition = Partition::new(Topic::new("test"), 0);
        let partitions = vec![PartitionInput { partition, deliveries }];
        let task = TaskInput { task: Task { number: 0, of: 1 }, partitions };
        Ok(SourceEvent::Assigned(Assignment::new(vec![task], |_| {})))
    }

    fn committed(&mut self, _: &[(Partition, Position)]) {}

    async fn close(self) {}
}

/// A job that starts anew once, has nothing to commit for nearly a minute then, and is ready for it.
async fn restarted(recorded: &Recorded) -> Report {
    let place = Memory::new();
    let out = place.collected();
    let job = Job::new("restarted").source(FailsOnce::default()).anchor(place);
    let job = job.instances(["one"]);
    let job = job.pipeline(move |numbers| numbers.to(out.sink()));
    let minute = async {
        sleep(Duration::from_secs(60)).await;
        let gauge = |name| f64::from_bits(recorded.of_job("restarted", name));
        assert_eq!(gauge("rtbflow_ready"), 1.0);
        assert_eq!(gauge("rtbflow_standing_by"), 0.0);
        assert!((50.0..=60.0).contains(&gauge("rtbflow_commit_age_seconds")));
    };
    job.run_until(minute).await.unwrap()
}

/// What three jobs measure, and their accounts by their names.
fn recorded() -> (Recorded, [(&'static str, Report); 3]) {
    let recorded = Recorded::default();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let run = || {
        runtime.block_on(async {
            let (seconds, joined) = (seconds().await, joined().await);
            let restarted = restarted(&recorded).await;
            [("seconds", seconds), ("joined", joined), ("restarted", restarted)]
        })
    };
    let reports = with_local_recorder(&recorded, run);
    (recorded, reports)
}

fn of<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(operator, count)| (operator.to_owned(), count)).into()
}

#[test]
fn each_operator_counts_its_own() {
    let (recorded, [(_, seconds), (_, joined), _]) = recorded();
    assert_eq!((seconds.filtered, seconds.dead_lettered), (10, 10));
    assert_eq!((seconds.duplicates, seconds.late, seconds.decoded), (2, 1, 80));
    let count = |what: &str| recorded.by_operator(&format!("rtbflow_operator_{what}_total"));
    assert_eq!(count("filtered"), of([("#1 filter", 10)]));
    assert_eq!(count("dead_lettered"), of([("#3 dead_letter", 10)]));
    assert_eq!(count("duplicates"), of([("seen", 2)]));
    assert_eq!(count("late"), of([("counts", 1)]));
    // The late one is the first of its key that is still known.
    assert_eq!(count("results"), of([("counts", 80), ("near", joined.records_out), ("seen", 81)]));
    assert_eq!(count("results_refused"), of([("#8 sink", seconds.results_refused)]));
    assert_eq!((seconds.results_refused, seconds.records_out), (1, 79));
    assert_eq!(count("behind"), of([("near", 1)]));
    assert_eq!(joined.behind, 1);
    let state = recorded.by_operator("rtbflow_operator_state_bytes");
    assert!(state.contains_key("seen"), "{state:?}");
    assert!(
        state.values().all(|bytes| f64::from_bits(*bytes) == 0.0),
        "the tasks have ended: {state:?}"
    );
}

#[test]
fn each_class_of_the_account_is_a_counter() {
    type Class = (&'static str, fn(&Report) -> u64);
    const CLASSES: [Class; 9] = [
        ("decoded", |report| report.decoded),
        ("filtered", |report| report.filtered),
        ("late", |report| report.late),
        ("duplicates", |report| report.duplicates),
        ("dead_lettered", |report| report.dead_lettered),
        ("skipped", |report| report.skipped),
        ("results_refused", |report| report.results_refused),
        ("behind", |report| report.behind),
        ("restarts", |report| report.restarts),
    ];
    let (recorded, reports) = recorded();
    for (class, count) in CLASSES {
        for (job, report) in &reports {
            let found = recorded.of_job(job, &format!("rtbflow_{class}_total"));
            assert_eq!(found, count(report), "{class} of {job}");
        }
        assert!(reports.iter().any(|(_, report)| count(report) > 0), "there is none: {class}");
    }
}

/// A row of the page: more labels than the job's, and the kind.
fn row(line: &str) -> Option<(&str, Vec<&str>, &str, bool)> {
    let mut cells = line.strip_prefix("| `rtbflow_")?.split('|');
    let name = cells.next()?.trim().trim_end_matches('`');
    let labels = cells.next()?.split(',').map(|label| label.trim().trim_matches('`'));
    let labels = labels.filter(|label| !label.is_empty()).collect();
    Some((name, labels, cells.next()?.trim(), line.contains("(Kafka)")))
}

#[test]
fn labels_and_kinds_are_those_of_the_page() {
    let (recorded, ..) = recorded();
    let page = include_str!("../../../docs/watching.md");
    let mut rows: BTreeMap<&str, _> = BTreeMap::new();
    for (name, labels, kind, is_kafkas) in page.lines().filter_map(row) {
        rows.insert(name, (labels, kind, is_kafkas));
    }
    let series = recorded.series();
    for (kind, name, labels, _) in &series {
        let (more, listed, _) = &rows[name.trim_start_matches("rtbflow_")];
        let mut expected: Vec<&str> = more.iter().copied().chain(["job"]).collect();
        expected.sort_unstable();
        assert_eq!(
            (kind, labels.keys().map(String::as_str).collect::<Vec<_>>()),
            (listed, expected),
            "{name}"
        );
    }
    let measured = |name: &str| series.iter().any(|(_, found, ..)| found.ends_with(name));
    let missing: Vec<_> =
        rows.iter().filter(|(name, (.., is_kafkas))| !is_kafkas && !measured(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
