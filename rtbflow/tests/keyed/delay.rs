//! `delay` beside a list of what is held, which is sorted.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::testing::builders::at;
use rtbflow::testing::{TestFlow, laws};
use rtbflow::{Elements, Flow};

use crate::{Numbered, batch_sizes, disordered, in_bounds, numbered, out_of_bounds, results};

/// Until when a record is held: some earlier than its own time, some longer than may be.
fn until(record: Numbered, ms: i64) -> i64 {
    let offsets = [0, 25, -5, 7, 7, 60];
    ms + offsets.iter().cycle().nth(record.1 % 6 + usize::from(record.0)).unwrap_or(&0)
}

fn delay(flow: TestFlow<Numbered>, longest_ms: u64) -> Flow<impl Elements<Value = Numbered>> {
    flow.delay("held", Duration::from_millis(longest_ms), |record| {
        at(until(record.value, record.timestamp.as_millis()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_leave_when_their_time_has_come(
        records in in_bounds(), sizes in batch_sizes(), longest_ms in 1..50_u64
    ) {
        let (mut held, mut left) = (Vec::new(), Vec::new());
        let leave = |held: &mut Vec<(i64, Numbered)>, left: &mut Vec<_>, watermark| {
            held.sort_by_key(|(due, record)| (*due, record.1));
            let count = held.partition_point(|(due, _)| *due <= watermark);
            left.extend(held.drain(..count).map(|(due, record)| (record, due)));
        };
        for (record, ms, watermark) in numbered(&records) {
            leave(&mut held, &mut left, watermark);
            held.push((until(record, ms).clamp(ms, ms + longest_ms.cast_signed()), record));
            leave(&mut held, &mut left, watermark);
        }
        leave(&mut held, &mut left, i64::MAX);
        prop_assert_eq!(results(&records, &sizes, |flow| delay(flow, longest_ms)), left);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), longest_ms in 1..50_u64) {
        let records = numbered(&records).into_iter().map(|(record, ms, _)| (record, ms));
        laws::operator(disordered(records), move |flow| delay(flow, longest_ms));
    }
}
