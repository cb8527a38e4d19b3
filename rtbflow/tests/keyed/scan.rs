//! `scan` beside a list of all that came.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::process::Retention;
use rtbflow::testing::{TestFlow, laws};
use rtbflow::{Elements, Flow};

use crate::{Numbered, batch_sizes, disordered, in_bounds, numbered, out_of_bounds, results};

/// The numbers of all records of the key so far that were not forgotten.
fn so_far(
    flow: TestFlow<Numbered>,
    retention: Retention,
) -> Flow<impl Elements<Value = Vec<usize>>> {
    flow.key_by(|record| record.0).scan("so far", retention, |all: &mut Vec<usize>, (_, number)| {
        all.push(number);
        all.clone()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_finds_all_of_its_key_before_it(
        records in in_bounds(), sizes in batch_sizes(), kept_ms in 0..60_i64
    ) {
        let all = numbered(&records);
        let mut expected = Vec::new();
        for (record, ms, watermark) in &all {
            // From the last at which nothing was kept any more.
            let mut found: Vec<usize> = Vec::new();
            let mut until = i64::MIN;
            for (other, at, before) in all.iter().take(record.1 + 1).filter(|(other, ..)| other.0 == record.0) {
                if until <= *before {
                    found.clear();
                }
                found.push(other.1);
                until = until.max(at.max(before) + kept_ms);
            }
            prop_assert!(ms >= watermark, "none is late");
            expected.push((found, *ms));
        }
        let retention = Retention::after_change(Duration::from_millis(kept_ms.unsigned_abs()));
        prop_assert_eq!(results(&records, &sizes, |flow| so_far(flow, retention)), expected);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), kept_ms in 0..60_u64) {
        let records = numbered(&records).into_iter().map(|(record, ms, _)| (record, ms));
        let retention = Retention::after_change(Duration::from_millis(kept_ms));
        laws::operator(disordered(records), move |flow| so_far(flow, retention));
    }
}
