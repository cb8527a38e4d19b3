//! Joins beside models that keep everything, under random order, bounds and restarts.

#![expect(clippy::indexing_slicing, reason = "a model that indexes past its lists has failed")]
#![expect(clippy::unwrap_used, reason = "numbers of tests are small")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::IntoIter;

use futures::stream::Iter;
use proptest::prelude::*;
use rtbflow::operators::TableJoin;
use rtbflow::operators::interval_join::{Bound, EitherOrBoth, IntervalJoin};
use rtbflow::operators::window::{Late, Tumbling};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::testing::builders::{at, read};
use rtbflow::testing::laws;
use rtbflow::{Barrier, Either, Element, Elements, Flow, Timestamp};

/// How far times fall back without being late.
const OUT_OF_ORDERNESS_MS: i64 = 900;

/// A record: its key, its number, which is its offset too, and for left ones by how much their interval is
/// narrower at the lower end, for right ones how long the pairs live at least that they are in.
type Item = (u8, usize, u16);
type Sides = Either<Item, Item>;

/// A result: the left and the right record's number, and its time.
type Found = (Option<usize>, Option<usize>, i64);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Touch {
    All,
    Last,
    First,
}

#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Kind {
    Inner,
    Left,
    Full,
}

#[derive(Debug, Clone, Copy)]
struct Join {
    lower: i64,
    upper: i64,
    exclusive: (bool, bool),
    touch: Touch,
    kind: Kind,
    late_joins: bool,
}

fn bound(offset_ms: i64, exclusive: bool) -> Bound {
    let offset = Duration::from_millis(offset_ms.unsigned_abs());
    let bound = if offset_ms < 0 { Bound::before(offset) } else { Bound::after(offset) };
    if exclusive { bound.exclusive() } else { bound }
}

/// The operator, its results written as the models write them.
fn joined<S: Elements<Value = Sides>>(
    flow: Flow<S>,
    join: Join,
) -> Flow<impl Elements<Value = (Option<usize>, Option<usize>)>> {
    let (lower, upper) = (bound(join.lower, join.exclusive.0), bound(join.upper, join.exclusive.1));
    let base = IntervalJoin::between(lower, upper)
        .narrowed(move |left: &Item| {
            (bound(join.lower + i64::from(left.2), join.exclusive.0), upper)
        })
        .ttl(|left: &Item, right: &Item| Duration::from_millis(ttl(*left, *right)));
    let base = match join.touch {
        Touch::All => base,
        Touch::Last => base.last_touch(),
        Touch::First => base.first_touch(),
    };
    let base = if join.late_joins { base.late_joins() } else { base.late(Late::DeadLetter) };
    let connected = flow.key_by_either(|left| left.0, |right| right.0);
    match join.kind {
        Kind::Inner => connected
            .interval_join("join", base)
            .map(|(left, right)| (Some(left.1), Some(right.1)))
            .boxed(),
        Kind::Left => connected
            .interval_join("join", base.left_outer())
            .map(|(left, right)| (Some(left.1), right.map(|right| right.1)))
            .boxed(),
        Kind::Full => connected
            .interval_join("join", base.full_outer())
            .map(|joined| match joined {
                EitherOrBoth::Left(left) => (Some(left.1), None),
                EitherOrBoth::Right(right) => (None, Some(right.1)),
                EitherOrBoth::Both(left, right) => (Some(left.1), Some(right.1)),
            })
            .boxed(),
    }
}

/// How long a pair lives: some for ever.
fn ttl(left: Item, right: Item) -> u64 {
    if right.2 == 0 { u64::MAX } else { u64::from(right.2) + u64::from(left.2) / 4 }
}

fn lives((left, t): (Item, i64), (right, time): (Item, i64)) -> bool {
    t.abs_diff(time) <= ttl(left, right)
}

/// What comes out of the operator.
fn run(input: &[(Sides, i64)], join: Join) -> Vec<Found> {
    collect(input, |flow| joined(flow, join))
}

/// What comes out of a pipeline; what is not late before it must not be late behind it.
fn collect<S>(
    input: &[(Sides, i64)],
    pipeline: impl FnOnce(Flow<Iter<IntoIter<Element<Sides>>>>) -> Flow<S>,
) -> Vec<Found>
where
    S: Elements<Value = (Option<usize>, Option<usize>)>,
{
    let stream = futures::stream::iter(elements(input, true));
    let mut stream = pin!(pipeline(Flow::from_elements(stream)).into_elements());
    let mut found = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(element)) = stream.as_mut().poll_next(&mut context) {
        if let Element::Record(record, watermark) = element {
            let (left, right) = record.value;
            let late = |id: Option<usize>| id.is_some_and(|id| is_late(input, id));
            assert!(
                late(left) || late(right) || record.timestamp >= watermark,
                "{:?} at {} is late behind {watermark}",
                record.value,
                record.timestamp
            );
            found.push((left, right, record.timestamp.as_millis()));
        }
    }
    found
}

fn is_late(input: &[(Sides, i64)], id: usize) -> bool {
    let before = input[..id].iter().map(|(_, t)| *t).max();
    before.is_some_and(|highest| input[id].1 < highest - OUT_OF_ORDERNESS_MS)
}

/// The elements of an input; with the end of all time, if wanted.
fn elements(input: &[(Sides, i64)], ends: bool) -> Vec<Element<Sides>> {
    let mut watermark = Timestamp::MIN;
    let mut elements = Vec::new();
    for (offset, (value, t)) in (0..).zip(input) {
        elements.push(Element::Record(read(*value, *t, offset), watermark));
        // Now and then the watermark comes with the next record only.
        let next = at(t - OUT_OF_ORDERNESS_MS);
        if next > watermark {
            watermark = next;
            if offset % 3 != 0 {
                elements.push(Element::Watermark(watermark));
            }
        }
    }
    if ends {
        elements.push(Element::Watermark(Timestamp::MAX));
    }
    elements
}

/// The first and the last time of the partners of a left record.
fn interval(left: Item, t: i64, join: Join) -> (i64, i64) {
    let (lower, upper) = whole_interval(join);
    (t + lower + i64::from(left.2), t + upper)
}

fn whole_interval(join: Join) -> (i64, i64) {
    (join.lower + i64::from(join.exclusive.0), join.upper - i64::from(join.exclusive.1))
}

/// What a join of records that are not late means, whatever their order.
fn meaning(input: &[(Sides, i64)], join: Join) -> Vec<Found> {
    let lefts = input.iter().filter_map(|(side, t)| Some((side.left()?, *t)));
    let rights: Vec<(Item, i64)> =
        input.iter().filter_map(|(side, t)| Some((side.right()?, *t))).collect();
    let mut found = Vec::new();
    for (left, t) in lefts {
        let (low, high) = interval(left, t, join);
        let mut partners: Vec<&(Item, i64)> = rights
            .iter()
            .filter(|(right, time)| right.0 == left.0 && low <= *time && *time <= high)
            .filter(|right| lives((left, t), **right))
            .collect();
        partners.sort_by_key(|(right, time)| (*time, right.1));
        match join.touch {
            Touch::All => {}
            Touch::Last => partners = partners.into_iter().next_back().into_iter().collect(),
            Touch::First => partners.truncate(1),
        }
        if partners.is_empty() && join.kind >= Kind::Left {
            found.push((Some(left.1), None, t));
        }
        found.extend(
            partners.iter().map(|(right, time)| (Some(left.1), Some(right.1), t.max(*time))),
        );
    }
    if join.kind == Kind::Full {
        let chosen: Vec<Option<usize>> = found.iter().map(|(_, right, _)| *right).collect();
        let alone = rights.iter().filter(|(right, _)| !chosen.contains(&Some(right.1)));
        found.extend(alone.map(|(right, t)| (None, Some(right.1), *t)));
    }
    found
}

/// What the operator does with late records too, step by step, with lists that are searched from end to end.
struct Steps {
    join: Join,
    watermark: i64,
    /// Records with their time and whether they have a partner.
    lefts: Vec<(Item, i64, bool)>,
    rights: Vec<(Item, i64, bool)>,
    found: Vec<Found>,
}

impl Steps {
    fn of(input: &[(Sides, i64)], join: Join) -> Vec<Found> {
        let (lefts, rights, found) = (Vec::new(), Vec::new(), Vec::new());
        let mut steps = Self { join, watermark: i64::MIN, lefts, rights, found };
        let mut highest = i64::MIN;
        for (side, t) in input {
            steps.rise(highest.saturating_sub(OUT_OF_ORDERNESS_MS));
            match *side {
                _ if *t < steps.watermark && !join.late_joins => {}
                Either::Left(left) => steps.left(left, *t),
                Either::Right(right) => steps.right(right, *t),
            }
            highest = highest.max(*t);
        }
        steps.rise(i64::MAX);
        steps.found
    }

    fn passed(&self, time: i64) -> bool {
        time < self.watermark || self.watermark == i64::MAX
    }

    fn length(&self) -> i64 {
        let (lower, upper) = whole_interval(self.join);
        upper - lower
    }

    fn left_held(&self, t: i64) -> bool {
        let (_, upper) = whole_interval(self.join);
        let hold = if self.join.late_joins { upper.max(self.length()) } else { upper };
        t + hold >= self.watermark
    }

    fn right_held(&self, t: i64) -> bool {
        let hold = self.right_due(0);
        let hold = if self.join.late_joins { hold.max(self.length()) } else { hold };
        t + hold >= self.watermark
    }

    fn right_due(&self, t: i64) -> i64 {
        let (lower, upper) = whole_interval(self.join);
        t - lower + if self.join.touch == Touch::All { 0 } else { upper.max(0) }
    }

    /// The places in `rights` of the partners of a left record, oldest first.
    fn partners(&self, left: Item, t: i64) -> Vec<usize> {
        let (low, high) = interval(left, t, self.join);
        let fits = |(right, time, _): &(Item, i64, bool)| {
            let near = low <= *time && *time <= high;
            right.0 == left.0 && near && lives((left, t), (*right, *time))
        };
        let mut partners: Vec<usize> =
            (0..self.rights.len()).filter(|at| fits(&self.rights[*at])).collect();
        partners.sort_by_key(|at| (self.rights[*at].1, self.rights[*at].0.1));
        partners
    }

    fn due(&self, left: Item, t: i64) -> i64 {
        let first = self.partners(left, t).first().map(|at| self.rights[*at].1);
        let (_, high) = interval(left, t, self.join);
        if self.join.touch == Touch::First { first.unwrap_or(high) } else { high }
    }

    fn emit(&mut self, left: Item, t: i64, partners: &[usize]) {
        let chosen = match self.join.touch {
            Touch::All => None,
            Touch::Last => partners.last(),
            Touch::First => partners.first(),
        };
        match chosen {
            Some(at) => {
                self.rights[*at].2 = true;
                let (right, time, _) = self.rights[*at];
                self.found.push((Some(left.1), Some(right.1), t.max(time)));
            }
            None if self.join.kind >= Kind::Left => self.found.push((Some(left.1), None, t)),
            None => {}
        }
    }

    fn left(&mut self, left: Item, t: i64) {
        let mut partners = self.partners(left, t);
        let mut matched = false;
        let over = self.passed(interval(left, t, self.join).1);
        if over || self.join.touch == Touch::All {
            partners.retain(|at| self.right_held(self.rights[*at].1));
        }
        if self.join.touch == Touch::All {
            matched = !partners.is_empty();
            for at in partners.drain(..) {
                self.rights[at].2 = true;
                let (right, time, _) = self.rights[at];
                self.found.push((Some(left.1), Some(right.1), t.max(time)));
            }
        }
        if over && !matched && (self.join.touch != Touch::All || self.join.kind >= Kind::Left) {
            return self.emit(left, t, &partners);
        }
        self.lefts.push((left, t, matched));
        self.decide();
    }

    fn right(&mut self, right: Item, t: i64) {
        let mut matched = false;
        if self.join.touch == Touch::All {
            for at in 0..self.lefts.len() {
                let (left, time, _) = self.lefts[at];
                let (low, high) = interval(left, time, self.join);
                let near = low <= t && t <= high && lives((left, time), (right, t));
                if left.0 == right.0 && near && self.left_held(time) {
                    self.lefts[at].2 = true;
                    matched = true;
                    self.found.push((Some(left.1), Some(right.1), t.max(time)));
                }
            }
        }
        self.rights.push((right, t, matched));
        self.decide();
    }

    fn rise(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        self.decide();
    }

    fn decide(&mut self) {
        let waits = self.join.touch != Touch::All;
        let mut due: Vec<(Item, i64, bool)> = Vec::new();
        let decided = |steps: &Self, (left, t, matched): (Item, i64, bool)| {
            (waits || (!matched && steps.join.kind >= Kind::Left))
                && steps.passed(steps.due(left, t))
        };
        for left in std::mem::take(&mut self.lefts) {
            if decided(self, left) { due.push(left) } else { self.lefts.push(left) }
        }
        for (left, t, _) in due {
            let partners = self.partners(left, t);
            self.emit(left, t, &partners);
        }
        for (right, t, matched) in std::mem::take(&mut self.rights) {
            let alone = self.passed(self.right_due(t));
            if alone && !matched && self.join.kind == Kind::Full {
                self.found.push((None, Some(right.1), t));
            } else {
                self.rights.push((right, t, matched));
            }
        }
    }
}

/// A table join; its results written as the models write them.
fn tabled<S: Elements<Value = Sides>>(
    flow: Flow<S>,
    kept_ms: u64,
    lateness_ms: u64,
) -> Flow<impl Elements<Value = (Option<usize>, Option<usize>)>> {
    let table = TableJoin::kept_for(Duration::from_millis(kept_ms))
        .allowed_lateness(Duration::from_millis(lateness_ms))
        .left_outer()
        .late(Late::DeadLetter);
    flow.key_by_either(|left| left.0, |right| right.0)
        .join_table("table", table)
        .map(|(left, right)| (Some(left.1), right.map(|right| right.1)))
}

/// What a table join means: each record finds the newest version of those that came before it was decided.
fn versions(input: &[(Sides, i64)], kept_ms: i64, lateness_ms: i64) -> Vec<Found> {
    let mut found = Vec::new();
    let mut highest = i64::MIN;
    for (id, (side, t)) in input.iter().enumerate() {
        let watermark = highest.saturating_sub(OUT_OF_ORDERNESS_MS);
        highest = highest.max(*t);
        let Either::Left(left) = side else { continue };
        if *t < watermark.saturating_sub(lateness_ms) {
            continue;
        }
        // It is decided before the first record whose watermark has passed it.
        let mut highest_then = highest;
        let decided = (id + 1..input.len()).find(|later| {
            let passed = *t < highest_then - OUT_OF_ORDERNESS_MS;
            highest_then = highest_then.max(input[*later].1);
            passed
        });
        let decided = if *t < watermark { id } else { decided.unwrap_or(input.len()) };
        let version = input[..decided]
            .iter()
            .filter_map(|(side, time)| Some((side.right()?, *time)))
            .filter(|(right, time)| right.0 == left.0 && *time <= *t && *time >= t - kept_ms)
            .max_by_key(|(right, time)| (*time, right.1));
        found.push((Some(left.1), version.map(|(right, _)| right.1), *t));
    }
    found
}

/// The times of a window join's pairs are the last of their windows.
fn windowed<S: Elements<Value = Sides>>(
    flow: Flow<S>,
    size_ms: u64,
) -> Flow<impl Elements<Value = (Option<usize>, Option<usize>)>> {
    let windows = Tumbling::of(Duration::from_millis(size_ms)).late(Late::DeadLetter);
    flow.key_by_either(|left| left.0, |right| right.0)
        .window_join("windows", windows)
        .map(|pair| (Some(pair.value.0.1), Some(pair.value.1.1)))
}

/// What a window join means for records that are not late.
fn pairs_of_windows(input: &[(Sides, i64)], size_ms: i64) -> Vec<Found> {
    let mut found = Vec::new();
    for (one, t) in input {
        for (other, time) in input {
            let (Either::Left(left), Either::Right(right)) = (one, other) else { continue };
            let window = t.div_euclid(size_ms);
            if left.0 == right.0 && window == time.div_euclid(size_ms) {
                found.push((Some(left.1), Some(right.1), (window + 1) * size_ms - 1));
            }
        }
    }
    found
}

fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_unstable();
    found
}

fn joins() -> impl Strategy<Value = Join> {
    let touch = prop_oneof![Just(Touch::All), Just(Touch::Last), Just(Touch::First)];
    let kind = prop_oneof![Just(Kind::Inner), Just(Kind::Left), Just(Kind::Full)];
    let bounds = (-2_000..1_000_i64, 2..2_500_i64, any::<(bool, bool)>());
    (touch, kind, bounds, any::<bool>()).prop_map(
        |(touch, kind, (lower, length, exclusive), late_joins)| {
            let upper = lower + length;
            Join { lower, upper, exclusive, touch, kind, late_joins }
        },
    )
}

/// Records whose times rise, in steps of which many are nothing, and fall back by up to this much.
fn records(count: usize, back_ms: i64) -> impl Strategy<Value = Vec<(Sides, i64)>> {
    let forward = prop_oneof![Just(0), 0..60_i64, 0..700_i64];
    let narrow = prop_oneof![Just(0), 0..1_500_u16];
    let back = prop_oneof![Just(0), 0..=back_ms];
    let step = (0..3_u8, any::<bool>(), forward, back, narrow);
    proptest::collection::vec(step, 0..count).prop_map(|steps| {
        let mut now = -3_000;
        let step =
            |(id, (key, is_left, forward, back, narrow)): (usize, (u8, bool, i64, i64, u16))| {
                now += forward;
                let item = (key, id, narrow);
                let side = if is_left { Either::Left(item) } else { Either::Right(item) };
                (side, now - back)
            };
        steps.into_iter().enumerate().map(step).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_not_late_is_joined_whatever_its_order(
        input in records(80, OUT_OF_ORDERNESS_MS), join in joins()
    ) {
        prop_assert_eq!(sorted(run(&input, join)), sorted(meaning(&input, join)));
    }

    #[test]
    fn late_records_are_rejected_or_join_what_is_held(
        input in records(80, 4_000), join in joins()
    ) {
        prop_assert_eq!(sorted(run(&input, join)), sorted(Steps::of(&input, join)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_record_finds_the_version_of_its_time(
        input in records(80, 4_000), kept_ms in 1..5_000_u64, lateness_ms in 0..2_000_u64
    ) {
        let found = collect(&input, |flow| tabled(flow, kept_ms, lateness_ms));
        let (kept, lateness) = (i64::try_from(kept_ms).unwrap(), i64::try_from(lateness_ms).unwrap());
        prop_assert_eq!(sorted(found), sorted(versions(&input, kept, lateness)));
    }

    #[test]
    fn pairs_of_one_window(
        input in records(60, OUT_OF_ORDERNESS_MS), size_ms in 900..5_000_u64
    ) {
        let found = collect(&input, |flow| windowed(flow, size_ms));
        let size = i64::try_from(size_ms).unwrap();
        prop_assert_eq!(sorted(found), sorted(pairs_of_windows(&input, size)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restart_changes_nothing_for_a_table(
        input in records(40, 2_500), kept_ms in 1..3_000_u64, lateness_ms in 0..2_000_u64
    ) {
        laws::operator(elements(&input, false), move |flow| tabled(flow, kept_ms, lateness_ms));
    }

    #[test]
    fn a_restart_changes_nothing_for_windows(input in records(40, 2_500), size_ms in 1..2_000_u64) {
        laws::operator(elements(&input, false), move |flow| windowed(flow, size_ms));
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(input in records(40, 2_500), join in joins()) {
        laws::operator(elements(&input, false), move |flow| joined(flow, join));
    }
}

/// Sends elements through a pipeline, state that is brought back before them and a barrier after them; what
/// came out, and the changes of the state.
fn with_state<S>(
    chunks: Vec<Chunk>,
    input: &[Element<Sides>],
    pipeline: impl FnOnce(Flow<Iter<IntoIter<Element<Sides>>>>) -> Flow<S>,
) -> (Vec<S::Value>, Vec<Chunk>)
where
    S: Elements,
{
    let (restoring, restored) = Barrier::restoring(at(0), chunks, true);
    let (barrier, gathering) = Barrier::new(at(0));
    let mut elements = vec![Element::Barrier(restoring)];
    elements.extend(input.iter().cloned());
    elements.push(Element::Barrier(barrier));
    let mut stream =
        pin!(pipeline(Flow::from_elements(futures::stream::iter(elements))).into_elements());
    let mut context = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    while let Poll::Ready(Some(element)) = stream.as_mut().poll_next(&mut context) {
        match element {
            Element::Record(record, _) => out.push(record.value),
            Element::Watermark(_) => {}
            Element::Barrier(barrier) => barrier.complete(),
        }
    }
    assert!(restored.finish().unwrap().is_ok());
    (out, gathering.finish().unwrap().unwrap().chunks)
}

#[test]
fn state_that_was_written_for_another_interval_is_taken_over() {
    let hours = |hours| {
        let join = IntervalJoin::between(Bound::before(Duration::from_hours(hours)), Bound::same());
        move |flow: Flow<Iter<IntoIter<Element<Sides>>>>| {
            flow.key_by_either(|left| left.0, |right| right.0)
                .interval_join("join", join.late(Late::Drop))
        }
    };
    let right = |id: usize, minute: i64| {
        let offset = i64::try_from(id).unwrap();
        Element::Record(read(Either::Right((1, id, 0)), minute * 60_000, offset), at(0))
    };
    let rights: Vec<_> = (0..20).map(|id| right(id, i64::try_from(id).unwrap() * 2)).collect();
    let (_, written) = with_state(Vec::new(), &rights, hours(24));
    let left = Element::Record(read(Either::Left((1, 20, 0)), 3_600_000, 20), at(0));
    let (pairs, rewritten) = with_state(written.clone(), &[left], hours(1));
    assert_eq!(pairs.len(), 20);
    // The next epoch moves everything to the buckets of the new interval.
    let dropped = |chunk: &&Chunk| matches!(chunk.change, BucketChange::Drop);
    assert_eq!(rewritten.iter().filter(dropped).count(), written.len());
    let moved = rewritten.into_iter().filter(|chunk| !matches!(chunk.change, BucketChange::Drop));
    let left = Element::Record(read(Either::Left((1, 21, 0)), 3_600_000, 21), at(0));
    let (pairs, _) = with_state(moved.collect(), &[left], hours(1));
    assert_eq!(pairs.len(), 20);
}
