//! `earliest` and windows that keep one record, beside Flink's deduplication by row time.

use std::time::Duration;

use rtbflow::operators::window::{Aggregate, Late, Tumbling};
use rtbflow::{Record, Timestamp};
use serde_json::json;

use crate::cases::{Arrival, Case, Found, Time, run};

pub(crate) fn dedup(case: &Case) -> Found {
    if case.number("size") > 0 { windowed(case) } else { kept(case) }
}

/// The first of each key, for good or for the time that Flink keeps it.
fn kept(case: &Case) -> Found {
    let within = if case.number("ttl") > 0 { case.millis("ttl") } else { Duration::MAX };
    run(
        case,
        Time::FlinkJoin,
        |flow| flow.key_by(Arrival::key).earliest("first", within, Late::Drop),
        |Record { value, timestamp, .. }| json!({"k": value.k, "id": value.id, "v": value.v, "rowtime": timestamp.as_millis()}),
    )
}

/// Keeps one record by its time: the first, or the last.
#[derive(Clone, Copy)]
struct Keep {
    last: bool,
}

impl Aggregate<Arrival> for Keep {
    type State = Option<(Timestamp, Arrival)>;
    type Output = Option<(Timestamp, Arrival)>;

    fn empty(&self) -> Self::State {
        None
    }

    fn add(&self, state: &mut Self::State, record: &Record<Arrival>) {
        let at = record.timestamp;
        let takes = state.as_ref().is_none_or(|(kept, _)| match self.last {
            true => at >= *kept,
            false => at < *kept,
        });
        if takes {
            *state = Some((at, record.value.clone()));
        }
    }

    fn output(&self, state: &Self::State) -> Self::Output {
        state.clone()
    }
}

fn windowed(case: &Case) -> Found {
    let windows = Tumbling::of(case.millis("size")).late(Late::Drop);
    let keep = Keep { last: case.text("keep") == "last" };
    run(
        case,
        Time::Flink,
        |flow| flow.key_by(Arrival::key).window(windows).aggregate("one", keep),
        |Record { value, .. }| {
            let (start, end) = (value.window.start.as_millis(), value.window.end.as_millis());
            match &value.value {
                Some((at, kept)) => json!({
                    "k": kept.k, "id": kept.id, "v": kept.v, "rowtime": at.as_millis(),
                    "start": start, "end": end
                }),
                None => json!(null),
            }
        },
    )
}
