//! Reads what the other engines emitted, runs the same inputs here, and compares what came out and when.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use rtbflow::testing::builders::{at, read};
use rtbflow::{Barrier, Element, Elements, Flow, Record, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The one table of what rtbflow answers otherwise on purpose; its first column names the cases.
const DIFFERENCES: &str = include_str!("differences.md");

/// One input and what another engine made of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) case: String,
    /// The operator's options.
    pub(crate) config: Value,
    /// What went in.
    pub(crate) input: Vec<Input>,
    /// What came out, by the index of the input that caused it.
    pub(crate) output: Vec<(usize, Value)>,
    /// What was late, by its index.
    pub(crate) late: Vec<(usize, Value)>,
}

impl Case {
    /// A whole number among the options; 0 if it is not there.
    pub(crate) fn number(&self, option: &str) -> i64 {
        self.config.get(option).and_then(Value::as_i64).unwrap_or(0)
    }

    /// A number of milliseconds among the options; zero if it is not there.
    pub(crate) fn millis(&self, option: &str) -> std::time::Duration {
        std::time::Duration::from_millis(self.number(option).unsigned_abs())
    }

    /// A text among the options; empty if it is not there.
    pub(crate) fn text(&self, option: &str) -> &str {
        self.config.get(option).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether an option is set.
    pub(crate) fn is(&self, option: &str) -> bool {
        self.config.get(option).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// What goes in.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Input {
    /// A record.
    Record {
        t: i64,
        k: Option<String>,
        v: Option<i64>,
        #[serde(default)]
        side: Option<Side>,
    },
    /// A watermark of one input of two, and the operator's, once both have one.
    OfSide { side: Side, combined: Option<i64> },
    /// A watermark.
    Watermark { wm: i64 },
    /// The processing time.
    ProcessingTime { pt: i64 },
}

/// The input of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Left,
    Right,
}

/// A record's value; its event time is the record's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// Its index in the input: its offset too.
    pub(crate) id: usize,
    /// The key.
    pub(crate) k: Option<String>,
    /// The value.
    pub(crate) v: Option<i64>,
    /// The side, for joins.
    pub(crate) side: Option<Side>,
}

impl Arrival {
    /// The key; empty where there is none.
    pub(crate) fn key(&self) -> String {
        self.k.clone().unwrap_or_default()
    }
}

/// What the watermark is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    /// Flink's, which is one less than the watermark here.
    Flink,
    /// Flink's for its interval join and its deduplication, which take records that are just at the
    /// watermark: the same here.
    FlinkJoin,
    /// The latest event time so far, that of the record on its way included, less this much: Kafka Streams
    /// has no watermarks.
    Stream { behind_ms: i64 },
}

/// What came out here, each with the index of the input that caused it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The results.
    pub(crate) output: Vec<(usize, Value)>,
    /// The indices of records that were late.
    pub(crate) late: Vec<usize>,
}

/// Runs every case of an operator and compares it with what `run` finds. What differs must be in the table
/// of differences, and what is there must differ.
pub(crate) fn check_all(operator: &str, run: impl Fn(&Case) -> Found) {
    let (listed, cases) = (listed(), load(operator));
    let mut wrong = Vec::new();
    for case in &cases {
        let difference = compare(case, &run(case));
        match (difference, listed.contains(&case.case)) {
            (Some(difference), false) => wrong.push(format!("{}: {difference}", case.case)),
            (None, true) => wrong.push(format!("{}: no longer differs", case.case)),
            (Some(_), true) | (None, false) => {}
        }
    }
    let (count, all) = (wrong.len(), cases.len());
    wrong.truncate(5);
    assert!(count == 0, "{count} of {all} cases differ, the first:\n{}", wrong.join("\n"));
}

/// Each file of cases is of one of these operators, and each case that the table of differences names is
/// in one of them. Returns how many cases there are.
pub(crate) fn count_all(operators: &[&str]) -> usize {
    let files = fs::read_dir(folder()).unwrap();
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files: BTreeSet<String> = files.map(|file| stem(&file.unwrap().path())).collect();
    let run: BTreeSet<String> = operators.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, run, "the files of cases, and those that are run");
    let cases = operators.iter().flat_map(|operator| load(operator));
    let names: Vec<String> = cases.map(|case| case.case).collect();
    let known: BTreeSet<&String> = names.iter().collect();
    assert_eq!(known.len(), names.len(), "two cases have one name");
    for name in &listed() {
        assert!(known.contains(name), "{name}: there is no such case");
    }
    names.len()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/cases")
}

/// The cases of an operator: each line of its file is one.
fn load(operator: &str) -> Vec<Case> {
    let text = fs::read_to_string(folder().join(operator).with_extension("jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of the cases in the first column of the table of differences.
fn listed() -> BTreeSet<String> {
    let rows = DIFFERENCES.lines().filter_map(|line| line.strip_prefix("| `"));
    let first = rows.filter_map(|row| row.split(" | ").next());
    let names = first.flat_map(|cell| cell.split(['`', ',', ' ']).filter(|name| !name.is_empty()));
    names.map(str::to_owned).collect()
}

/// Sends the input of a case through a pipeline, with a barrier behind each element, and writes down what
/// comes out of it. The barrier's wall clock is the processing time.
pub(crate) fn run<S: Elements>(
    case: &Case,
    time: Time,
    pipeline: impl FnOnce(Flow<Feed>) -> Flow<S>,
    written: impl Fn(&Record<S::Value>) -> Value,
) -> Found {
    let feed = Feed::default();
    let flow = pipeline(Flow::from_elements(feed.clone()));
    flow.topology().unwrap();
    let mut stream = pin!(flow.into_elements());
    let mut context = Context::from_waker(Waker::noop());
    let mut found = Found::default();
    let mut watermark = Timestamp::MIN;
    let mut wall_clock = at(0);
    for (index, input) in case.input.iter().enumerate() {
        if let Input::ProcessingTime { pt } = input {
            wall_clock = at(*pt);
        }
        feed.push(element(index, input, time, &mut watermark));
        let (barrier, gathering) = Barrier::new(wall_clock);
        feed.push(Some(Element::Barrier(barrier)));
        while let Poll::Ready(Some(element)) = stream.as_mut().poll_next(&mut context) {
            match element {
                Element::Record(record, _) => found.output.push((index, written(&record))),
                Element::Watermark(_) => {}
                Element::Barrier(barrier) => barrier.complete(),
            }
        }
        let gathered = gathering.finish().unwrap().expect("the barrier did not come out");
        found.late.extend((0..gathered.tally.late).map(|_| index));
    }
    found
}

/// The element that an input is here, if any.
fn element(
    index: usize,
    input: &Input,
    time: Time,
    watermark: &mut Timestamp,
) -> Option<Element<Arrival>> {
    let next = match (input, time) {
        (Input::Record { t, .. }, Time::Stream { behind_ms }) => Some(at(t - behind_ms)),
        (Input::Watermark { wm }, Time::FlinkJoin) => Some(at(*wm)),
        (Input::OfSide { combined, .. }, Time::FlinkJoin) => combined.map(at),
        (Input::Watermark { wm }, Time::Flink) => Some(at(wm.saturating_add(1))),
        (Input::OfSide { combined, .. }, Time::Flink) => {
            combined.map(|wm| at(wm.saturating_add(1)))
        }
        _ => None,
    };
    let rises = next.is_some_and(|next| next > *watermark);
    *watermark = next.map_or(*watermark, |next| next.max(*watermark));
    match input {
        Input::Record { t, k, v, side } => {
            let value = Arrival { id: index, k: k.clone(), v: *v, side: *side };
            let record = read(value, *t, i64::try_from(index).unwrap());
            Some(Element::Record(record, *watermark))
        }
        Input::OfSide { .. } | Input::Watermark { .. } | Input::ProcessingTime { .. } => {
            rises.then_some(Element::Watermark(*watermark))
        }
    }
}

/// A stream that is given one element after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed(Arc<Mutex<VecDeque<Element<Arrival>>>>);

impl Feed {
    fn push(&self, element: Option<Element<Arrival>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(element);
    }
}

impl Stream for Feed {
    type Item = Element<Arrival>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.map_or(Poll::Pending, |element| Poll::Ready(Some(element)))
    }
}

/// What is not as the other engine has it, if anything.
fn compare(case: &Case, found: &Found) -> Option<String> {
    let sorted = |output: &[(usize, Value)]| {
        let mut written: Vec<String> =
            output.iter().map(|(index, value)| format!("{index:>4} {value}")).collect();
        written.sort_unstable();
        written
    };
    let (theirs, ours) = (sorted(&case.output), sorted(&found.output));
    let only = |these: &[String], those: &[String]| {
        let mut those = those.to_vec();
        let mut only = Vec::new();
        for this in these {
            match those.iter().position(|that| that == this) {
                Some(at) => drop(those.swap_remove(at)),
                None => only.push(this.clone()),
            }
        }
        only
    };
    if theirs != ours {
        let (missing, more) = (only(&theirs, &ours), only(&ours, &theirs));
        return Some(format!(
            "config {}\n  only theirs {missing:?}\n  only ours {more:?}",
            case.config
        ));
    }
    let mut late: Vec<usize> = case.late.iter().map(|(index, _)| *index).collect();
    late.sort_unstable();
    // Kafka Streams counts the windows that a record was too late for, not the record.
    late.dedup();
    if late != found.late {
        return Some(format!(
            "config {}\n  late theirs {late:?} ours {:?}",
            case.config, found.late
        ));
    }
    let time = |value: &Value| value.get("t").and_then(Value::as_i64).unwrap_or(0);
    let falls = |two: &[(usize, Value)]| match two {
        [(one, first), (other, second)] => one == other && time(first) > time(second),
        _ => false,
    };
    if case.text("order") == "t" && found.output.windows(2).any(falls) {
        return Some("results of one watermark are not in the order of their times".to_owned());
    }
    None
}
