//! When timers are due, in which order, and how long state is kept.

use super::timers::Timer;
use super::*;
use crate::chunk::Chunk;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::testing::builders::{at, record};
use crate::testing::{TestFlow, elements, timed};

/// A record says what to do at its turn; so does the state at the turn of a timer.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
enum Do {
    Nothing,
    Event(Vec<i64>),
    Wall(Vec<i64>),
    CancelEvent(i64),
    /// Sets another event timer this much after each that is due.
    Again(i64),
    /// Sets another wall timer this much after each that is due.
    AgainByWallClock(i64),
    Clear,
}

struct Obedient;

type ThisTurn<'a> = Turn<'a, char, Do, String>;

impl Process<char, (char, Do)> for Obedient {
    type State = Do;
    type Output = String;

    fn on_record(&mut self, record: Record<(char, Do)>, turn: &mut ThisTurn<'_>) {
        match record.value.1 {
            Do::Nothing => turn.emit(format!("{} has {:?}", turn.key(), turn.state())),
            Do::Event(times) => times.iter().for_each(|ms| turn.set_event_timer(at(*ms))),
            Do::Wall(times) => times.iter().for_each(|ms| turn.set_wall_timer(at(*ms))),
            Do::CancelEvent(ms) => turn.cancel_event_timer(at(ms)),
            Do::Clear => turn.clear(),
            again @ (Do::Again(_) | Do::AgainByWallClock(_)) => *turn.state_mut() = Some(again),
        }
    }

    fn on_event_timer(&mut self, due: Timestamp, turn: &mut ThisTurn<'_>) {
        turn.emit(format!("{}: {}", turn.key(), due.as_millis()));
        if let Some(Do::Again(ms)) = turn.state() {
            let ms = due.as_millis() + ms;
            turn.set_event_timer(at(ms));
        }
    }

    fn on_wall_timer(&mut self, due: Timestamp, turn: &mut ThisTurn<'_>) {
        turn.emit(format!("{}: wall {}", turn.key(), due.as_millis()));
        if let Some(Do::AgainByWallClock(ms)) = turn.state() {
            let ms = due.as_millis() + ms;
            turn.set_wall_timer(at(ms));
        }
    }
}

const TEN: Duration = Duration::from_millis(10);

fn written(steps: impl IntoIterator<Item = (char, Do, i64)>) -> Vec<String> {
    let records = timed(steps.into_iter().map(|(key, what, ms)| ((key, what), ms)));
    elements(records, |flow: TestFlow<(char, Do)>| {
        flow.key_by(|record| record.0).process("obedient", TEN, Obedient)
    })
}

#[test]
fn event_timers_are_due_in_order_of_time_and_then_as_they_were_set() {
    let set = [('b', Do::Event(vec![20, 5, 10]), 0), ('a', Do::Event(vec![10, 10]), 0)];
    let out = written(set.into_iter().chain([('c', Do::Nothing, 10)]));
    let expected = ["w0", "\"c has None\"@10", "\"b: 5\"@5", "\"b: 10\"@10", "\"a: 10\"@10", "w10"];
    assert_eq!(out[..6], expected);
    assert_eq!(out[6..], ["\"b: 20\"@20", "w+inf"]);
}

#[test]
fn a_timer_for_a_time_that_has_passed_is_due_at_once() {
    let out =
        written([('a', Do::Nothing, 10), ('a', Do::Event(vec![3]), 10), ('b', Do::Nothing, 11)]);
    let expected = ["\"a has None\"@10", "w10", "\"a: 3\"@3", "\"b has None\"@11", "w11", "w+inf"];
    assert_eq!(out, expected);
}

#[test]
fn a_timer_that_is_cancelled_is_not_due() {
    let out = written([('a', Do::Event(vec![5, 6]), 0), ('a', Do::CancelEvent(5), 0)]);
    assert_eq!(out, ["w0", "\"a: 6\"@6", "w+inf"]);
}

#[test]
fn whoever_sets_a_timer_by_a_timer_comes_to_the_watermark_and_to_the_end_of_all_time() {
    let every = |ms| [('a', Do::Again(ms), 0), ('a', Do::Event(vec![1]), 0), ('b', Do::Nothing, 4)];
    let out = written(every(1));
    let times: Vec<_> = out.iter().filter(|line| line.contains("a:")).collect();
    assert_eq!(times, ["\"a: 1\"@1", "\"a: 2\"@2", "\"a: 3\"@3", "\"a: 4\"@4", "\"a: 5\"@5"]);
    let backwards = written(every(-1));
    let times: Vec<_> = backwards.iter().filter(|line| line.contains("a:")).collect();
    assert_eq!(times, ["\"a: 1\"@1", "\"a: 2\"@2", "\"a: 3\"@3", "\"a: 4\"@4", "\"a: 5\"@5"]);
}

/// A logic by itself, and where its results go.
struct Alone {
    logic: ProcessLogic<char, (char, Do), fn(&(char, Do)) -> char, Obedient>,
    out: Outbox<String>,
}

impl Alone {
    fn new(retention: impl Into<Retention>) -> Self {
        let logic = ProcessLogic::new(
            (|record| record.0) as fn(&(char, Do)) -> char,
            retention.into(),
            Obedient,
        );
        Self { logic, out: Outbox::for_tests() }
    }

    fn on(&mut self, what: Do, ms: i64) {
        self.logic.on_record(record(('a', what), ms), &mut self.out);
    }

    fn barrier(&mut self, ms: i64) -> Vec<String> {
        self.logic.on_barrier(at(ms), &mut self.out);
        self.out.take_values()
    }

    fn watermark(&mut self, ms: i64) {
        self.logic.on_watermark(at(ms), &mut self.out);
    }

    fn kept(&self) -> usize {
        self.logic.kept_count()
    }
}

#[test]
fn wall_timers_are_due_at_the_barrier_that_reached_them_and_ask_for_one() {
    let mut alone = Alone::new(TEN);
    alone.on(Do::Wall(vec![50, 40, 60]), 0);
    assert_eq!(alone.out.wakes(), at(40));
    alone.out.passed();
    assert_eq!(alone.barrier(39), [""; 0]);
    assert_eq!(alone.out.wakes(), at(40), "asked again");
    assert_eq!(alone.barrier(50), ["a: wall 40", "a: wall 50"]);
    alone.out.passed();
    alone.on(Do::Wall(vec![i64::MIN]), 0);
    assert_eq!(alone.barrier(51), [format!("a: wall {}", i64::MIN)]);
    assert_eq!(alone.barrier(60), ["a: wall 60"]);
    assert_eq!(alone.kept(), 0, "a key without state and timers is not kept");
}

#[test]
fn a_wall_timer_set_at_a_barrier_for_a_time_that_has_passed_waits_for_the_next() {
    let mut alone = Alone::new(TEN);
    alone.on(Do::AgainByWallClock(1), 0);
    alone.on(Do::Wall(vec![1]), 0);
    assert_eq!(alone.barrier(100), ["a: wall 1"]);
    assert_eq!(alone.barrier(100), ["a: wall 2"]);
}

#[test]
fn state_is_kept_for_its_time_after_a_change_and_as_long_as_there_are_timers() {
    let mut alone = Alone::new(TEN);
    alone.on(Do::Again(0), 0);
    alone.watermark(9);
    alone.on(Do::Nothing, 9);
    assert_eq!(alone.out.take_values(), ["a has Some(Again(0))"]);
    alone.watermark(10);
    assert_eq!(alone.kept(), 0, "reading does not lengthen the time");
    alone.on(Do::AgainByWallClock(100), 10);
    alone.on(Do::Wall(vec![100]), 10);
    alone.watermark(1_000);
    assert_eq!((alone.kept(), alone.barrier(100)), (1, vec!["a: wall 100".to_owned()]));
    alone.on(Do::Clear, 1_000);
    assert_eq!(alone.kept(), 1, "another timer is set");
    assert_eq!(alone.barrier(200), ["a: wall 200"]);
    assert_eq!(alone.kept(), 0);
    let mut kept = Alone::new(Retention::until_cleared());
    kept.on(Do::Again(0), 0);
    kept.watermark(i64::MAX - 1);
    assert_eq!(kept.kept(), 1);
    kept.on(Do::Clear, 0);
    assert_eq!(kept.kept(), 0);
}

#[test]
fn timers_come_back_in_their_order() {
    let mut before = Alone::new(TEN);
    for key in ['c', 'a', 'b'] {
        before.logic.on_record(record((key, Do::Wall(vec![7, 5])), 0), &mut before.out);
    }
    let chunks: Vec<Chunk> = Snapshot::of(|snapshot| before.logic.snapshot(snapshot));
    let mut after = Alone::new(TEN);
    chunks.iter().for_each(|chunk| after.logic.restore(chunk).unwrap());
    after.logic.restored(&mut after.out);
    assert_eq!(after.out.wakes(), at(5));
    after.logic.on_record(record(('d', Do::Wall(vec![5])), 0), &mut after.out);
    let due = after.barrier(7);
    let expected =
        ["c: wall 5", "a: wall 5", "b: wall 5", "d: wall 5", "c: wall 7", "a: wall 7", "b: wall 7"];
    assert_eq!(due, expected);
}

#[test]
fn a_timer_takes_little_room() {
    assert!(size_of::<Timer>() <= 24);
}
