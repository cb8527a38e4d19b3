//! The laws of sinks: what is taken is staged once, for the places that were named.

use crate::record::Record;
use crate::sink::Sink;
use crate::staged::{Place, Staged};
use crate::testing::laws::law_now;

/// Checks that a sink keeps the laws of [`Sink`], with these records, all of which its place can take.
///
/// ```
/// use rtbflow::epoch::Memory;
/// use rtbflow::testing::builders::record;
/// use rtbflow::testing::laws;
///
/// let place = Memory::new();
/// laws::sink(|| place.collected::<i64>().sink(), &[record(1, 0), record(2, 5)]);
/// ```
///
/// # Panics
/// If a law is broken; stderr says which.
pub fn sink<T, K: Sink<T>>(sink: impl Fn() -> K, records: &[Record<T>]) {
    assert!(!records.is_empty(), "the laws need a record");
    law_now("a sink that took nothing stages nothing", || nothing(sink()));
    law_now("what was taken is pending until it is staged, and staged once", || {
        once(sink(), records);
    });
    law_now("each place gets one batch at most, and each was named before", || {
        batches(sink(), records);
    });
    law_now("to ask whether a record can be taken takes nothing", || asks(&sink(), records));
    law_now("staging often stages no fewer rows than staging once", || {
        often(sink(), sink(), records);
    });
}

fn nothing<T, K: Sink<T>>(mut sink: K) {
    assert_eq!(sink.pending(), 0);
    assert!(staged(&mut sink).is_empty());
}

fn once<T, K: Sink<T>>(mut sink: K, records: &[Record<T>]) {
    for _ in 0..3 {
        take(&mut sink, records);
        assert!(sink.pending() > 0, "records were taken and nothing is pending");
        assert!(!staged(&mut sink).is_empty(), "records were taken and nothing is staged");
        assert_eq!(sink.pending(), 0, "all was staged and something is pending");
        assert!(staged(&mut sink).is_empty(), "the same records were staged twice");
    }
}

fn batches<T, K: Sink<T>>(mut sink: K, records: &[Record<T>]) {
    let named = sink.places();
    assert!(!named.is_empty(), "a sink names its places");
    take(&mut sink, records);
    let mut places: Vec<Place> = Vec::new();
    for Staged { place, rows, .. } in staged(&mut sink) {
        assert!(rows > 0, "a batch for {} without rows", place.kind());
        assert!(named.contains(&place), "a batch for {}, which was not named", place.kind());
        assert!(!places.contains(&place), "two batches for {}", place.kind());
        places.push(place);
    }
    assert_eq!(sink.places(), named, "the places stay the same");
}

fn asks<T, K: Sink<T>>(sink: &K, records: &[Record<T>]) {
    for record in records {
        assert_eq!(sink.check(record), Ok(()), "the place can take the records of the laws");
    }
    assert_eq!(sink.pending(), 0);
}

fn often<T, K: Sink<T>>(mut often: K, mut once: K, records: &[Record<T>]) {
    let mut rows = 0;
    for record in records {
        take(&mut often, std::slice::from_ref(record));
        rows += count(&staged(&mut often));
    }
    take(&mut once, records);
    assert!(rows >= count(&staged(&mut once)), "rows appear from nowhere");
}

fn take<T, K: Sink<T>>(sink: &mut K, records: &[Record<T>]) {
    records.iter().for_each(|record| sink.write(record));
}

fn staged<T, K: Sink<T>>(sink: &mut K) -> Vec<Staged> {
    let mut out = Vec::new();
    sink.stage(&mut out);
    out
}

fn count(staged: &[Staged]) -> usize {
    staged.iter().map(|staged| staged.rows).sum()
}
