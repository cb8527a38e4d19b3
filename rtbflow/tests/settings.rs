//! What is set wrongly is refused at one moment, before anything is connected or read, in one list.
#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, Empty};
use rtbflow::epoch::{
    Anchor, ChunkPage, Claim, DeadLetter, DeadLetters, Epoch, JobName, Memory, Position, Task,
    Verdict, Writer,
};
use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::window::{
    CountWindow, Late, Max, Quantiles, Session, Sliding, TopN, Tumbling,
};
use rtbflow::operators::{Calls, Latest, Lookup, TableJoin};
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::source::{IteratorSource, MemorySource, Source, TickSource};
use rtbflow::{Element, Elements, Error, Flow, Job, Record, Result, Timestamp};

const NEVER: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

/// The faults that one error names, each without its number.
fn faults(error: &Error) -> Vec<String> {
    assert!(error.is_config(), "{error:?}");
    let report = error.report();
    let Some((count, list)) = report.split_once(" errors have to be fixed: ") else {
        return vec![report];
    };
    let mut faults = Vec::new();
    let mut rest = list;
    for number in 1..=count.parse().unwrap() {
        rest = rest.trim_start_matches("; ").strip_prefix(&format!("({number}) ")).unwrap();
        let end = rest.find(&format!("; ({}) ", number + 1)).unwrap_or(rest.len());
        faults.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    faults
}

#[track_caller]
fn assert_faults(error: &Error, expected: &[&str]) {
    let found = faults(error);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for fault in expected {
        let times = found.iter().filter(|found| found.contains(fault)).count();
        assert_eq!(times, 1, "{fault:?} in {found:#?}");
    }
}

/// Everything that a job is made of, and none of it is right.
#[derive(Clone)]
struct Wrong(&'static str, Place);

impl Wrong {
    fn new(name: &'static str) -> Self {
        Self(name, Place::new(name))
    }

    fn config(&self, what: &str) -> Result<()> {
        Err(Error::config(format!("look at {what} of {}: it is wrong", self.0)))
    }
}

/// Nothing but its settings may be asked about.
fn connects() -> Error {
    Error::permanent("connect")
}

impl Anchor for Wrong {
    fn place(&self) -> Place {
        self.1
    }

    fn validate(&self) -> Result<()> {
        self.config("the place")
    }

    async fn prepare(&self, _: &JobName) -> Result<()> {
        Err(connects())
    }

    async fn claim(&self, _: &JobName, _: &Claim) -> Result<Vec<Position>> {
        Err(connects())
    }

    async fn restore(&self, _: &JobName, _: Task, _: Option<String>) -> Result<ChunkPage> {
        Err(connects())
    }

    async fn commit(&self, _: &JobName, _: &[Epoch]) -> Result<Vec<Verdict>> {
        Err(connects())
    }
}

impl Writer for Wrong {
    fn place(&self) -> Place {
        self.1
    }

    fn validate(&self) -> Result<()> {
        self.config("the writer")
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        async { Err(connects()) }.boxed()
    }

    fn write<'a>(&'a self, _: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        async { Err(connects()) }.boxed()
    }
}

impl DeadLetters for Wrong {
    fn validate(&self) -> Result<()> {
        self.config("the letters")
    }

    fn deliver<'a>(&'a self, _: &'a str, _: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>> {
        async { Err(connects()) }.boxed()
    }
}

impl<T> Sink<T> for Wrong {
    fn validate(&self) -> Result<()> {
        Error::all([self.config("the sink"), self.config("the columns")])
    }

    fn write(&mut self, _: &Record<T>) {}

    fn pending(&self) -> usize {
        0
    }

    fn stage(&mut self, _: &mut Vec<Staged>) {}

    fn places(&self) -> Vec<Place> {
        vec![self.1]
    }
}

#[tokio::test]
async fn all_that_is_wrong_in_a_job_is_one_error() {
    let (place, elsewhere) = (Wrong::new("a"), Wrong::new("b"));
    let minutes = Tumbling::of(NEVER).late(Late::Drop);
    let job = Job::new("two words")
        .source(TickSource::every(NEVER))
        .anchor(place.clone())
        .writer(Wrong::new("c"))
        .writer(place.clone())
        .dead_letters(Wrong::new("d"))
        .fail_on_bad_records()
        .max_late(1.5)
        .max_bad(f64::NAN)
        .renamed("maxima", "others")
        .renamed("former", "one")
        .removed("former")
        .pipeline(move |ticks| {
            let (ticks, others) = ticks.tee();
            let ms = |tick: &Timestamp| tick.as_millis();
            let windows = ticks.key_by(|_| 0).window(minutes).early_after(0);
            let maxima = windows.aggregate("maxima", (Max::of(ms), TopN::new(0, ms)));
            let others = others.key_by(|_| 0).throttle("maxima", NEVER);
            maxima.to((place.clone(), elsewhere.clone())).and(others.to(Wrong::new("e")))
        });
    assert!(format!("{job:?}").contains("two words"), "it is kept until then");
    let error = job.run().await.unwrap_err();
    assert_faults(
        &error,
        &[
            "name a job \"two words\": up to 200 ASCII letters",
            "set `max_late` to 1.5",
            "set `max_bad` to NaN",
            "both `dead_letters` and `fail_on_bad_records`",
            "read ticks of less than a millisecond",
            "look at the place of a",
            "look at the writer of a",
            "look at the writer of c",
            "look at the letters of d",
            "set up window \"maxima\" (tumbling 1ms): its windows are 0ns long",
            "set up window \"maxima\" (tumbling 1ms): its top 0 records",
            "set up window \"maxima\" (tumbling 1ms): it emits early after 0 records",
            "name an operator \"maxima\": another one has that name",
            "set up throttle \"maxima\" (one in 0ns): it keeps records back for 0ns",
            "take operator \"maxima\" for one of another name: the pipeline has",
            "take operator \"former\" for one of another name: it was renamed or removed more than once",
            "set up sink a, b: look at the sink of a",
            "set up sink a, b: look at the columns of a",
            "set up sink a, b: look at the sink of b",
            "set up sink a, b: look at the columns of b",
            "set up sink e: look at the sink of e",
            "set up sink e: look at the columns of e",
            "a sink writes to a, which is set more than once",
            "a sink writes to b, which is neither the job's anchor nor one of its writers",
            "a sink writes to e, which is neither",
        ],
    );
}

/// What an operator is refused for.
#[track_caller]
fn refused<S: Elements>(pipeline: impl FnOnce(Flow<Empty<Element<u64>>>) -> Flow<S>) -> String {
    pipeline(Flow::from_elements(stream::empty())).topology().unwrap_err().report()
}

/// That windows are refused for this, whatever is done in them.
macro_rules! assert_windows {
    ($windows:expr, $says:expr) => {
        let report = refused(|flow| {
            flow.key_by(|n| n % 2).window($windows).aggregate("max", Max::of(|n: &u64| *n))
        });
        assert!(report.contains($says), "{report}");
    };
}

#[test]
fn windows_without_a_length_are_refused() {
    const LONG: &str = "its windows are 0ns long; give them a millisecond or more";
    let micros = Duration::from_micros(999);
    assert_windows!(Tumbling::of(NEVER).late(Late::Drop), LONG);
    assert_windows!(Tumbling::of(micros).late(Late::Drop), "999µs long");
    assert_windows!(Sliding::of(NEVER).late(Late::Drop), LONG);
    assert_windows!(Sliding::of(SECOND).every(NEVER).late(Late::Drop), "windows begin every 0ns");
    assert_windows!(Session::gap(NEVER).late(Late::Drop), "its gap is 0ns");
    assert_windows!(CountWindow::of(0).ttl(SECOND), "its windows are of 0 records");
    assert_windows!(CountWindow::of(3).ttl(NEVER), "its keys are forgotten at once");
    assert_windows!(CountWindow::of(3).ttl(SECOND).every(0), "its windows are 0 records apart");
    const BETWEEN: &str = "records between two are in none; `filter` the records that are wanted";
    let millisecond = Duration::from_millis(1);
    assert_windows!(Sliding::of(SECOND).every(SECOND + millisecond).late(Late::Drop), BETWEEN);
    assert_windows!(CountWindow::of(3).ttl(SECOND).every(4), BETWEEN);
    let both = refused(|flow| {
        let windows = Sliding::of(NEVER).every(micros).late(Late::Drop);
        flow.key_by(|n| n % 2).window(windows).early(NEVER).count("counts")
    });
    for says in ["3 errors", LONG, "windows begin every 999µs", "it emits early all the time"] {
        assert!(both.contains(says), "{both}");
    }
}

#[test]
fn aggregates_of_nothing_are_refused() {
    let hours = || Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    let quantiles = |of: &[f64]| {
        let of = Quantiles::new(of, |_: &u64| 1.0);
        refused(|flow| flow.key_by(|n| n % 2).window(hours()).aggregate("quantiles", of))
    };
    assert!(quantiles(&[]).contains("it has no quantiles"));
    let report = quantiles(&[0.0, 0.5, 1.0, 1.1, f64::NAN]);
    assert!(report.contains("its quantiles [1.1, NaN] are not from 0 to 1"), "{report}");
    let report = refused(|flow| flow.key_by(|n| n % 2).window(hours()).top_n("top", 0, |n| *n));
    assert!(report.contains("its top 0 records are none"), "{report}");
}

#[test]
fn operators_that_keep_nothing_are_refused() {
    let keyed = |flow: Flow<Empty<Element<u64>>>| flow.key_by(|n: &u64| *n);
    for (report, says) in [
        (refused(|flow| keyed(flow).sample(0)), "it keeps one in 0 keys"),
        (refused(|flow| keyed(flow).dedup("a", NEVER)), "it remembers records for 0ns"),
        (refused(|flow| keyed(flow).earliest("a", NEVER, Late::Drop)), "it remembers records for"),
        (refused(|flow| keyed(flow).throttle("a", NEVER)), "it keeps records back for 0ns"),
        (refused(|flow| keyed(flow).debounce("a", NEVER)), "it waits for 0ns"),
        (refused(|flow| flow.delay("a", NEVER, |_| Timestamp::MIN)), "it holds records for 0ns"),
        (refused(|flow| keyed(flow).batch("a", 0, SECOND)), "its lists are of at most 0 records"),
        (refused(|flow| keyed(flow).batch("a", 1, NEVER)), "its lists wait for 0ns"),
        (refused(|flow| keyed(flow).latest_by("a", NEVER)), "it remembers versions for 0ns"),
    ] {
        assert!(report.contains(says), "{report}");
    }
    let deleted = Latest::until_deleted(|n| *n == 0, NEVER);
    let flow = keyed(Flow::from_elements(stream::empty())).latest_by("a", deleted);
    assert!(flow.topology().is_ok(), "nothing older may come after a deletion");
}

#[test]
fn joins_without_a_partner_are_refused() {
    let twice = |flow: Flow<Empty<Element<u64>>>| {
        let (one, other) = flow.tee();
        one.key_by(|n: &u64| *n).connect(other.key_by(|n: &u64| *n))
    };
    let near = IntervalJoin::between(Bound::after(SECOND), Bound::same()).late(Late::Drop);
    let report = refused(|flow| twice(flow).interval_join("near", near));
    assert!(report.contains("its interval from +1s to 0 ends before it begins"), "{report}");
    let prices = TableJoin::kept_for(NEVER).late(Late::Drop);
    let report = refused(|flow| twice(flow).join_table("prices", prices));
    assert!(report.contains("it keeps versions for 0ns"), "{report}");
}

#[test]
fn calls_that_are_never_made_are_refused() {
    let none = Calls::at_most(0).deadline(NEVER).attempts(0);
    let report = refused(|flow| flow.map_async(none, |n| async move { Ok(n) }));
    let all = [
        "3 errors",
        "it makes 0 calls at a time",
        "it awaits a call for 0ns",
        "it makes 0 attempts",
    ];
    for says in all {
        assert!(report.contains(says), "{report}");
    }
    let none = Lookup::new(Calls::at_most(1), SECOND, 0);
    let report = refused(|flow| flow.key_by(|n| *n).lookup(none, |n| async move { Ok(n) }));
    assert!(report.contains("set up lookup: it keeps at most 0 answers"), "{report}");
}

#[test]
fn sources_that_read_nothing_are_refused() {
    let ticks = TickSource::every(Duration::from_micros(1)).validate().unwrap_err();
    assert!(ticks.report().contains("less than a millisecond"), "{ticks:?}");
    let none = |topic| IteratorSource::partitioned(topic, 0, |_| [1]);
    let numbers = MemorySource::new("numbers", vec![vec![1]]);
    let both = none("a").with(numbers).with(none("b")).validate().unwrap_err();
    assert!(both.report().contains("2 errors"), "those that are read together are asked: {both:?}");
    let numbers = || MemorySource::new("numbers", vec![vec![1]]);
    let place = Memory::new();
    let results = place.collected();
    let job = Job::new("twice").source(numbers().with(numbers())).anchor(place);
    let twice = job.pipeline(move |flow| flow.to(results.sink())).topology().unwrap_err();
    assert!(
        twice.report().contains("read topic \"numbers\": the source names it 2 times"),
        "{twice:?}"
    );
}
