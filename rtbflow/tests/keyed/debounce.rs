//! `debounce` beside all records, each of which is compared with all others.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::testing::{TestFlow, laws};
use rtbflow::{Elements, Flow};

use crate::{Numbered, batch_sizes, disordered, in_bounds, numbered, out_of_bounds, results};

fn debounce(flow: TestFlow<Numbered>, quiet_ms: u64) -> Flow<impl Elements<Value = Numbered>> {
    flow.key_by(|record| record.0).debounce("last", Duration::from_millis(quiet_ms))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_that_none_follows_whatever_the_order(
        records in in_bounds(), sizes in batch_sizes(), quiet_ms in 1..40_u64
    ) {
        let all = numbered(&records);
        let is_last = |(record, ms, _): &&(Numbered, i64, i64)| {
            !all.iter().any(|(other, later, _)| {
                let follows = (later, other.1) > (ms, record.1);
                other.0 == record.0 && follows && later - ms < quiet_ms.cast_signed()
            })
        };
        let mut expected: Vec<_> = all.iter().filter(is_last).map(|(record, ms, _)| (*record, *ms)).collect();
        let mut found = results(&records, &sizes, |flow| debounce(flow, quiet_ms));
        prop_assert!(found.is_sorted_by_key(|(_, ms)| *ms), "in order of time");
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), quiet_ms in 1..40_u64) {
        let records = numbered(&records).into_iter().map(|(record, ms, _)| (record, ms));
        laws::operator(disordered(records), move |flow| debounce(flow, quiet_ms));
    }
}
