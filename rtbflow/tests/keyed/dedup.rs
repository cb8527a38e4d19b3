//! `dedup` beside a list of all that was kept.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::Dedup;
use rtbflow::operators::window::Late;
use rtbflow::testing::{TestFlow, laws, run};
use rtbflow::{Either, Elements, Flow};

use crate::{disordered, in_bounds, out_of_bounds};

type Numbered = (u8, usize);

fn numbered(records: Vec<(u8, i64)>) -> Vec<(Numbered, i64)> {
    let number = |(number, (key, ms)): (usize, (u8, i64))| ((key, number), ms);
    records.into_iter().enumerate().map(number).collect()
}

fn dedup(
    flow: TestFlow<Numbered>,
    dedup: Dedup,
) -> Flow<impl Elements<Value = Either<Numbered, Numbered>>> {
    flow.key_by(|record| record.0).dedup_either("ids", dedup)
}

/// Which are first and which repeats.
fn model(records: &[(Numbered, i64)], within: i64) -> Vec<Either<Numbered, Numbered>> {
    let mut kept: Vec<(u8, i64)> = Vec::new();
    let tell = |&(record, ms): &(Numbered, i64)| {
        if kept.iter().any(|(key, at)| *key == record.0 && (at - ms).abs() < within) {
            return Either::Right(record);
        }
        kept.push((record.0, ms));
        Either::Left(record)
    };
    records.iter().map(tell).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_not_behind_the_watermark_is_decided_exactly(records in in_bounds(), within in 1..40_i64) {
        let records = numbered(records);
        let duration = Duration::from_millis(within.unsigned_abs());
        let clicks = run(disordered(records.clone()), |flow| dedup(flow, duration.into()));
        prop_assert_eq!(clicks, model(&records, within));
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), within in 1..40_u64, late in 0..3) {
        let options = Dedup::within(Duration::from_millis(within));
        let options = match late {
            0 => options,
            1 => options.late(Late::Drop),
            _ => options.late(Late::DeadLetter),
        };
        let records = disordered(numbered(records));
        laws::operator(records.clone(), move |flow| dedup(flow, options));
        laws::operator(records, move |flow| flow.key_by(|record| record.0).dedup("ids", options));
    }
}
