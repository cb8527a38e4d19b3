//! The operators on keys beside models that keep everything, under random order, borders and restarts.

mod calls;
mod dedup;
mod earliest;
mod latest_by;
mod process;

use proptest::prelude::*;
use rtbflow::testing::builders::{at, read};
use rtbflow::{Element, Timestamp};

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

/// Records as a source hands them over that allows for this disorder.
fn disordered<T>(records: impl IntoIterator<Item = (T, i64)>) -> Vec<Element<T>> {
    let (mut watermark, mut sent) = (Timestamp::MIN, Timestamp::MIN);
    let mut elements = Vec::new();
    for (offset, (value, ms)) in (0..).zip(records) {
        elements.push(Element::Record(read(value, ms, offset), watermark));
        watermark = watermark.max(at(ms - OUT_OF_ORDERNESS_MS));
        if offset % 3 == 0 && watermark > sent {
            sent = watermark;
            elements.push(Element::Watermark(watermark));
        }
    }
    if watermark > sent {
        elements.push(Element::Watermark(watermark));
    }
    elements
}
