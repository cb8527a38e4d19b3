//! `throttle` beside the last time of each key.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::testing::{TestFlow, laws};
use rtbflow::{Elements, Flow};

use crate::{Numbered, batch_sizes, disordered, in_bounds, numbered, out_of_bounds, results};

fn throttle(flow: TestFlow<Numbered>, interval_ms: u64) -> Flow<impl Elements<Value = Numbered>> {
    flow.key_by(|record| record.0).throttle("few", Duration::from_millis(interval_ms))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_that_is_an_interval_after_the_last(
        records in in_bounds(), sizes in batch_sizes(), interval_ms in 1..40_u64
    ) {
        let mut passed: Vec<(Numbered, i64)> = Vec::new();
        for (record, ms, _) in numbered(&records) {
            let last = passed.iter().rfind(|(before, _)| before.0 == record.0);
            if last.is_none_or(|(_, last)| ms - last >= interval_ms.cast_signed()) {
                passed.push((record, ms));
            }
        }
        prop_assert_eq!(results(&records, &sizes, |flow| throttle(flow, interval_ms)), passed);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), interval_ms in 1..40_u64) {
        let records = numbered(&records).into_iter().map(|(record, ms, _)| (record, ms));
        laws::operator(disordered(records), move |flow| throttle(flow, interval_ms));
    }
}
