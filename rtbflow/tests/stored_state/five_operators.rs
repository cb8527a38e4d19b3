//! A job with five kinds of state over input that is in memory: tests of the places stop it half-way, and go on with
//! what an earlier build of it has stored.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use rtbflow::epoch::{Anchor, Memory};
use rtbflow::flow::{End, Flow};
use rtbflow::operators::Dedup;
use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::process::{Process, Turn};
use rtbflow::operators::window::{Count, Fold, Late, Session, Sum, Tumbling};
use rtbflow::sink::Sink;
use rtbflow::source::{Context, Delivery, EventTime, FixedFeed, MemoryBatch, Source};
use rtbflow::{Either, Elements, Job, Partition, Record, Result, Timestamp, Topic};
use serde::{Deserialize, Serialize};

/// What the operators with state are called.
pub(crate) const OPERATORS: [&str; 5] = ["dedup", "join", "process", "session", "window"];
/// How many partitions the input has, each of which is a task.
pub(crate) const TASKS: u32 = 2;
/// Records per partition that are read in the first run, in the first and the second, and in all.
const FIRST: u32 = 8;
const HALF: u32 = 15;
const ALL: u32 = 40;

const SECOND: Duration = Duration::from_secs(1);

/// A value with what most values have: text, numbers, and what may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Click {
    device: String,
    campaign: u32,
    paid: i64,
    search: Option<String>,
}

pub(crate) type Input = Either<Click, Click>;

/// The `n`th record of a partition, and its time: nearly in order.
fn record(partition: u32, n: u32) -> (Input, Timestamp) {
    let number = i64::from(n);
    let click = Click {
        device: format!("device-{partition}-{}", n * 7 % 5),
        campaign: n % 4,
        paid: number * 37 - 200,
        search: n.is_multiple_of(2).then(|| format!("전자 {n}")),
    };
    let at = Timestamp::from_millis(number * 611 % 977 + number * 700);
    (if n % 3 == 1 { Either::Right(click) } else { Either::Left(click) }, at)
}

/// The first records of each partition; others may come behind them, or none.
struct Clicks {
    count: u32,
    ends: bool,
}

impl Source for Clicks {
    type Batch = MemoryBatch<(Input, Timestamp)>;
    type Feed = FixedFeed<Self::Batch>;

    fn topics(&self) -> Vec<String> {
        vec!["clicks".into()]
    }

    fn out_of_orderness(&self, _topic: Topic) -> Duration {
        SECOND
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        let partitions = (0..TASKS).map(|n| Partition::new(Topic::new("clicks"), n.cast_signed()));
        let (count, ends, now) = (self.count, self.ends, context.clock.now());
        Ok(FixedFeed::new(partitions.collect(), move |partition, from| {
            let (number, from) = (partition.number.cast_unsigned(), from.unwrap_or(0));
            let first = u32::try_from(from).unwrap();
            let records: Vec<_> = (first..count).map(|n| record(number, n)).collect();
            let event_time = EventTime::new(|(_, at): &(Input, Timestamp)| *at, SECOND);
            let batch = MemoryBatch::new(records, from, event_time.into(), now);
            let batch = stream::iter([Ok(Delivery::Batch(batch))]);
            match ends {
                true => batch.chain(stream::iter([Ok(Delivery::Finished)])).boxed(),
                false => batch.chain(stream::pending()).boxed(),
            }
        }))
    }
}

/// Emits what a device has paid, three seconds after its last click.
struct Silence;

impl Process<String, Click> for Silence {
    type State = (i64, Option<Click>);
    type Output = String;

    fn on_record(
        &mut self,
        record: Record<Click>,
        turn: &mut Turn<'_, String, Self::State, String>,
    ) {
        let (paid, last) = turn.state_mut().get_or_insert_default();
        *paid += record.value.paid;
        *last = Some(record.value);
        turn.set_event_timer(record.timestamp + 3 * SECOND);
    }

    fn on_event_timer(&mut self, at: Timestamp, turn: &mut Turn<'_, String, Self::State, String>) {
        if let Some((paid, Some(last))) = turn.state_mut().take() {
            let search = last.search.is_some();
            let (device, at) = (turn.key().clone(), at.as_millis());
            turn.emit(format!("process/{device}/{at}/{paid}/{}/{search}", last.paid));
        }
    }
}

fn either(input: Input) -> Click {
    match input {
        Either::Left(click) | Either::Right(click) => click,
    }
}

/// Each result is a line of text without blanks, which begins with the operator's name.
fn pipeline<K: Sink<String>>(
    input: Flow<impl Elements<Value = (Input, Timestamp)>>,
    sink: impl Fn() -> K,
) -> End {
    let (pairs, rest) = input.map(|(input, _)| input).tee();
    let (sums, rest) = rest.map(either).tee();
    let (visits, rest) = rest.tee();
    let (once, silences) = rest.tee();
    let windows = Tumbling::of(10 * SECOND).allowed_lateness(5 * SECOND).late(Late::Drop);
    let sums = sums
        .key_by(|click| (click.device.clone(), click.campaign))
        .window(windows)
        .aggregate("window", (Sum::of(|click: &Click| click.paid), Count))
        .map(|window| {
            let ((device, campaign), (paid, count)) = (window.key, window.value);
            let from = window.window.start.as_millis();
            format!("window/{device}/{campaign}/{from}/{paid}/{count}")
        });
    let list = Fold::new(|clicks: &mut Vec<Click>, click: &Click| clicks.push(click.clone()))
        .merging(|one: &mut Vec<Click>, other| one.extend_from_slice(other));
    let visits = visits
        .key_by(|click| click.device.clone())
        .window(Session::gap(4 * SECOND).late(Late::Drop))
        .aggregate("session", list)
        .map(|visit| {
            let paid: Vec<_> = visit.value.iter().map(|click| click.paid.to_string()).collect();
            let (from, to) = (visit.window.start.as_millis(), visit.window.end.as_millis());
            format!("session/{}/{from}/{to}/{}", visit.key, paid.join("+"))
        });
    let join = IntervalJoin::between(Bound::before(6 * SECOND), Bound::after(SECOND));
    let pairs = pairs
        .key_by_either(|left| left.campaign, |right| right.campaign)
        .interval_join("join", join.left_outer().late(Late::Drop))
        .map(|(left, right)| {
            let right = right.map_or("none".to_owned(), |right| right.paid.to_string());
            format!("join/{}/{}/{right}", left.device, left.paid)
        });
    let once = once
        .key_by(|click| click.device.clone())
        .dedup("dedup", Dedup::within(4 * SECOND).late(Late::Drop))
        .map(|click| format!("dedup/{}/{}", click.device, click.paid));
    let silences =
        silences.key_by(|click| click.device.clone()).process("process", 60 * SECOND, Silence);
    let ends = sums.to(sink()).and(visits.to(sink())).and(pairs.to(sink()));
    ends.and(once.to(sink())).and(silences.to(sink()))
}

/// Runs the job until that many records of each partition are committed, of which these are new; to the end of
/// time where they are all.
async fn run<A: Anchor, K: Sink<String>>(
    (name, anchor): (&str, A),
    (count, new): (u32, u32),
    sink: impl Fn() -> K + Send + Sync + 'static,
) -> Result<()> {
    let (ends, new) = (count == ALL, u64::from(new * TASKS));
    let job = Job::new(name).source(Clicks { count, ends }).anchor(anchor).until_end(ends);
    let job = job.pipeline(move |input| pipeline(input, &sink));
    let account = job.account();
    let is_committed = async move {
        while ends || account.report().decoded < new {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = Box::pin(job.run_until(is_committed)).await?;
    assert_eq!(report.decoded, new, "it goes on where the other has stopped");
    Ok(())
}

/// Runs the job over the first half of the input, with a stop on the way.
pub(crate) async fn run_half<A: Anchor, K: Sink<String>>(
    (name, anchor): (&str, A),
    sink: impl Fn() -> K + Clone + Send + Sync + 'static,
) {
    for counts in [(FIRST, FIRST), (HALF, HALF - FIRST)] {
        run((name, anchor.clone()), counts, sink.clone()).await.unwrap();
    }
}

/// Runs the job over what is left of the input.
pub(crate) async fn run_rest<A: Anchor, K: Sink<String>>(
    place: (&str, A),
    sink: impl Fn() -> K + Send + Sync + 'static,
) -> Result<()> {
    run(place, (ALL, ALL - HALF), sink).await
}

/// The results of a run in one go, in order.
pub(crate) async fn in_one_go() -> Vec<String> {
    let place = Memory::new();
    let results = place.collected::<String>();
    let into = results.clone();
    run(("in-one-go", place), (ALL, ALL), move || into.sink()).await.unwrap();
    let mut results = results.values();
    results.sort_unstable();
    results
}
