//! Windows beside a model that keeps everything and computes each result anew, under random order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::window::{Count, Late, Tumbling};
use rtbflow::testing::{laws, run, timed};
use rtbflow::{Flow, testing::TestFlow};

const SIZE_MS: i64 = 10;

type Counted = (u8, i64, u64);

/// Counts of each key and window; `lateness_ms` after its end a window still takes records.
fn windowed(
    flow: TestFlow<u8>,
    lateness_ms: u64,
    discards: bool,
    early_ms: Option<u64>,
) -> Flow<impl rtbflow::Elements<Value = Counted>> {
    let size = Duration::from_millis(SIZE_MS.unsigned_abs());
    let tumbling = Tumbling::of(size).allowed_lateness(Duration::from_millis(lateness_ms));
    let windows = flow.key_by(|key| *key).window(tumbling.late(Late::Drop));
    let windows = windows.early(early_ms.map(Duration::from_millis));
    let windows = if discards { windows.discarding() } else { windows };
    windows
        .aggregate("counts", Count)
        .map(|counted| (counted.key, counted.window.start.as_millis(), counted.value))
}

/// What comes out of it without early results, in order.
fn model(records: &[(u8, i64)], lateness_ms: i64, discards: bool) -> Vec<Counted> {
    let mut out = Vec::new();
    let mut taken: Vec<(u8, i64)> = Vec::new();
    let mut watermark = i64::MIN;
    let pass = |watermark: i64, next: i64, taken: &[(u8, i64)], out: &mut Vec<Counted>| {
        // Windows in order of their ends, within one the keys as they came first.
        let mut counts: BTreeMap<i64, Vec<(u8, u64)>> = BTreeMap::new();
        for (key, start) in taken {
            let end = start + SIZE_MS;
            if watermark < end && end <= next {
                let keys = counts.entry(*start).or_default();
                match keys.iter_mut().find(|(known, _)| known == key) {
                    Some((_, count)) => *count += 1,
                    None => keys.push((*key, 1)),
                }
            }
        }
        for (start, keys) in counts {
            out.extend(keys.into_iter().map(|(key, count)| (key, start, count)));
        }
    };
    for &(key, ms) in records {
        let start = ms.div_euclid(SIZE_MS) * SIZE_MS;
        let end = start + SIZE_MS;
        if end > watermark || end + lateness_ms > watermark {
            taken.push((key, start));
            if end <= watermark {
                let same = taken.iter().filter(|of| **of == (key, start)).count() as u64;
                out.push((key, start, if discards { 1 } else { same }));
            }
        }
        if ms > watermark {
            pass(watermark, ms, &taken, &mut out);
            watermark = ms;
        }
    }
    pass(watermark, i64::MAX, &taken, &mut out);
    out
}

/// What a place holds after these results: it adds, or it replaces.
fn held(results: impl IntoIterator<Item = Counted>, adds: bool) -> BTreeMap<(i64, u8), u64> {
    let mut held = BTreeMap::new();
    for (key, start, count) in results {
        let of = held.entry((start, key)).or_insert(0);
        *of = if adds { *of + count } else { count };
    }
    held
}

/// Records of a few keys whose times rise, and now and then fall back by several windows.
fn records() -> impl Strategy<Value = Vec<(u8, i64)>> {
    proptest::collection::vec((0..3_u8, 0..8_i64, prop_oneof![3 => Just(0), 1 => 0..60_i64]), 0..40)
        .prop_map(|steps| {
            let mut now = -50;
            let step = |(key, forward, back)| {
                now += forward;
                (key, now - back)
            };
            steps.into_iter().map(step).collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agree_with_the_model(
        records in records(), lateness_ms in prop_oneof![Just(0), 1..40_u64], discards: bool
    ) {
        let found = run(timed(records.clone()), |flow| windowed(flow, lateness_ms, discards, None));
        let lateness = i64::try_from(lateness_ms).unwrap_or(0);
        prop_assert_eq!(found, model(&records, lateness, discards));
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(
        records in records(), lateness_ms in prop_oneof![Just(0), 1..40_u64], discards: bool
    ) {
        laws::operator(timed(records), move |flow| windowed(flow, lateness_ms, discards, None));
    }

    #[test]
    fn early_results_end_in_the_same(
        records in records(), lateness_ms in prop_oneof![Just(0), 1..40_u64], discards: bool
    ) {
        let lateness = i64::try_from(lateness_ms).unwrap_or(0);
        let expected = held(model(&records, lateness, discards), discards);
        let agree = move |found: &[rtbflow::Record<Counted>]| {
            let found = held(found.iter().map(|record| record.value), discards);
            assert_eq!(found, expected);
        };
        let early = move |flow| windowed(flow, lateness_ms, discards, Some(2));
        laws::operator_with(timed(records), early, agree);
    }
}
