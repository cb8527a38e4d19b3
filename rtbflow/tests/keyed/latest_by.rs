//! `latest_by` beside a list of all that came.

use std::time::Duration;

use proptest::prelude::*;
use rtbflow::operators::{Change, Latest};
use rtbflow::testing::{TestFlow, laws, run};
use rtbflow::{Elements, Flow};

use crate::{OUT_OF_ORDERNESS_MS, disordered, in_bounds, out_of_bounds};

/// Key, event time and number.
type Version = (u8, i64, usize);

fn versions(records: Vec<(u8, i64)>) -> Vec<(Version, i64)> {
    let version = |(number, (key, ms)): (usize, (u8, i64))| ((key, ms, number), ms);
    records.into_iter().enumerate().map(version).collect()
}

fn is_deleted(version: &Version) -> bool {
    version.2.is_multiple_of(3)
}

fn latest(kept_ms: u64, until_deleted: bool) -> Latest<Version> {
    let kept_for = Duration::from_millis(kept_ms);
    match until_deleted {
        true => Latest::until_deleted(is_deleted, kept_for),
        false => Latest::kept_for(kept_for),
    }
}

fn latest_by(
    flow: TestFlow<Version>,
    latest: Latest<Version>,
) -> Flow<impl Elements<Value = Change<Version>>> {
    flow.key_by(|version| version.0).latest_by("newest", latest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_that_is_newer_than_what_is_remembered(records in in_bounds(), kept_ms in 1..30_i64) {
        let (mut watermark, mut expected) = (i64::MIN, Vec::new());
        let mut newest: Vec<(Version, i64)> = Vec::new();
        for (new, ms) in versions(records.clone()) {
            newest.retain(|(_, at)| at + kept_ms > watermark);
            let old = newest.iter().position(|(old, _)| old.0 == new.0);
            watermark = watermark.max(ms - OUT_OF_ORDERNESS_MS);
            match old.and_then(|old| newest.get_mut(old)) {
                Some((_, at)) if *at > ms => {}
                Some(kept) => {
                    expected.push(Change { old: Some(kept.0), new });
                    *kept = (new, ms);
                }
                None => {
                    expected.push(Change { old: None, new });
                    newest.push((new, ms));
                }
            }
        }
        let found = run(disordered(versions(records)), |flow| {
            latest_by(flow, latest(kept_ms.unsigned_abs(), false))
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn each_that_is_newer_than_all_before(records in in_bounds()) {
        let versions = versions(records);
        let mut expected = Vec::new();
        for (number, (new, ms)) in versions.iter().enumerate() {
            let before = versions.iter().take(number).filter(|(old, _)| old.0 == new.0);
            let newest = before.max_by_key(|(old, at)| (*at, old.2)).copied();
            if newest.is_none_or(|(_, newest)| newest <= *ms) {
                expected.push(Change { old: newest.map(|(old, _)| old), new: *new });
            }
        }
        // Longer than all of it takes.
        for until_deleted in [true, false] {
            let found = run(disordered(versions.clone()), |flow| latest_by(flow, latest(1_000, until_deleted)));
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(
        records in out_of_bounds(), kept_ms in prop_oneof![1..3_u64, 1..100_u64], until_deleted: bool
    ) {
        let records = disordered(versions(records));
        laws::operator(records, move |flow| latest_by(flow, latest(kept_ms, until_deleted)));
    }
}
