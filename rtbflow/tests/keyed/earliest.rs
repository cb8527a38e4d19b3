//! `earliest` beside all records, sorted.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::window::Late;
use rtbflow::testing::{TestFlow, laws, run};
use rtbflow::{Elements, Flow};

use crate::{OUT_OF_ORDERNESS_MS, disordered, in_bounds, out_of_bounds};

fn earliest(
    flow: TestFlow<(u8, i64)>,
    within_ms: i64,
    late: Late,
) -> Flow<impl Elements<Value = (u8, i64)>> {
    let within = Duration::from_millis(within_ms.unsigned_abs());
    flow.key_by(|record| record.0).earliest("first", within, late)
}

fn timed(records: &[(u8, i64)]) -> Vec<((u8, i64), i64)> {
    records.iter().map(|record| (*record, record.1)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_comes_out_is_what_sorting_gives(
        records in in_bounds(), longer_ms in 1..40_i64
    ) {
        let within = OUT_OF_ORDERNESS_MS + longer_ms;
        let mut sorted = records.clone();
        sorted.sort_by_key(|record| record.1);
        let mut kept: BTreeMap<u8, i64> = BTreeMap::new();
        sorted.retain(|(key, ms)| {
            let first = kept.get(key).is_none_or(|first| first + within <= *ms);
            if first {
                kept.insert(*key, *ms);
            }
            first
        });
        let mut found = run(disordered(timed(&records)), |flow| earliest(flow, within, Late::Drop));
        prop_assert!(found.is_sorted_by_key(|record| record.1), "in order of time");
        sorted.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, sorted);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(
        records in out_of_bounds(), within_ms in 1..40_i64, letters: bool
    ) {
        let late = if letters { Late::DeadLetter } else { Late::Drop };
        laws::operator(disordered(timed(&records)), move |flow| earliest(flow, within_ms, late));
    }
}
