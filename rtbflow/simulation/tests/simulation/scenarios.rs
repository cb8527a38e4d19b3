//! The jobs that are simulated: one without state, one with windows, one over two topics.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::epoch::JobName;
use rtbflow::flow::{End, Flow};
use rtbflow::job::{Intake, Job, Report};
use rtbflow::operators::window::{Count, Late, Tumbling};
use rtbflow::sink::Collect;
use rtbflow::testing::builders::at;
use rtbflow::testing::sim::{
    AnyAnchor, Chance, Conditions, Instance, Ledger, Scenario, SimBatch, SimLog, SimSource,
    Simulation,
};
use rtbflow::{Either, Result, Timestamp};

use crate::faults::{Fault, Hasty, Shortened};

/// 2024-01-15T10:30:00Z.
const START_MS: i64 = 1_705_314_600_000;

/// Numbers with event times that rise, and fall back by up to this many milliseconds.
pub(crate) fn numbers(
    chance: &Chance,
    partitions: usize,
    step_ms: u64,
    back_ms: u64,
) -> Vec<Vec<(u64, Timestamp)>> {
    let list = |partition: usize| {
        let mut now = START_MS;
        let count = chance.between(0..60);
        let next = |n: u64| {
            now += i64::try_from(chance.between(0..step_ms)).unwrap();
            let back = i64::try_from(chance.between(0..back_ms + 1)).unwrap();
            (partition as u64 * 1_000 + n, at(now - back))
        };
        (0..count).map(next).collect()
    };
    (0..partitions).map(list).collect()
}

pub(crate) fn job_name() -> JobName {
    JobName::new("simulated").unwrap()
}

/// Each record becomes a row, but for some that are filtered.
pub(crate) struct Records;

/// What a pipeline is made of here: numbers, whatever their source.
pub(crate) type Numbers = Flow<Intake<Shortened<SimBatch<u64>>>>;
type Drawn = Box<dyn Fn(Numbers) -> End + Send + Sync>;

/// Runs a job over numbers, with a fault of its source. Of one type for all, since a job takes the compiler long.
pub(crate) fn run_job(
    (source, fault): (SimSource<u64>, Fault),
    place: AnyAnchor,
    conditions: Conditions,
    renames: Option<Box<Renames>>,
    pipeline: Drawn,
) -> BoxFuture<'static, Result<Report>> {
    async move {
        let job =
            Job::new("simulated").source(Hasty { source, fault }).anchor(place).pipeline(pipeline);
        let job = match renames {
            Some(rename) => rename(job),
            None => job,
        };
        conditions.settle(job).run_until(conditions.shutdown()).await
    }
    .boxed()
}

/// The job as [`run_job`] runs it.
pub(crate) type NumbersJob = Job<Hasty<SimSource<u64>>, AnyAnchor, Drawn>;
/// What a program says of the state of others.
pub(crate) type Renames = dyn Fn(NumbersJob) -> NumbersJob + Send + Sync;

/// Runs the job of [`Records`].
pub(crate) fn run_records(
    source: (SimSource<u64>, Fault),
    place: AnyAnchor,
    conditions: Conditions,
    sink: impl Fn() -> Collect<u64> + Send + Sync + 'static,
) -> BoxFuture<'static, Result<Report>> {
    let pipeline: Drawn =
        Box::new(move |numbers| numbers.filter(|n| n % 7 != 0).map(|n| n * 2).to(sink()));
    run_job(source, place, conditions, None, pipeline)
}

impl Records {
    pub(crate) fn numbers(chance: &Chance) -> SimLog<u64> {
        let partitions = 1 + chance.below(4);
        let values = numbers(chance, partitions, 100, 0);
        let tasks = u32::try_from(partitions).unwrap();
        SimLog::laid_out(chance, "numbers", tasks, Duration::ZERO, values)
    }
}

impl Scenario for Records {
    type Value = u64;
    type Store = Ledger<u64>;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        Self::numbers(chance)
    }

    fn store(&self) -> Ledger<u64> {
        Ledger::default()
    }

    fn run(&self, instance: Instance<u64, Ledger<u64>>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions, .. } = instance;
        let store = place.store().clone();
        run_records((source, Fault::None), AnyAnchor::new(place), conditions, move || store.sink())
    }
}

/// Numbers are counted in windows; a task may have two partitions.
pub(crate) struct Windows;

/// Start of the window, key, count.
pub(crate) type Row = (i64, u64, u64);

impl Scenario for Windows {
    type Value = u64;
    type Store = Ledger<Row>;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        let (tasks, width) = (1 + chance.below(2), 1 + chance.below(2));
        // Late records depend on the record alone only where a task has a single partition.
        let back_ms = if width == 1 { 3_000 } else { 1_000 };
        let values = numbers(chance, tasks * width, 500, back_ms);
        let tasks = u32::try_from(tasks).unwrap();
        SimLog::laid_out(chance, "numbers", tasks, Duration::from_millis(1_000), values)
    }

    fn store(&self) -> Ledger<Row> {
        Ledger::default()
    }

    fn run(&self, instance: Instance<u64, Ledger<Row>>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions, .. } = instance;
        let store = place.store().clone();
        run_windows((source, Fault::None), AnyAnchor::new(place), conditions, move || store.sink())
    }
}

/// Runs the job of [`Windows`].
pub(crate) fn run_windows(
    source: (SimSource<u64>, Fault),
    place: AnyAnchor,
    conditions: Conditions,
    sink: impl Fn() -> Collect<Row> + Send + Sync + 'static,
) -> BoxFuture<'static, Result<Report>> {
    let window = Tumbling::of(Duration::from_secs(2)).late(Late::DeadLetter);
    let pipeline: Drawn = Box::new(move |numbers| {
        numbers
            .key_by(|n| n % 3)
            .window(window)
            .aggregate("counts", Count)
            .map(|w| (w.window.start.as_millis(), w.key, w.value))
            .to(sink())
    });
    run_job(source, place, conditions, None, pipeline)
}

/// Two topics, of which a task has one or two partitions each: the numbers of one are counted in windows,
/// those of the other pass.
pub(crate) fn co_grouped() -> Simulation<Either<u64, u64>, Row> {
    let log = |chance: &Chance| {
        let (tasks, widths) = (1 + chance.below(2), [1 + chance.below(2), 1 + chance.below(2)]);
        let topic = |name, width| {
            let values = numbers(chance, tasks * width, 500, 1_000);
            let tasks = u32::try_from(tasks).unwrap();
            SimLog::laid_out(chance, name, tasks, Duration::from_millis(1_000), values)
        };
        let [left, right] = widths;
        SimLog::co_grouped(&topic("counted", left), &topic("passed", right))
    };
    Simulation::new(log, |numbers, ledger| {
        let (counted, passed) = numbers.split();
        let window = Tumbling::of(Duration::from_secs(2)).late(Late::DeadLetter);
        let counted = counted.key_by(|n| n % 3).window(window).aggregate("counts", Count);
        let counted = counted.map(|w| (w.window.start.as_millis(), w.key, w.value));
        counted.to(ledger.sink()).and(passed.map(|n| (0, n, 1)).to(ledger.sink()))
    })
}
