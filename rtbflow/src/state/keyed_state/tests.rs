//! A table of values by key against a map, through changes, barriers and restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::segment::Written;
use super::*;
use crate::chunk::{BucketChange, Chunk};
use crate::state::{ChunkReader, ChunkWriter, Snapshot};
use crate::testing::builders::at;

type State = KeyedState<u16, i64>;

/// What a place keeps.
#[derive(Default)]
struct Log(BTreeMap<i64, Vec<Chunk>>);

impl Log {
    fn take(&mut self, state: &mut State) {
        for chunk in Snapshot::of(|snapshot| state.snapshot(snapshot)) {
            match &chunk.change {
                BucketChange::Append(_) => self.0.entry(chunk.bucket).or_default().push(chunk),
                BucketChange::Replace(_) => drop(self.0.insert(chunk.bucket, vec![chunk])),
                BucketChange::Drop => drop(self.0.remove(&chunk.bucket)),
            }
        }
    }

    fn restored(&self) -> State {
        let mut state = State::new(1);
        for chunk in self.0.values().flatten() {
            state.restore(chunk).unwrap();
        }
        state
    }

    fn entries(&self) -> usize {
        let count = |chunk: &Chunk| {
            let mut entries = ChunkReader::open(chunk, 1).unwrap();
            let next = || entries.next_entry::<Written<u16, i64>>().unwrap();
            std::iter::from_fn(next).count()
        };
        self.0.values().flatten().map(count).sum()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, i64),
    Remove(u16),
    Forget(i64),
    Barrier,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..1_100_u16;
    prop_oneof![
        6 => (key.clone(), prop_oneof![0..60_i64, Just(i64::MAX)]).prop_map(|(key, until)| Step::Put(key, until)),
        2 => key.prop_map(Step::Remove),
        1 => (0..60_i64).prop_map(Step::Forget),
        1 => Just(Step::Barrier),
        1 => Just(Step::Restart),
    ]
}

fn take(state: &mut State, model: &mut BTreeMap<u16, (i64, i64)>, step: &Step, number: i64) {
    match *step {
        Step::Put(key, until) => {
            model.insert(key, (number, until));
            match state.find(&key) {
                Some(slot) => {
                    *state.get_mut(slot).unwrap().1 = number;
                    state.expire(slot, at(until));
                }
                None => drop(state.insert(key, number, at(until))),
            }
        }
        Step::Remove(key) => {
            let known = model.remove(&key).map(|(value, _)| value);
            assert_eq!(state.find(&key).and_then(|slot| state.remove(slot)), known);
        }
        Step::Forget(now) => {
            model.retain(|_, (_, until)| *until > now);
            state.forget(at(now));
        }
        Step::Barrier | Step::Restart => {}
    }
}

fn same(state: &State, model: &BTreeMap<u16, (i64, i64)>) {
    assert_eq!(state.len(), model.len());
    for (key, (value, _)) in model {
        let found = state.find(key).and_then(|slot| state.get(slot));
        assert_eq!(found, Some((key, value)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn is_a_map_through_changes_barriers_and_restarts(
        steps in proptest::collection::vec(step(), 0..150), crowded: bool
    ) {
        let (mut state, mut model, mut log) = (State::new(1), BTreeMap::new(), Log::default());
        // More than one segment, in some cases.
        for key in 0..if crowded { 1_090 } else { 0 } {
            take(&mut state, &mut model, &Step::Put(key, i64::MAX), -1);
        }
        for (number, step) in (0..).zip(&steps) {
            take(&mut state, &mut model, step, number);
            if matches!(step, Step::Barrier | Step::Restart) {
                log.take(&mut state);
                same(&log.restored(), &model);
            }
            if matches!(step, Step::Restart) {
                state = log.restored();
            }
            assert_eq!(state.len(), model.len());
        }
        same(&state, &model);
    }
}

#[test]
fn what_came_and_went_within_an_epoch_leaves_nothing() {
    let (mut state, mut log) = (State::new(1), Log::default());
    let slot = state.insert(1, 1, Timestamp::MAX);
    state.remove(slot);
    log.take(&mut state);
    assert!(log.0.is_empty());
}

#[test]
fn the_log_stays_within_twice_what_is_alive() {
    let (mut state, mut log) = (State::new(1), Log::default());
    for key in 0..3_000 {
        state.insert(key, 0, at(i64::from(key)));
    }
    for now in 0..300 {
        state.forget(at(now * 10));
        log.take(&mut state);
        let (live, logged) = (state.len(), log.entries());
        assert!(logged <= 3 * 64 + 2 * live, "{logged} entries for {live}");
    }
    state.forget(at(3_000));
    log.take(&mut state);
    assert!(log.0.is_empty() && state.due.is_empty(), "nothing is left of the last one");
}

#[test]
fn a_chunk_of_another_kind_of_operator_is_refused() {
    let mut entries = ChunkWriter::new(1);
    entries.put(&(1_u16, Some((1_i64, 1_i64))));
    let change = BucketChange::Append(entries.finish().unwrap());
    let chunk = Chunk { operator: "windows".into(), bucket: 1_700_000_000_000, change };
    let error = State::new(1).restore(&chunk).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("another kind"), "{error}");
}
