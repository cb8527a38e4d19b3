//! What the log says of late, bad and refused records while a job runs, and how a job that goes on is judged.

use std::fmt::{Debug, Write};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Metadata, Subscriber};

use crate::epoch::Memory;
use crate::error::{BadRecord, Result};
use crate::job::{Job, Report};
use crate::operators::window::{Count, Late, Tumbling, Windowed};
use crate::record::Record;
use crate::sink::{Collect, Sink};
use crate::source::{StreamSource, channel};
use crate::staged::{Place, Staged};
use crate::testing::builders::at;

/// Keeps what is logged on one thread, a line each.
#[derive(Clone)]
struct Logged(ThreadId, Arc<Mutex<Vec<String>>>);

impl Logged {
    /// From now on what is logged on this thread. It is the process's: what another thread logs first, and nobody
    /// keeps there, would else be kept nowhere.
    fn begin() -> Self {
        let logged = Self(thread::current().id(), Arc::default());
        set_global_default(logged.clone()).unwrap();
        logged
    }

    fn with(&self, part: &str) -> Vec<String> {
        let lines = self.1.lock().unwrap();
        lines.iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

impl Subscriber for Logged {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        thread::current().id() == self.0
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Values<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = LoggedLine::default();
        event.record(&mut line);
        self.1.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct LoggedLine(String);

impl Visit for LoggedLine {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

/// A sink that refuses what is counted of numbers that end in two.
struct WithoutTwos(Collect<Windowed<i64, u64>>);

impl Sink<Windowed<i64, u64>> for WithoutTwos {
    fn check(&self, record: &Record<Windowed<i64, u64>>) -> Result<(), BadRecord> {
        if record.value.key % 10 == 2 { Err(BadRecord::new("a two")) } else { Ok(()) }
    }

    fn write(&mut self, record: &Record<Windowed<i64, u64>>) {
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

/// Counts seconds, of which those that end in three are bad, in windows of a second.
async fn counted(
    source: StreamSource<i64>,
    most: Option<f64>,
    stop: impl Future<Output = ()> + Send,
) -> Result<Report> {
    let place = Memory::new();
    let out = place.collected();
    let source = source.event_time(|second| at(second * 1_000), Duration::ZERO);
    let windows = Tumbling::of(Duration::from_secs(1)).late(Late::Drop);
    let three = |n: i64| if n % 10 == 3 { Err(BadRecord::new("a three")) } else { Ok(n) };
    // The times are none of the clock's.
    let job = Job::new("seconds").idle_timeout(Duration::from_hours(1)).max_bad(most);
    let job = job.source(source).anchor(place).pipeline(move |seconds| {
        let good = seconds.map(three).dead_letter().key_by(|n| *n);
        good.window(windows).aggregate("counts", Count).to(WithoutTwos(out.sink()))
    });
    job.run_until(stop).await
}

#[tokio::test(start_paused = true)]
async fn of_late_bad_and_refused_ones_the_first_is_logged_and_then_one_each_ten_seconds() {
    const TURNS: i64 = 125;
    let logged = Logged::begin();
    let (mut pusher, source) = channel("seconds", 10);
    let running = tokio::spawn(counted(source, None, pending()));
    for turn in (1_000..).step_by(10).take(usize::try_from(TURNS).unwrap()) {
        // The window of the first is over with the second, which is bad; the third is late.
        for second in [turn + 2, turn + 3, 0] {
            pusher.push(second).await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
    }
    let last_minutes = logged.with("in the last minute of");
    assert_eq!(last_minutes.len(), 2, "{last_minutes:#?}");
    for (what, first) in [
        ("a record cannot be used", "offset=1 reason=\"a three\" since_last_line=1 "),
        ("a record came too late", "offset=2 "),
        ("a result cannot be written", "reason=\"a result was refused: a two\" since_last_line=1 "),
    ] {
        let lines = logged.with(what);
        assert!((11..=13).contains(&lines.len()), "{lines:#?}");
        assert!(lines[0].contains(first) && lines[0].contains("topic=\"seconds\""), "{lines:#?}");
    }
    drop(pusher);
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.late, report.dead_lettered), (TURNS.cast_unsigned(), TURNS.cast_unsigned()));
    assert!(report.results_refused > 120);
    let whole = logged.with("in the whole run of 375 records 33.3 % (125) were late");
    assert_eq!(whole.len(), 1, "{whole:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_ends_within_a_minute_where_more_is_bad_than_may_be() {
    let (mut pusher, source) = channel("seconds", 200);
    for _ in 0..150 {
        pusher.push(3).await.unwrap();
    }
    let ended = timeout(Duration::from_secs(70), counted(source, Some(0.9), pending())).await;
    let error = ended.expect("it ends by itself").unwrap_err().report();
    assert!(error.contains("150 of the 150 records of the last ten minutes were"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_is_not_judged_by_a_few_records() {
    let (mut pusher, source) = channel("seconds", 200);
    for _ in 0..99 {
        pusher.push(3).await.unwrap();
    }
    let (began, hour) = (Instant::now(), Duration::from_hours(1));
    let ended = counted(source, Some(0.9), sleep(hour)).await;
    assert!(began.elapsed() >= hour, "it goes on until it is stopped");
    let error = ended.unwrap_err().report();
    assert!(error.contains("99 of the 99 records of the run were"), "{error}");
}
