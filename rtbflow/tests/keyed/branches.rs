//! `split`, `split_by`, `tee` and `union` beside the flow that was not split.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::Either;
use rtbflow::operators::window::{Count, Late, Tumbling};
use rtbflow::testing::laws;

use crate::{Numbered, batch_sizes, disordered, numbered, out_of_bounds, results};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn branches_are_merged_as_they_were_before(records in out_of_bounds(), sizes in batch_sizes()) {
        let wanted = |record: &Numbered| record.1 % 5 != 4;
        let whole = results(&records, &sizes, |flow| flow.filter(wanted));
        let by_condition = results(&records, &sizes, |flow| {
            let (one, other) = flow.split_by(|record| record.0 == 1);
            one.filter(wanted).union(other.filter(wanted))
        });
        prop_assert_eq!(&by_condition, &whole);
        let by_kind = results(&records, &sizes, |flow| {
            let kind = |record: Numbered| match record.0 {
                1 => Either::Left(record),
                _ => Either::Right(record),
            };
            let (one, other) = flow.map(kind).split();
            other.filter(wanted).union(one.filter(wanted))
        });
        prop_assert_eq!(by_kind, whole);
    }

    #[test]
    fn both_copies_of_a_record_come_together(records in out_of_bounds(), sizes in batch_sizes()) {
        let copies = results(&records, &sizes, |flow| {
            let (one, other) = flow.tee();
            one.filter(|record| record.1 % 2 == 0).union(other.filter(|record| record.1 % 3 == 0))
        });
        let expected = numbered(&records).into_iter().flat_map(|(record, ms, _)| {
            let both = [record.1 % 2 == 0, record.1 % 3 == 0];
            both.into_iter().filter(|copy| *copy).map(move |_| (record, ms))
        });
        prop_assert_eq!(copies, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_late_behind_a_union_was_late_before(
        records in out_of_bounds(), sizes in batch_sizes(), size_ms in 1..30_u64
    ) {
        let window = Tumbling::of(Duration::from_millis(size_ms)).late(Late::Drop);
        let whole = results(&records, &sizes, |flow| {
            flow.key_by(|record| record.0).window(window).aggregate("counts", Count)
        });
        let merged = results(&records, &sizes, |flow| {
            let (even, odd) = flow.split_by(|record| record.1 % 2 == 0);
            even.union(odd).key_by(|record| record.0).window(window).aggregate("counts", Count)
        });
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), interval_ms in 1..20_u64) {
        let records = numbered(&records).into_iter().map(|(record, ms, _)| (record, ms));
        laws::operator(disordered(records), move |flow| {
            let interval = Duration::from_millis(interval_ms);
            let (one, other) = flow.split_by(|record| record.0 == 1);
            let one = one.key_by(|record| record.0).throttle("one", interval);
            one.union(other.delay("other", interval, move |record| record.timestamp + interval))
        });
    }
}
