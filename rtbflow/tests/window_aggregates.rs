//! Every aggregate in every kind of windows: the laws, and beside what the list of the records says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::window::{
    Aggregate, Apply, Calendar, Count, CountWindow, Decided, Distinct, Fold, Late, Max, Mean,
    Merge, Min, Quantiles, Reduce, Session, Sliding, Sum, TopN, Tumbling, Window, Windowed,
};
use rtbflow::testing::builders::at;
use rtbflow::testing::{TestFlow, laws, run, timed};
use rtbflow::{Elements, Flow, Timestamp};

/// A key, a value, and the number in which it comes.
type Reading = (u8, i64, usize);

type Key = fn(&Reading) -> u8;

const KEY: Key = |reading| reading.0;

fn ms(duration: i64) -> Duration {
    Duration::from_millis(duration.unsigned_abs())
}

/// Windows of 7 and of 13 milliseconds in turn.
fn turns(timestamp: Timestamp) -> Window {
    let start = timestamp.as_millis().div_euclid(20) * 20;
    match timestamp.as_millis() - start {
        0..7 => Window { start: at(start), end: at(start + 7) },
        _ => Window { start: at(start + 7), end: at(start + 20) },
    }
}

/// Records of a few keys whose times rise, and now and then fall back by several windows.
fn readings(count: usize) -> impl Strategy<Value = Vec<(Reading, i64)>> {
    let step = (0..3_u8, -20..60_i64, 0..8_i64, prop_oneof![3 => Just(0), 1 => 0..60_i64]);
    proptest::collection::vec(step, 0..count).prop_map(|steps| {
        let mut now = -50;
        let step = |(number, (key, value, forward, back)): (usize, (u8, i64, i64, i64))| {
            now += forward;
            ((key, value, number), now - back)
        };
        steps.into_iter().enumerate().map(step).collect()
    })
}

fn aggregated<W, A>(
    flow: TestFlow<Reading>,
    windows: W,
    aggregate: A,
) -> Flow<impl Elements<Value = Windowed<u8, A::Output>>>
where
    W: Decided + Apply<u8, Reading, Key, A>,
    W::Logic: rtbflow::operators::Logic<Out = Windowed<u8, A::Output>>,
    A: Aggregate<Reading>,
{
    flow.key_by(KEY).window(windows).aggregate("aggregate", aggregate)
}

/// The laws of an aggregate in windows of every kind.
fn laws_of<A>(records: &[(Reading, i64)], aggregate: impl Fn() -> A)
where
    A: Merge<Reading, Output: Debug>,
{
    let input = || timed(records.to_vec());
    macro_rules! law {
        ($windows:expr) => {{
            let windows = $windows;
            laws::operator(input(), |flow| aggregated(flow, windows.clone(), aggregate()));
        }};
    }
    law!(Tumbling::of(ms(10)).allowed_lateness(ms(15)).late(Late::Drop));
    law!(Sliding::of(ms(20)).every(ms(5)).late(Late::Drop));
    // Borders within a slide, and the lateness.
    law!(Sliding::of(ms(13)).every(ms(5)).allowed_lateness(ms(15)).late(Late::DeadLetter));
    law!(Session::gap(ms(6)).allowed_lateness(ms(15)).late(Late::Drop));
    law!(CountWindow::of(3).ttl(ms(100)));
    law!(CountWindow::of(5).ttl(ms(100)).every(2));
    law!(Calendar::of("turns", turns).allowed_lateness(ms(15)).late(Late::Drop));
}

fn list() -> impl Merge<Reading, State = Vec<Reading>, Output = Vec<Reading>> {
    Fold::new(|list: &mut Vec<Reading>, reading: &Reading| list.push(*reading))
        .merging(|list: &mut Vec<Reading>, later: &Vec<Reading>| list.extend(later))
}

fn sum() -> impl Merge<Reading, Output = i64> {
    Sum::of(|of: &Reading| of.1)
}

fn mean() -> impl Merge<Reading, Output = f64> {
    Mean::of(|of: &Reading| of.1)
}

fn least_and_greatest() -> impl Merge<Reading, Output = (Option<i64>, Option<i64>)> {
    (Min::of(|of: &Reading| of.1), Max::of(|of: &Reading| of.1))
}

fn distinct() -> impl Merge<Reading, Output = u64> {
    Distinct::of(|of: &Reading| &of.1)
}

fn best() -> impl Merge<Reading, Output = Vec<Reading>> {
    // No two are equal.
    TopN::new(2, |of: &Reading| (of.1, Reverse(of.2)))
}

fn median() -> impl Merge<Reading, Output = Vec<f64>> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    Quantiles::new([0.0, 0.5, 1.0], |of: &Reading| of.1 as f64)
}

/// The last in order of arrival.
fn last() -> impl Merge<Reading, Output = Option<Reading>> {
    Reduce::new(|last: &mut Reading, next: &Reading| {
        if next.2 > last.2 {
            *last = *next;
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn keep_the_laws(records in readings(24)) {
        laws_of(&records, || Count);
        laws_of(&records, sum);
        laws_of(&records, mean);
        laws_of(&records, least_and_greatest);
        laws_of(&records, distinct);
        laws_of(&records, best);
        laws_of(&records, median);
        laws_of(&records, last);
        laws_of(&records, list);
        laws_of(&records, || (Count, mean(), distinct(), (best(), list())));
    }
}

/// What all of them say of the records of a window, and which records these are.
type All = (
    (Vec<Reading>, u64, i64, f64),
    (Option<i64>, Option<i64>),
    (u64, Vec<Reading>),
    (Vec<f64>, Option<Reading>),
);

fn all() -> impl Merge<Reading, Output = All> {
    ((list(), Count, sum(), mean()), least_and_greatest(), (distinct(), best()), (median(), last()))
}

/// Every aggregate beside what the list says.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn agrees((counted, ends, (distinct, best), (quantiles, last)): &All) {
    let (list, count, sum, mean) = counted;
    let values = || list.iter().map(|of| of.1);
    assert_eq!((*count, *sum), (list.len() as u64, values().sum()));
    assert!((mean - *sum as f64 / list.len() as f64).abs() < 1e-9, "{mean} of {list:?}");
    assert_eq!(*ends, (values().min(), values().max()));
    // Of so few, some two may share a register.
    let exact = values().collect::<BTreeSet<i64>>().len() as u64;
    assert!(exact.abs_diff(*distinct) <= 1, "{distinct}, not {exact}");
    let mut ranked = list.clone();
    ranked.sort_by_key(|of| (Reverse(of.1), of.2));
    ranked.truncate(2);
    assert_eq!(*best, ranked);
    let mut sorted: Vec<i64> = values().collect();
    sorted.sort_unstable();
    let exact = [sorted.first(), sorted.get((sorted.len() - 1) / 2), sorted.last()];
    for (quantile, exact) in quantiles.iter().zip(exact.into_iter().flatten()) {
        let exact = *exact as f64;
        assert!((quantile - exact).abs() <= exact.abs() * 0.010_000_1, "{quantile}, not {exact}");
    }
    assert_eq!(*last, list.iter().copied().max_by_key(|of| of.2));
}

/// The records of each key and window, as they were emitted last.
fn held<W, A>(
    records: &[(Reading, i64)],
    windows: W,
    all: A,
) -> BTreeMap<(u8, Window), BTreeSet<usize>>
where
    W: Decided + Apply<u8, Reading, Key, A>,
    W::Logic: rtbflow::operators::Logic<Out = Windowed<u8, A::Output>>,
    A: Merge<Reading, Output = All>,
{
    let mut held = BTreeMap::new();
    for result in run(timed(records.to_vec()), |flow| aggregated(flow, windows, all)) {
        agrees(&result.value);
        let numbers = result.value.0.0.iter().map(|of| of.2).collect();
        held.insert((result.key, result.window), numbers);
    }
    held
}

/// The records that each key and window has in the end: those that came before it was over.
fn expected(
    records: &[(Reading, i64)],
    lateness_ms: i64,
    windows_of: impl Fn(Timestamp) -> Vec<Window>,
) -> BTreeMap<(u8, Window), BTreeSet<usize>> {
    let mut expected: BTreeMap<(u8, Window), BTreeSet<usize>> = BTreeMap::new();
    let mut watermark = Timestamp::MIN;
    for ((key, _, number), t) in records {
        for window in windows_of(at(*t)) {
            if window.end + ms(lateness_ms) > watermark {
                expected.entry((*key, window)).or_default().insert(*number);
            }
        }
        watermark = watermark.max(at(*t));
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn agree_with_the_list_in_windows_that_each_time_belongs_to_one_of(
        records in readings(60), lateness in prop_oneof![Just(0), 1..40_i64]
    ) {
        let windows = Tumbling::of(ms(10)).allowed_lateness(ms(lateness)).late(Late::Drop);
        let tens = |t: Timestamp| {
            let start = t.as_millis().div_euclid(10) * 10;
            vec![Window { start: at(start), end: at(start + 10) }]
        };
        prop_assert_eq!(held(&records, windows, all()), expected(&records, lateness, tens));
        let windows = Calendar::of("turns", turns).allowed_lateness(ms(lateness)).late(Late::Drop);
        let found = held(&records, windows, all());
        prop_assert_eq!(found, expected(&records, lateness, |t| vec![turns(t)]));
    }

    #[test]
    fn agree_with_the_list_in_windows_that_slide(
        records in readings(60), lateness in prop_oneof![Just(0), 1..40_i64],
        size in 1..25_i64, slide in 1..12_i64
    ) {
        let slide = slide.min(size);
        let windows = Sliding::of(ms(size)).every(ms(slide));
        let windows = windows.allowed_lateness(ms(lateness)).late(Late::Drop);
        let windows_of = |t: Timestamp| {
            let starts = (t.as_millis() - size + 1..=t.as_millis()).map(at);
            let starts = starts.filter(|start| start.as_millis().rem_euclid(slide) == 0);
            starts.map(|start| Window { start, end: start + ms(size) }).collect()
        };
        prop_assert_eq!(held(&records, windows, all()), expected(&records, lateness, windows_of));
    }

    #[test]
    fn agree_with_the_list_in_sessions_and_windows_of_n_records(
        records in readings(60), gap in 1..15_i64, size in 1..6_u64, slide in 1..7_u64
    ) {
        let slide = slide.min(size);
        // Which records are in them, the models of these windows say.
        held(&records, Session::gap(ms(gap)).late(Late::Drop), all());
        held(&records, CountWindow::of(size).ttl(ms(100)), all());
        held(&records, CountWindow::of(size).ttl(ms(100)).every(slide), all());
    }
}
