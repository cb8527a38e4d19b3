//! Every change of aggregate, key or windows on stored state: exact, or refused; and never other values.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use rtbflow::Timestamp;
use rtbflow::flow::{End, Flow};
use rtbflow::operators::Latest;
use rtbflow::operators::window::{
    Aggregate, Count, CountWindow, Distinct, Fold, Late, Max, Mean, Merge, Min, Quantiles, Reduce,
    Session, Sliding, Sum, TopN, Tumbling,
};
use rtbflow::state::Chunk;
use rtbflow::testing::builders::at;
use rtbflow::testing::{Line, Outputs, TestDriver};
use rtbflow::{Elements, Record};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

type Pipeline = Box<dyn Fn() -> Box<dyn Fn(Flow<Line<i64>>, &Outputs) -> End>>;

/// A program of the matrix.
struct Program {
    /// What it does; two of the same text are the same.
    name: String,
    pipeline: Pipeline,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Won {
    total: i64,
}

/// As [`Won`], but what it reads may be missing: a stored total would be gone without a word.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Earned {
    sum: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Cents(i64);

/// Two of one's own with the same state.
#[derive(Clone, Copy)]
struct Rises;
#[derive(Clone, Copy)]
struct Falls;

macro_rules! of_ones_own {
    ($($aggregate:ident $less:tt),+) => {$(
        impl Aggregate<i64> for $aggregate {
            type State = (i64, u64);
            type Output = u64;

            fn empty(&self) -> (i64, u64) {
                (0, 0)
            }
            fn add(&self, state: &mut (i64, u64), record: &Record<i64>) {
                state.1 += u64::from(state.0 $less record.value);
                state.0 = record.value;
            }
            fn output(&self, state: &(i64, u64)) -> u64 {
                state.1
            }
        }
        impl Merge<i64> for $aggregate {
            fn merge(&self, into: &mut (i64, u64), later: &(i64, u64)) {
                *into = (later.0, into.1 + later.1);
            }
        }
    )+};
}
of_ones_own!(Rises <, Falls >);

const TEN: Duration = Duration::from_secs(10);

fn number(n: &i64) -> i64 {
    *n
}

fn add<A: Default + Clone + Serialize + DeserializeOwned + Send + 'static>(
    add: fn(&mut A, &i64),
    merge: fn(&mut A, &A),
) -> Fold<A, fn(&mut A, &i64), fn(&mut A, &A)> {
    Fold::new(add).merging(merge)
}

fn shown<S: Elements<Value: Debug>>(flow: Flow<S>, outputs: &Outputs) -> End {
    flow.map(|value| format!("{value:?}")).to(outputs.sink("out"))
}

/// Adds the aggregate with this key, in windows of one kind or of each.
macro_rules! in_windows {
    ($programs:ident, $key:ident, $name:literal, $aggregate:expr; $($windows:literal $of:expr),+) => {$(
        let (key_name, key) = $key;
        $programs.push(Program {
            name: format!("{}, {key_name}, {}", $windows, $name),
            pipeline: Box::new(move || {
                Box::new(move |flow, outputs| {
                    let windows = flow.key_by(key).window($of);
                    shown(windows.aggregate("windows", $aggregate), outputs)
                })
            }),
        });
    )+};
    ($programs:ident, $key:ident; $($name:literal $aggregate:expr),+) => {$(
        in_windows!($programs, $key, $name, $aggregate; "tumbling 10 s" Tumbling::of(TEN).late(Late::Drop));
    )+};
    ($programs:ident, $key:ident, each; $($name:literal $aggregate:expr),+) => {$(
        in_windows!(
            $programs, $key, $name, $aggregate;
            "tumbling 20 s" Tumbling::of(2 * TEN).late(Late::Drop),
            "sliding 10 s" Sliding::of(TEN).every(TEN / 2).late(Late::Drop),
            "sliding 20 s" Sliding::of(2 * TEN).every(TEN / 2).late(Late::Drop),
            "session" Session::gap(TEN).late(Late::Drop),
            "last 7" CountWindow::of(7).ttl(100 * TEN).every(7)
        );
    )+};
}

/// Every aggregate.
fn with_key<K>(programs: &mut Vec<Program>, key: (&'static str, fn(&i64) -> K))
where
    K: Hash + Eq + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    in_windows!(
        programs, key;
        "count" Count,
        "sum" Sum::of(number),
        "sum of reals" Sum::of(|n: &i64| *n as f64),
        "sum and count" (Sum::of(number), Count),
        "count and sum" (Count, Sum::of(number)),
        "mean" Mean::of(number),
        "min" Min::of(number),
        "max" Max::of(number),
        "max as u32" Max::of(|n: &i64| *n as u32),
        "top 2" TopN::new(2, number),
        "top 3" TopN::new(3, number),
        "distinct" Distinct::of(|n: &i64| n),
        "quantiles" Quantiles::new([0.5], |n: &i64| *n as f64),
        "reduce" Reduce::new(|one: &mut i64, n: &i64| *one += n),
        "fold" add::<i64>(|sum, n| *sum += n, |a, b| *a += b),
        "fold u64" add::<u64>(|count, _| *count += 1, |a, b| *a += b),
        "won" add::<Won>(|won, n| won.total += n, |a, b| a.total += b.total),
        "earned" add::<Earned>(|earned, n| earned.sum += n, |a, b| a.sum += b.sum),
        "cents" add::<Cents>(|cents, n| cents.0 += n, |a, b| a.0 += b.0),
        "list" add::<Vec<i64>>(|list, n| list.push(*n), |a, b| a.extend_from_slice(b)),
        "option" add::<Option<i64>>(|sum, n| *sum = Some(n + sum.unwrap_or(0)), |_, _| {}),
        "rises" Rises,
        "falls" Falls
    );
}

/// Some of them in windows of other kinds.
fn in_each_kind(programs: &mut Vec<Program>) {
    let key: (_, fn(&i64) -> i64) = ("i64", |n| n % 3);
    in_windows!(
        programs, key, each;
        "count" Count,
        "sum" Sum::of(number),
        "sum and count" (Sum::of(number), Count)
    );
    in_windows!(
        programs, key;
        "sum" Sum::of(number),
        "sum and count" (Sum::of(number), Count)
    );
}

/// Others, whose state goes by key.
fn by_key(programs: &mut Vec<Program>) {
    let mut add = |name: &str, pipeline: Pipeline| {
        programs.push(Program { name: name.into(), pipeline });
    };
    macro_rules! operators {
        ($($name:literal $method:ident($($argument:expr),+);)+) => {$(
            add($name, Box::new(|| {
                Box::new(|flow, outputs| {
                    shown(flow.key_by(|n| n % 3).$method("windows", $($argument),+), outputs)
                })
            }));
        )+};
    }
    operators!(
        "dedup" dedup(TEN);
        "latest" latest_by(Latest::kept_for(100 * TEN));
        "earliest" earliest(TEN, Late::Drop);
        "debounce" debounce(TEN);
        "throttle" throttle(TEN);
        "scan i64" scan(100 * TEN, |sum: &mut i64, n| { *sum += n; *sum });
        "scan u64" scan(100 * TEN, |sum: &mut u64, n| { *sum += 1; (*sum, n) });
        "scan won" scan(100 * TEN, |won: &mut Won, n| { won.total += n; won.total });
        "scan cents" scan(100 * TEN, |won: &mut (Cents,), n| { won.0.0 += n; won.0.0 });
    );
}

fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    with_key(&mut programs, ("u32", |n| (n % 3) as u32));
    with_key(&mut programs, ("text", |n| (n % 3).to_string()));
    in_each_kind(&mut programs);
    by_key(&mut programs);
    programs
}

fn send(driver: &mut TestDriver<i64>, numbers: std::ops::Range<i64>) {
    for n in numbers {
        driver.send(n * 37 % 41, at(n * 900));
    }
    driver.commit();
}

fn rest(driver: &mut TestDriver<i64>) -> Vec<String> {
    send(driver, 25..60);
    driver.advance_watermark(Timestamp::MAX).commit();
    driver.take("out")
}

/// The state of a program after 25 records, and what it emits after them.
fn run(program: &Program) -> (Vec<Chunk>, Vec<String>) {
    let mut driver = TestDriver::new((program.pipeline)());
    send(&mut driver, 0..25);
    let _: Vec<String> = driver.take("out");
    (driver.stored(), rest(&mut driver))
}

#[test]
fn another_program_on_stored_state_is_exact_or_refused() {
    let programs = programs();
    let ran: Vec<_> = programs.iter().map(run).collect();
    let (mut refused, mut exact) = (0, 0);
    for (stored_by, (chunks, _)) in programs.iter().zip(&ran) {
        assert!(!chunks.is_empty(), "{} keeps nothing", stored_by.name);
        for (opened_by, (_, expected)) in programs.iter().zip(&ran) {
            match TestDriver::opening(chunks.clone(), (opened_by.pipeline)()) {
                Ok(mut driver) => {
                    assert_eq!(stored_by.name, opened_by.name, "is opened by the other");
                    driver.advance_watermark(at(24 * 900));
                    assert_eq!(rest(&mut driver), *expected, "{}", opened_by.name);
                    exact += 1;
                }
                Err(error) => {
                    let report = error.report();
                    assert_ne!(stored_by.name, opened_by.name, "{report}");
                    assert!(error.is_config(), "{report}");
                    for part in ["operator \"windows\"", "stored as `", "has `", "reset the job"] {
                        assert!(report.contains(part), "{part}: {report}");
                    }
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(exact, programs.len());
    println!("{exact} exact, {refused} refused");
}

#[test]
fn what_was_finished_first_makes_room_for_another_program() {
    let windows = programs().into_iter().filter(|program| {
        let is_sum =
            program.name.ends_with("i64, sum") || program.name.ends_with("i64, sum and count");
        is_sum && !program.name.starts_with("last")
    });
    let windows: Vec<_> = windows.collect();
    for first in &windows {
        let mut driver = TestDriver::new((first.pipeline)());
        send(&mut driver, 0..25);
        driver.advance_watermark(Timestamp::MAX).commit();
        let left = driver.stored();
        for then in &windows {
            TestDriver::opening(left.clone(), (then.pipeline)()).unwrap();
        }
    }
    assert_eq!(windows.len(), 2 + 4 * 2);
}
