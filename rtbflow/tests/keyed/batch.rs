//! `batch` beside one list per key.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::testing::{TestFlow, laws};
use rtbflow::{Elements, Flow};

use crate::{Numbered, batch_sizes, disordered, in_bounds, numbered, out_of_bounds, results};

type List = Vec<Numbered>;

fn batch(
    flow: TestFlow<Numbered>,
    most: usize,
    within_ms: u64,
) -> Flow<impl Elements<Value = List>> {
    flow.key_by(|record| record.0).batch("lists", most, Duration::from_millis(within_ms))
}

/// The lists of one key, each with the latest time in it.
fn lists(records: &[(u8, i64)], key: u8, most: usize, within_ms: i64) -> Vec<(List, i64)> {
    let mut lists = Vec::new();
    let mut list: Vec<(Numbered, i64)> = Vec::new();
    let mut end = |list: &mut Vec<(Numbered, i64)>, now: i64| {
        let Some((_, first)) = list.first() else { return };
        if first + within_ms <= now || list.len() >= most {
            let latest = list.iter().map(|(_, ms)| *ms).max().unwrap_or(*first);
            lists.push((list.drain(..).map(|(record, _)| record).collect(), latest));
        }
    };
    for (record, ms, watermark) in numbered(records) {
        end(&mut list, watermark);
        if record.0 == key {
            end(&mut list, ms);
            list.push((record, ms));
            // A list whose time is over as it begins waits for nothing.
            end(&mut list, watermark);
        }
    }
    end(&mut list, i64::MAX);
    lists
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lists_are_full_or_their_time_is_over(
        records in in_bounds(), sizes in batch_sizes(), most in 1..5_usize, within_ms in 1..40_u64
    ) {
        let mut found = results(&records, &sizes, |flow| batch(flow, most, within_ms));
        found.sort_by_key(|(list, _)| list.first().map(|record| record.0));
        let within_ms = within_ms.cast_signed();
        let expected: Vec<_> = (0..3).flat_map(|key| lists(&records, key, most, within_ms)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(
        records in out_of_bounds(), most in 1..5_usize, within_ms in 1..40_u64
    ) {
        let records = numbered(&records).into_iter().map(|(record, ms, _)| (record, ms));
        laws::operator(disordered(records), move |flow| batch(flow, most, within_ms));
    }
}
