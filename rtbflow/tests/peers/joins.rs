//! Joins.

use std::time::Duration;

use rtbflow::operators::interval_join::{Bound, EitherOrBoth, IntervalJoin};
use rtbflow::operators::window::{Late, Sliding, Tumbling};
use rtbflow::{Either, Elements, Flow};
use serde_json::{Value, json};

use crate::cases::{Arrival, Case, Feed, Found, Side, Time, run};

type Sides = Either<Arrival, Arrival>;

/// The two sides as the two kinds of one flow.
fn sides(flow: Flow<impl Elements<Value = Arrival>>) -> Flow<impl Elements<Value = Sides>> {
    flow.map(|arrival| match arrival.side {
        Some(Side::Left) => Either::Left(arrival),
        Some(Side::Right) | None => Either::Right(arrival),
    })
}

/// This many milliseconds from the left record.
fn bound(offset_ms: i64, exclusive: bool) -> Bound {
    let offset = Duration::from_millis(offset_ms.unsigned_abs());
    let bound = if offset_ms < 0 { Bound::before(offset) } else { Bound::after(offset) };
    if exclusive { bound.exclusive() } else { bound }
}

fn written(left: Option<&Arrival>, right: Option<&Arrival>, t: i64) -> Value {
    let key = left.or(right).and_then(|arrival| arrival.k.clone());
    let id = |arrival: Option<&Arrival>| arrival.map(|arrival| arrival.id);
    json!({ "k": key, "left": id(left), "right": id(right), "t": t })
}

pub(crate) fn interval_join(case: &Case) -> Found {
    let lower = bound(case.number("lower"), case.is("lower_exclusive"));
    let upper = bound(case.number("upper"), case.is("upper_exclusive"));
    let join = IntervalJoin::between(lower, upper).late(Late::DeadLetter);
    run(
        case,
        Time::FlinkJoin,
        |flow| sides(flow).key_by_either(Arrival::key, Arrival::key).interval_join("join", join),
        |record| {
            let (left, right) = &record.value;
            written(Some(left), Some(right), record.timestamp.as_millis())
        },
    )
}

pub(crate) fn kstreams_join(case: &Case) -> Found {
    let join = IntervalJoin::between(
        Bound::before(case.millis("before")),
        Bound::after(case.millis("after")),
    )
    .late_joins();
    let time = Time::Stream { behind_ms: case.number("grace") };
    // A record without a value is none, and one without a key has no partner.
    let key = |arrival: &Arrival| arrival.k.clone().ok_or(arrival.id);
    let connected = |flow: Flow<Feed>| {
        sides(flow.filter(|arrival| arrival.v.is_some())).key_by_either(key, key)
    };
    match case.text("kind") {
        "inner" => run(
            case,
            time,
            |flow| connected(flow).interval_join("join", join),
            |record| {
                let (left, right) = &record.value;
                written(Some(left), Some(right), record.timestamp.as_millis())
            },
        ),
        "left" => run(
            case,
            time,
            |flow| connected(flow).interval_join("join", join.left_outer()),
            |record| {
                let (left, right) = &record.value;
                written(Some(left), right.as_ref(), record.timestamp.as_millis())
            },
        ),
        _ => run(
            case,
            time,
            |flow| connected(flow).interval_join("join", join.full_outer()),
            |record| {
                let (left, right) = match &record.value {
                    EitherOrBoth::Left(left) => (Some(left), None),
                    EitherOrBoth::Right(right) => (None, Some(right)),
                    EitherOrBoth::Both(left, right) => (Some(left), Some(right)),
                };
                written(left, right, record.timestamp.as_millis())
            },
        ),
    }
}

pub(crate) fn window_join(case: &Case) -> Found {
    let offset_ms = |period: &str| case.number("offset").rem_euclid(case.number(period));
    let offset = |period: &str| Duration::from_millis(offset_ms(period).unsigned_abs());
    let lateness = case.millis("lateness");
    macro_rules! run_with {
        ($windows:expr) => {{
            let windows = $windows.allowed_lateness(lateness).late(Late::DeadLetter);
            run(
                case,
                Time::Flink,
                |flow| {
                    let flow = sides(flow).key_by_either(Arrival::key, Arrival::key);
                    flow.window_join("join", windows)
                },
                |record| {
                    let (left, right) = &record.value.value;
                    written(Some(left), Some(right), record.timestamp.as_millis())
                },
            )
        }};
    }
    let size = case.millis("size");
    if case.number("slide") == 0 {
        return run_with!(Tumbling::of(size).offset(offset("size")));
    }
    run_with!(Sliding::of(size).every(case.millis("slide")).offset(offset("slide")))
}
