//! What the pipelines emit depends on their records alone: not on where epochs end, nor on how many
//! instances and tasks read, nor on the order in which partitions arrive, nor on what goes wrong meanwhile.
//!
//! Records are made at random; what has to come of them, a loop over them says. Each set is read by one task
//! and by several, under a handful of seeded storms.

#![cfg(test)]

mod matching;
mod performance;

use proptest::prelude::*;
use rtbflow::Timestamp;

/// 2024-01-15T10:30:00Z.
const START_MS: i64 = 1_705_314_600_000;
/// How far the records of a partition are out of order.
const BACK_MS: i64 = 5_000;
/// Storms for each set of records.
const SEEDS: u64 = 4;
/// Sets of records.
const SETS: u32 = 8;

/// The times of a partition's records, from the steps between them and how far each falls back.
fn times(steps: &[(i64, i64)]) -> impl Iterator<Item = Timestamp> {
    let mut now = START_MS;
    steps.iter().map(move |(step, back)| {
        now += step;
        Timestamp::from_millis(now - back)
    })
}

/// Steps of up to this many milliseconds, and how far each falls back.
fn step(most_ms: i64) -> impl Strategy<Value = (i64, i64)> {
    (0..most_ms, 0..=BACK_MS)
}
