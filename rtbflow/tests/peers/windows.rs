//! Windows.

use std::cmp::Reverse;
use std::time::Duration;

use rtbflow::operators::window::{
    Aggregate, Count, CountWindow, Late, Merge, Session, Sliding, Sum, TopN, Tumbling, Window,
    Windowed,
};
use rtbflow::{Flow, Record, Timestamp};
use serde_json::{Value, json};

use crate::cases::{Arrival, Case, Feed, Found, Input, Time, run};

/// Count, sum, least and greatest value.
struct Summary;

impl Aggregate<Arrival> for Summary {
    type State = (i64, i64, i64, i64);
    type Output = Self::State;

    fn empty(&self) -> Self::State {
        (0, 0, i64::MAX, i64::MIN)
    }

    fn add(&self, (count, sum, min, max): &mut Self::State, record: &Record<Arrival>) {
        let v = record.value.v.unwrap_or_default();
        (*count, *sum, *min, *max) = (*count + 1, *sum + v, (*min).min(v), (*max).max(v));
    }

    fn output(&self, state: &Self::State) -> Self::Output {
        *state
    }
}

impl Merge<Arrival> for Summary {
    fn merge(&self, (count, sum, min, max): &mut Self::State, later: &Self::State) {
        (*count, *sum) = (*count + later.0, *sum + later.1);
        (*min, *max) = ((*min).min(later.2), (*max).max(later.3));
    }
}

/// A result of a window as Flink's cases have it.
fn written(record: &Record<Windowed<String, (i64, i64, i64, i64)>>) -> Value {
    let (ms, result) = (Timestamp::as_millis, &record.value);
    let ((count, sum, min, max), window) = (result.value, result.window);
    json!({
        "k": result.key, "start": ms(window.start), "end": ms(window.end),
        "count": count, "sum": sum, "min": min, "max": max, "t": ms(record.timestamp),
    })
}

/// The option `offset`, which may be negative, as a shift forward.
fn offset(case: &Case, period: &str) -> Duration {
    let offset_ms = case.number("offset").rem_euclid(case.number(period));
    Duration::from_millis(offset_ms.unsigned_abs())
}

pub(crate) fn tumbling(case: &Case) -> Found {
    let windows = Tumbling::of(case.millis("size"))
        .offset(offset(case, "size"))
        .allowed_lateness(case.millis("lateness"))
        .late(Late::DeadLetter);
    let pipeline =
        |flow: Flow<Feed>| flow.key_by(Arrival::key).window(windows).aggregate("windows", Summary);
    run(case, Time::Flink, pipeline, written)
}

/// Windows between which records are in none are refused: see the table of differences.
fn is_refused(case: &Case) -> bool {
    case.number("slide") > case.number("size")
}

pub(crate) fn sliding(case: &Case) -> Found {
    if is_refused(case) {
        return Found::default();
    }
    let windows = Sliding::of(case.millis("size"))
        .every(case.millis("slide"))
        .offset(offset(case, "slide"))
        .allowed_lateness(case.millis("lateness"))
        .late(Late::DeadLetter);
    let pipeline =
        |flow: Flow<Feed>| flow.key_by(Arrival::key).window(windows).aggregate("windows", Summary);
    run(case, Time::Flink, pipeline, written)
}

pub(crate) fn session(case: &Case) -> Found {
    let windows = Session::gap(case.millis("gap"))
        .allowed_lateness(case.millis("lateness"))
        .late(Late::DeadLetter);
    let pipeline =
        |flow: Flow<Feed>| flow.key_by(Arrival::key).window(windows).aggregate("windows", Summary);
    run(case, Time::Flink, pipeline, written)
}

pub(crate) fn count_window(case: &Case) -> Found {
    let windows = CountWindow::of(case.number("size").unsigned_abs()).ttl(Duration::MAX);
    let written = |record: &Record<Windowed<String, (i64, i64, i64, i64)>>| {
        let (count, sum, min, max) = record.value.value;
        json!({"k": record.value.key, "count": count, "sum": sum, "min": min, "max": max})
    };
    match case.number("slide") {
        0 => {
            let pipeline = |flow: Flow<Feed>| {
                flow.key_by(Arrival::key).window(windows).aggregate("windows", Summary)
            };
            run(case, Time::Flink, pipeline, written)
        }
        _ if is_refused(case) => Found::default(),
        slide => {
            let windows = windows.every(slide.unsigned_abs());
            let pipeline = |flow: Flow<Feed>| {
                flow.key_by(Arrival::key).window(windows).aggregate("windows", Summary)
            };
            run(case, Time::Flink, pipeline, written)
        }
    }
}

/// The results of a window, best first, one by one with their rank.
fn ranked<K, T>(windowed: Windowed<K, Vec<T>>) -> Vec<Windowed<usize, T>> {
    let ranks = (1..).zip(windowed.value);
    ranks.map(|(key, value)| Windowed { key, window: windowed.window, value }).collect()
}

pub(crate) fn window_topn(case: &Case) -> Found {
    let count = usize::try_from(case.number("n")).unwrap();
    let sign = if case.text("direction") == "desc" { 1 } else { -1 };
    let windows = Tumbling::of(case.millis("size")).late(Late::Drop);
    let window_of = |window: Window| (window.start.as_millis(), window.end.as_millis());
    if case.is("aggregate") {
        let pipeline = move |flow: Flow<Feed>| {
            let sums = (Sum::of(|it: &Arrival| it.v.unwrap_or_default()), Count);
            let sums = flow.key_by(Arrival::key).window(windows).aggregate("sums", sums);
            let best = TopN::new(count, move |sum: &Windowed<String, (i64, u64)>| {
                (sign * sum.value.0, Reverse(sum.key.clone()))
            });
            sums.key_by(|_| ()).window(windows).aggregate("best", best).flat_map(ranked)
        };
        return run(case, Time::Flink, pipeline, |record| {
            let (best, (start, end)) = (&record.value.value, window_of(record.value.window));
            json!({
                "k": best.key, "sum": best.value.0, "count": best.value.1, "start": start, "end": end,
                "rank": record.value.key,
            })
        });
    }
    let per_key = case.is("per_key");
    let pipeline = move |flow: Flow<Feed>| {
        let key = move |it: &Arrival| if per_key { it.key() } else { String::new() };
        let rank = move |it: &Arrival| sign * it.v.unwrap_or_default();
        flow.key_by(key).window(windows).top_n("best", count, rank).flat_map(ranked)
    };
    run(case, Time::Flink, pipeline, |record| {
        let (best, (start, end)) = (&record.value.value, window_of(record.value.window));
        let Some(Input::Record { t, .. }) = case.input.get(best.id) else { return Value::Null };
        json!({
            "k": best.key(), "id": best.id, "v": best.v, "rowtime": t, "start": start, "end": end,
            "rank": record.value.key,
        })
    })
}

/// Count, sum and the latest time, which Kafka Streams gives a result as its own.
struct Latest;

impl Aggregate<Arrival> for Latest {
    type State = (i64, i64, i64);
    type Output = Self::State;

    fn empty(&self) -> Self::State {
        (0, 0, i64::MIN)
    }

    fn add(&self, (count, sum, latest): &mut Self::State, record: &Record<Arrival>) {
        *count += 1;
        *sum += record.value.v.unwrap_or_default();
        *latest = record.timestamp.as_millis().max(*latest);
    }

    fn output(&self, state: &Self::State) -> Self::Output {
        *state
    }
}

impl Merge<Arrival> for Latest {
    const INVERTIBLE: bool = false;

    fn merge(&self, (count, sum, latest): &mut Self::State, later: &Self::State) {
        (*count, *sum, *latest) = (*count + later.0, *sum + later.1, later.2.max(*latest));
    }
}

pub(crate) fn kstreams_window(case: &Case) -> Found {
    let (late, gap_ms) = (Late::Drop, case.number("gap"));
    // A window closes when its end plus the grace has come.
    let time = Time::Stream { behind_ms: case.number("grace") };
    let updates = case.text("emit") == "update";
    let written = |record: &Record<Windowed<String, (i64, i64, i64)>>| {
        let ((count, sum, latest), window) = (record.value.value, record.value.window);
        // A session ends with its last record there.
        let (start, end) = (window.start.as_millis(), window.end.as_millis() - gap_ms);
        json!({
            "k": record.value.key, "start": start, "end": end, "count": count, "sum": sum, "t": latest,
        })
    };
    macro_rules! run_with {
        ($windows:expr) => {{
            let windows = $windows;
            let pipeline = |flow: Flow<Feed>| {
                let flow = flow.key_by(Arrival::key).window(windows);
                let flow = if updates { flow.early_after(1) } else { flow };
                flow.aggregate("windows", Latest)
            };
            run(case, time, pipeline, written)
        }};
    }
    match case.text("type") {
        "tumbling" => run_with!(Tumbling::of(case.millis("size")).late(late)),
        "hopping" => {
            let windows = Sliding::of(case.millis("size")).every(case.millis("slide")).late(late);
            let mut found = run_with!(windows);
            found.late.extend(late_for_some(case));
            found.late.sort_unstable();
            found
        }
        "session" => run_with!(Session::gap(case.millis("gap")).late(late)),
        // There is no such window here: see the table of differences.
        _ => Found::default(),
    }
}

/// Records that were too late for some of their windows and not for others: Kafka Streams counts windows
/// here, and not records.
fn late_for_some(case: &Case) -> Vec<usize> {
    let (size, slide) = (case.number("size"), case.number("slide"));
    let for_some = |(_, late): &&(usize, Value)| {
        let number = |field: &str| late.get(field).and_then(Value::as_i64).unwrap_or(0);
        let windows = (0..size).filter(|into| (number("t") - into).rem_euclid(slide) == 0);
        i64::try_from(windows.count()).is_ok_and(|count| number("dropped") < count)
    };
    case.late.iter().filter(for_some).map(|(index, _)| *index).collect()
}
