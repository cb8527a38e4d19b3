//! One pipeline for each kind of state, over the same traffic.

use std::fmt::Debug;
use std::time::Duration;

use rtbflow::Either;
use rtbflow::flow::{End, Flow};
use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::process::{Process, Turn};
use rtbflow::operators::window::{
    Count, CountWindow, Distinct, Fold, Late, Max, Mean, Quantiles, Session, Sliding, Sum, Tumbling,
};
use rtbflow::operators::{Dedup, Latest};
use rtbflow::testing::{Line, Outputs};
use rtbflow::{Elements, Record, Timestamp};
use serde::{Deserialize, Serialize};

/// A value with what most values have: text, numbers, an enum of its own, and what may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Click {
    pub(crate) device: String,
    pub(crate) campaign: u32,
    pub(crate) paid: i64,
    pub(crate) kind: Kind,
    pub(crate) search: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    View,
    Click { price: i64 },
    Conversion(i64, Vec<u8>),
}

pub(crate) type Input = Either<Click, Click>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The `n`th record, and its time in milliseconds.
pub(crate) fn record(n: i64) -> (Input, i64) {
    let kind = match n % 3 {
        0 => Kind::View,
        1 => Kind::Click { price: n * 1_000 },
        _ => Kind::Conversion(-n, vec![0, 255, 7]),
    };
    let click = Click {
        device: format!("device-{}", n * 7 % 5),
        campaign: u32::try_from(n % 4).unwrap(),
        paid: n * 37 - 200,
        kind,
        search: (n % 2 == 0).then(|| format!("전자 {n}")),
    };
    let at = n * 611 % 977 + n * 700;
    (if n % 3 == 1 { Either::Right(click) } else { Either::Left(click) }, at)
}

pub(crate) type Pipeline = fn(Flow<Line<Input>>, &Outputs) -> End;

fn click(input: Input) -> Click {
    match input {
        Either::Left(click) | Either::Right(click) => click,
    }
}

fn shown<S: Elements<Value: Debug>>(flow: Flow<S>, outputs: &Outputs) -> End {
    flow.map(|value| format!("{value:?}")).to(outputs.sink("out"))
}

macro_rules! case {
    ($name:literal, |$flow:ident| $operators:expr) => {
        ($name, |flow: Flow<Line<Input>>, outputs: &Outputs| {
            let $flow = flow.map(click);
            shown($operators, outputs)
        })
    };
}

fn tumbling() -> Tumbling<Late> {
    Tumbling::of(10 * SECOND).allowed_lateness(5 * SECOND).late(Late::Drop)
}

/// Emits what a device has paid, three seconds after its last click.
struct Silence;

impl Process<String, Click> for Silence {
    type State = (i64, Option<Click>);
    type Output = (String, i64, Option<Click>);

    fn on_record(
        &mut self,
        record: Record<Click>,
        turn: &mut Turn<'_, String, Self::State, Self::Output>,
    ) {
        let (paid, last) = turn.state_mut().get_or_insert_default();
        *paid += record.value.paid;
        *last = Some(record.value);
        turn.set_event_timer(record.timestamp + 3 * SECOND);
    }

    fn on_event_timer(
        &mut self,
        _at: Timestamp,
        turn: &mut Turn<'_, String, Self::State, Self::Output>,
    ) {
        if let Some((paid, last)) = turn.state_mut().take() {
            let key = turn.key().clone();
            turn.emit((key, paid, last));
        }
    }
}

/// The pipelines; each has one operator that keeps state, of the same name.
pub(crate) const CASES: [(&str, Pipeline); 18] = [
    case!("tumbling-sum", |flow| flow
        .key_by(|click| (click.device.clone(), click.campaign))
        .window(tumbling())
        .sum("tumbling-sum", |click| click.paid)),
    case!("tumbling-numbers", |flow| flow
        .key_by(|click| click.campaign)
        .window(tumbling())
        .aggregate(
            "tumbling-numbers",
            (Count, Mean::of(|click: &Click| click.paid), Max::of(|click: &Click| click.paid))
        )),
    case!("tumbling-early", |flow| flow
        .key_by(|click| click.campaign)
        .window(tumbling())
        .early_after(3)
        .count("tumbling-early")),
    case!("tumbling-reduce", |flow| flow.key_by(|click| click.campaign).window(tumbling()).reduce(
        "tumbling-reduce",
        |one: &mut Click, other: &Click| {
            if other.paid > one.paid {
                *one = other.clone();
            }
        }
    )),
    case!("tumbling-sketches", |flow| flow
        .key_by(|click| click.campaign)
        .window(tumbling())
        .aggregate(
            "tumbling-sketches",
            (
                Distinct::of(|click: &Click| &click.device),
                Quantiles::new([0.5, 0.9], |click: &Click| click.paid as f64)
            )
        )),
    case!("tumbling-top", |flow| flow.key_by(|click| click.campaign).window(tumbling()).top_n(
        "tumbling-top",
        3,
        |click: &Click| click.paid
    )),
    case!("sliding", |flow| flow
        .key_by(|click| click.device.clone())
        .window(Sliding::of(8 * SECOND).every(2 * SECOND).late(Late::Drop))
        .aggregate("sliding", (Count, Sum::of(|click: &Click| click.paid)))),
    case!("session", |flow| flow
        .key_by(|click| click.device.clone())
        .window(Session::gap(4 * SECOND).late(Late::Drop))
        .aggregate(
            "session",
            Fold::new(|clicks: &mut Vec<Click>, click: &Click| clicks.push(click.clone()))
                .merging(|one: &mut Vec<Click>, other| one.extend_from_slice(other))
        )),
    case!("count-window", |flow| flow
        .key_by(|click| click.campaign)
        .window(CountWindow::of(6).ttl(60 * SECOND).every(3))
        .sum("count-window", |click| click.paid)),
    ("interval-join", |flow, outputs| {
        let join = IntervalJoin::between(Bound::before(6 * SECOND), Bound::after(SECOND));
        let joined = flow
            .key_by_either(|left| left.campaign, |right| right.campaign)
            .interval_join("interval-join", join.left_outer().last_touch().late_joins());
        shown(joined, outputs)
    }),
    ("window-join", |flow, outputs| {
        let joined = flow
            .key_by_either(|left| left.campaign, |right| right.campaign)
            .window_join("window-join", tumbling());
        shown(joined, outputs)
    }),
    case!("dedup", |flow| flow
        .key_by(|click| click.device.clone())
        .dedup("dedup", Dedup::within(4 * SECOND).late(Late::Drop))),
    case!("latest-by", |flow| flow
        .key_by(|click| click.campaign)
        .latest_by("latest-by", Latest::kept_for(60 * SECOND))),
    case!("delay", |flow| flow
        .delay("delay", 3 * SECOND, |record| record.timestamp + SECOND * record.value.campaign)),
    case!("debounce", |flow| flow
        .key_by(|click| click.device.clone())
        .debounce("debounce", 2 * SECOND)),
    case!("throttle", |flow| flow
        .key_by(|click| click.device.clone())
        .throttle("throttle", 3 * SECOND)),
    case!("scan", |flow| flow.key_by(|click| click.campaign).scan(
        "scan",
        60 * SECOND,
        |state: &mut (u64, Vec<Kind>), click| {
            state.0 += 1;
            state.1.push(click.kind);
            format!("{state:?}")
        }
    )),
    case!("process", |flow| flow.key_by(|click| click.device.clone()).process(
        "process",
        60 * SECOND,
        Silence
    )),
];
