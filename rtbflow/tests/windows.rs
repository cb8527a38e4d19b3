//! Windows beside models that keep everything and compute each result anew, under random order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::window::{Count, CountWindow, Late, Max, Session, Sliding, Sum, Tumbling};
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

/// A key, a window, and the sum and the greatest of the records' values.
type Summed = (u8, i64, i64, (i64, Option<i64>));

/// A record: its key, its value and its time.
type Valued = ((u8, i64), i64);

/// The records, each with a value of its own.
fn valued(records: &[(u8, i64)]) -> Vec<Valued> {
    (1..).zip(records).map(|(n, (key, ms))| ((*key, n * n), *ms)).collect()
}

/// The sum and the greatest of values, as the aggregates emit them.
fn summed(key: u8, (start, end): (i64, i64), values: &[i64]) -> Summed {
    (key, start, end, (values.iter().sum(), values.iter().max().copied()))
}

fn ms(duration: i64) -> Duration {
    Duration::from_millis(duration.unsigned_abs())
}

/// Windows that slide: by two stacks, or where all can be taken out again by one running state, in which
/// case the greatest is left out.
fn sliding(
    flow: TestFlow<(u8, i64)>,
    (size, slide, lateness): (i64, i64, i64),
    invertible: bool,
    early: u32,
) -> Flow<impl rtbflow::Elements<Value = Summed>> {
    let windows = Sliding::of(ms(size)).every(ms(slide)).offset(ms(1));
    let windows = windows.allowed_lateness(ms(lateness)).late(Late::Drop);
    let windows = flow.key_by(|of| of.0).window(windows);
    let windows = if early > 0 { windows.early_after(early) } else { windows };
    let (sum, max) = (Sum::of(|of: &(u8, i64)| of.1), Max::of(|of: &(u8, i64)| of.1));
    if invertible {
        let sums = windows.aggregate("sums", sum);
        return sums
            .map(|of| {
                (of.key, of.window.start.as_millis(), of.window.end.as_millis(), (of.value, None))
            })
            .boxed();
    }
    let both = windows.aggregate("sums", (sum, max));
    both.map(|of| (of.key, of.window.start.as_millis(), of.window.end.as_millis(), of.value))
        .boxed()
}

/// What comes out of windows that slide, in no order.
fn sliding_model(records: &[Valued], (size, slide, lateness): (i64, i64, i64)) -> Vec<Summed> {
    let (mut out, mut taken, mut watermark) = (Vec::new(), Vec::<Valued>::new(), i64::MIN);
    let of = |taken: &[Valued], key: u8, end: i64| {
        let inside = |(known, t): &&Valued| known.0 == key && end - size <= *t && *t < end;
        let values: Vec<i64> = taken.iter().filter(inside).map(|(known, _)| known.1).collect();
        (!values.is_empty()).then(|| summed(key, (end - size, end), &values))
    };
    let ends =
        |from: i64, to: i64| (from..=to).filter(|end| (end - size - 1).rem_euclid(slide) == 0);
    let last = records.iter().map(|(_, t)| *t).max().unwrap_or(0) + size;
    for record @ ((key, _), t) in records {
        let alive: Vec<i64> =
            ends(t + 1, t + size).filter(|end| end + lateness > watermark).collect();
        if !alive.is_empty() {
            taken.push(*record);
        }
        for end in alive.into_iter().filter(|end| *end <= watermark) {
            out.extend(of(&taken, *key, end));
        }
        if *t > watermark {
            for end in ends(watermark.max(-1_000) + 1, *t) {
                out.extend((0..3).filter_map(|key| of(&taken, key, end)));
            }
            watermark = *t;
        }
    }
    for end in ends(watermark.max(-1_000) + 1, last) {
        out.extend((0..3).filter_map(|key| of(&taken, key, end)));
    }
    out.sort_unstable();
    out
}

/// Sizes and slides, one a multiple of the other or not, and a lateness.
fn grids() -> impl Strategy<Value = (i64, i64, i64)> {
    let grids = (1..25_i64, 1..12_i64, prop_oneof![Just(0), 1..30_i64]);
    // Where windows would begin less often than they are long they are refused.
    grids.prop_map(|(size, slide, lateness)| (size, slide.min(size), lateness))
}

fn sessions(
    flow: TestFlow<(u8, i64)>,
    (gap, lateness): (i64, i64),
    early: u32,
) -> Flow<impl rtbflow::Elements<Value = Summed>> {
    let windows = Session::gap(ms(gap)).allowed_lateness(ms(lateness)).late(Late::Drop);
    let windows = flow.key_by(|of| of.0).window(windows);
    let windows = if early > 0 { windows.early_after(early) } else { windows };
    let (sum, max) = (Sum::of(|of: &(u8, i64)| of.1), Max::of(|of: &(u8, i64)| of.1));
    windows
        .aggregate("sums", (sum, max))
        .map(|of| (of.key, of.window.start.as_millis(), of.window.end.as_millis(), of.value))
}

/// What comes out of sessions, in no order.
fn session_model(records: &[Valued], (gap, lateness): (i64, i64)) -> Vec<Summed> {
    let (mut out, mut watermark) = (Vec::new(), i64::MIN);
    // Key, start, end, values.
    let mut open: Vec<(u8, i64, i64, Vec<i64>)> = Vec::new();
    for ((key, value), t) in records {
        open.retain(|(_, _, end, _)| end + lateness > watermark);
        let mut own = (*key, *t, t + gap, vec![*value]);
        let touches = |of: &(u8, i64, i64, Vec<i64>)| of.0 == *key && of.1 <= t + gap && *t <= of.2;
        let (merged, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut open).into_iter().partition(touches);
        open = rest;
        if merged.is_empty() && own.2 + lateness <= watermark {
            continue;
        }
        for (_, start, end, values) in merged {
            own = (own.0, own.1.min(start), own.2.max(end), [own.3, values].concat());
        }
        if own.2 <= watermark {
            out.push(summed(own.0, (own.1, own.2), &own.3));
        }
        open.push(own);
        if *t > watermark {
            let due = open.iter().filter(|of| watermark < of.2 && of.2 <= *t);
            out.extend(due.map(|of| summed(of.0, (of.1, of.2), &of.3)));
            watermark = *t;
        }
    }
    let due = open.iter().filter(|of| watermark < of.2);
    out.extend(due.map(|of| summed(of.0, (of.1, of.2), &of.3)));
    out.sort_unstable();
    out
}

fn counted(
    flow: TestFlow<(u8, i64)>,
    size: u64,
    slide: Option<u64>,
) -> Flow<impl rtbflow::Elements<Value = (u8, i64, Option<i64>)>> {
    // Longer than all records together take: the model forgets no key.
    let windows = CountWindow::of(size).ttl(Duration::from_secs(1));
    let both = || (Sum::of(|of: &(u8, i64)| of.1), Max::of(|of: &(u8, i64)| of.1));
    let keyed = flow.key_by(|of| of.0);
    match slide {
        None => keyed
            .window(windows)
            .aggregate("sums", both())
            .map(|of| (of.key, of.value.0, of.value.1))
            .boxed(),
        Some(slide) => keyed
            .window(windows.every(slide))
            .aggregate("sums", both())
            .map(|of| (of.key, of.value.0, of.value.1))
            .boxed(),
    }
}

/// What comes out of windows of a fixed number of records, in order.
fn counted_model(records: &[Valued], size: u64, slide: Option<u64>) -> Vec<(u8, i64, Option<i64>)> {
    let (mut out, slide) = (Vec::new(), slide.unwrap_or(size));
    let mut seen: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    for ((key, value), _) in records {
        let values = seen.entry(*key).or_default();
        values.push(*value);
        if (values.len() as u64).is_multiple_of(slide) {
            let from = values.len().saturating_sub(usize::try_from(size).unwrap_or(0));
            let window = values.get(from..).unwrap_or_default();
            out.push((*key, window.iter().sum(), window.iter().max().copied()));
        }
    }
    out
}

/// What a place holds that replaces what it has of a window.
fn replaced(
    results: impl IntoIterator<Item = Summed>,
) -> BTreeMap<(i64, i64, u8), (i64, Option<i64>)> {
    results.into_iter().map(|(key, start, end, value)| ((start, end, key), value)).collect()
}

fn sorted<R: Ord>(mut results: Vec<R>) -> Vec<R> {
    results.sort_unstable();
    results
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn sliding_windows_agree_with_the_model(records in records(), grid in grids()) {
        let records = valued(&records);
        let expected = sliding_model(&records, grid);
        let found = run(timed(records.clone()), |flow| sliding(flow, grid, false, 0));
        prop_assert_eq!(&sorted(found), &expected);
        let found = run(timed(records.clone()), |flow| sliding(flow, grid, true, 0));
        let without_greatest = expected.iter().map(|(key, start, end, of)| (*key, *start, *end, (of.0, None)));
        prop_assert_eq!(sorted(found), sorted(without_greatest.collect()));
    }

    #[test]
    fn sliding_windows_emitted_early_end_in_the_same(records in records(), grid in grids(), early in 1..4_u32) {
        let records = valued(&records);
        let found = run(timed(records.clone()), |flow| sliding(flow, grid, false, early));
        let without = run(timed(records), |flow| sliding(flow, grid, false, 0));
        prop_assert_eq!(replaced(found), replaced(without));
    }

    #[test]
    fn sessions_agree_with_the_model(
        records in records(), gap in 1..15_i64, lateness in prop_oneof![Just(0), 1..30_i64]
    ) {
        let records = valued(&records);
        let found = run(timed(records.clone()), |flow| sessions(flow, (gap, lateness), 0));
        prop_assert_eq!(sorted(found), session_model(&records, (gap, lateness)));
    }

    #[test]
    fn windows_of_n_records_agree_with_the_model(
        records in records(), size in 1..6_u64, slide in proptest::option::of(1..7_u64)
    ) {
        let slide = slide.map(|slide| slide.min(size));
        let records = valued(&records);
        let found = run(timed(records.clone()), |flow| counted(flow, size, slide));
        prop_assert_eq!(found, counted_model(&records, size, slide));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restart_of_sliding_windows_changes_nothing(
        records in records(), grid in grids(), invertible: bool, early in 0..3_u32
    ) {
        laws::operator(timed(valued(&records)), move |flow| sliding(flow, grid, invertible, early));
    }

    #[test]
    fn a_restart_of_sessions_changes_nothing(
        records in records(), gap in 1..15_i64, lateness in prop_oneof![Just(0), 1..30_i64], early in 0..3_u32
    ) {
        laws::operator(timed(valued(&records)), move |flow| sessions(flow, (gap, lateness), early));
    }

    #[test]
    fn a_restart_of_windows_of_n_records_changes_nothing(
        records in records(), size in 1..6_u64, slide in proptest::option::of(1..7_u64)
    ) {
        let slide = slide.map(|slide| slide.min(size));
        laws::operator(timed(valued(&records)), move |flow| counted(flow, size, slide));
    }

    #[test]
    fn a_restart_of_early_results_by_count_changes_nothing(
        records in records(), discards: bool, after in 1..4_u32
    ) {
        laws::operator(timed(records), move |flow| {
            let windows = flow.key_by(|key| *key).window(Tumbling::of(ms(SIZE_MS)).late(Late::Drop));
            let windows = windows.early_after(after);
            let windows = if discards { windows.discarding() } else { windows };
            windows.aggregate("counts", Count)
        });
    }
}

#[test]
fn keys_that_had_their_turn_before_a_restart_are_forgotten_as_without_it() {
    let of_0 = [-50, -45, -41, -36, -33, -27, -24].map(|t| (0, t));
    let of_2 = [-48, -24, -24].map(|t| (2, t));
    let mut records = [&of_0[..], &of_2[..]].concat();
    records.sort_by_key(|(_, t)| *t);
    laws::operator(timed(valued(&records)), |flow| sliding(flow, (18, 7, 0), false, 2));
}
