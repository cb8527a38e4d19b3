//! The operators with state beside models that keep everything, under random order, borders and restarts.

mod batch;
mod branches;
mod calls;
mod debounce;
mod dedup;
mod delay;
mod earliest;
mod latest_by;
mod process;
mod scan;
mod throttle;

use proptest::prelude::*;
use rtbflow::testing::builders::{at, read};
use rtbflow::testing::{TestFlow, run};
use rtbflow::{Element, Elements, Flow, Timestamp};

/// Records of a few keys with their event times, none more than `OUT_OF_ORDERNESS_MS` behind the highest
/// before it.
fn in_bounds() -> impl Strategy<Value = Vec<(u8, i64)>> {
    steps(OUT_OF_ORDERNESS_MS)
}

/// The same, some of them further behind.
fn out_of_bounds() -> impl Strategy<Value = Vec<(u8, i64)>> {
    steps(6 * OUT_OF_ORDERNESS_MS)
}

const OUT_OF_ORDERNESS_MS: i64 = 12;

fn steps(back: i64) -> impl Strategy<Value = Vec<(u8, i64)>> {
    let back = prop_oneof![2 => Just(0), 1 => 0..=back];
    proptest::collection::vec((0..3_u8, 0..8_i64, back), 0..40).prop_map(|steps| {
        let mut highest = -50;
        let step = |(key, forward, back)| {
            highest += forward;
            (key, highest - back)
        };
        steps.into_iter().map(step).collect()
    })
}

/// Records as a source hands them over that allows for this disorder, three at a time.
fn disordered<T>(records: impl IntoIterator<Item = (T, i64)>) -> Vec<Element<T>> {
    in_batches(records, &[3])
}

/// The same, in batches of these sizes, and again from the first: behind a batch the watermark comes by
/// itself.
fn in_batches<T>(records: impl IntoIterator<Item = (T, i64)>, sizes: &[usize]) -> Vec<Element<T>> {
    let (mut watermark, mut sent) = (Timestamp::MIN, Timestamp::MIN);
    let mut elements = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    let mut left = sizes.next().unwrap_or(1);
    for (offset, (value, ms)) in (0..).zip(records) {
        elements.push(Element::Record(read(value, ms, offset), watermark));
        watermark = watermark.max(at(ms - OUT_OF_ORDERNESS_MS));
        left -= 1;
        if left == 0 {
            left = sizes.next().unwrap_or(1);
            if watermark > sent {
                sent = watermark;
                elements.push(Element::Watermark(watermark));
            }
        }
    }
    if watermark > sent {
        elements.push(Element::Watermark(watermark));
    }
    elements
}

/// Where batches end.
fn batch_sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..7_usize, 1..8)
}

/// Each record with its number, and the watermark that holds before it.
fn numbered(records: &[(u8, i64)]) -> Vec<(Numbered, i64, i64)> {
    let mut watermark = i64::MIN;
    let number = |(number, (key, ms)): (usize, &(u8, i64))| {
        let before = watermark;
        watermark = watermark.max(ms - OUT_OF_ORDERNESS_MS);
        ((*key, number), *ms, before)
    };
    records.iter().enumerate().map(number).collect()
}

/// A key and the number of a record.
type Numbered = (u8, usize);

/// What a pipeline makes of these records, and the time of each result.
fn results<S: Elements>(
    records: &[(u8, i64)],
    sizes: &[usize],
    pipeline: impl FnOnce(TestFlow<Numbered>) -> Flow<S>,
) -> Vec<(S::Value, i64)> {
    let records = numbered(records).into_iter().map(|(record, ms, _)| (record, ms));
    run(in_batches(records, sizes), |flow| {
        pipeline(flow).map_record(|record| (record.value, record.timestamp.as_millis()))
    })
}
