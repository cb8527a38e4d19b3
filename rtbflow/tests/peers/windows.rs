//! Windows.

use rtbflow::operators::window::{Aggregate, Late, Tumbling};
use rtbflow::{Record, Timestamp};
use serde_json::json;

use crate::cases::{Arrival, Case, Found, Time, check_all, run};

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

fn tumbling(case: &Case) -> Found {
    let offset_ms = case.number("offset").rem_euclid(case.number("size"));
    let windows = Tumbling::of(case.millis("size"))
        .offset(std::time::Duration::from_millis(offset_ms.unsigned_abs()))
        .allowed_lateness(case.millis("lateness"))
        .late(Late::DeadLetter);
    run(
        case,
        Time::Flink,
        |flow| flow.key_by(Arrival::key).window(windows).aggregate("windows", Summary),
        |record| {
            let (ms, result) = (Timestamp::as_millis, &record.value);
            let ((count, sum, min, max), window) = (result.value, result.window);
            json!({
                "k": result.key, "start": ms(window.start), "end": ms(window.end),
                "count": count, "sum": sum, "min": min, "max": max, "t": ms(record.timestamp),
            })
        },
    )
}

#[test]
fn tumbling_as_flink() {
    check_all("tumbling", tumbling);
}
