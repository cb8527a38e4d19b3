//! What windows that slide keep: it follows the slices that have records, not the windows, nor the records.

use std::time::Duration;

use rtbflow::Timestamp;
use rtbflow::operators::window::{Count, Late, Max, Sliding};
use rtbflow::testing::TestDriver;
use rtbflow::testing::builders::at;

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

/// A count and the greatest value, over windows of this size that begin every second.
fn sliding(size: Duration) -> TestDriver<i64> {
    let driver = TestDriver::new(move |flow, outputs| {
        flow.key_by(|n| n % 10)
            .window(Sliding::of(size).every(SECOND).late(Late::Drop))
            .aggregate("last", (Count, Max::of(|n: &i64| *n)))
            .map(|last| last.value)
            .to(outputs.sink("last"))
    });
    driver.out_of_orderness(HOUR)
}

/// This many records of each of ten keys in each of twenty seconds, and a commit.
fn fill(driver: &mut TestDriver<i64>, records: i64) {
    for n in 0..records {
        for second in 0..20 {
            for key in 0..10 {
                driver.send(key, at(second * 1_000 + n));
            }
        }
    }
    driver.commit();
}

/// Buckets of the state, and bytes.
fn kept(driver: &TestDriver<i64>) -> (usize, usize) {
    (driver.state().len(), driver.state_bytes("last"))
}

#[test]
fn follows_slices_and_neither_windows_nor_records() {
    // Each record belongs to 3,600 windows.
    let mut hour = sliding(HOUR);
    fill(&mut hour, 3);
    let (buckets, bytes) = kept(&hour);
    assert_eq!(buckets, 20, "one for each second");
    // A key, its number, a count and the greatest value, two hundred times, and a frame for each second.
    assert!(bytes < 200 * 12 + 20 * 16, "{bytes} bytes");

    let mut five_times_the_records = sliding(HOUR);
    fill(&mut five_times_the_records, 15);
    assert_eq!(kept(&five_times_the_records), (buckets, bytes));

    let mut twice_the_windows = sliding(2 * HOUR);
    fill(&mut twice_the_windows, 3);
    assert_eq!(kept(&twice_the_windows), (buckets, bytes));
}

#[test]
fn goes_slice_by_slice_as_the_last_window_of_each_is_over() {
    let mut driver = sliding(HOUR);
    fill(&mut driver, 1);
    let hour = i64::try_from(HOUR.as_millis()).unwrap_or(0);
    // A slice is needed until the window that ends an hour after its start is over; one bucket says how
    // far windows were emitted.
    for (second, left) in [(0, 19), (1, 18), (10, 9), (18, 1), (19, 0)] {
        driver.advance_watermark(at(second * 1_000 + hour)).commit();
        assert_eq!(driver.state().len(), left + 1, "after {second} seconds");
    }
    driver.advance_watermark(Timestamp::MAX).commit();
    assert_eq!(driver.state().len(), 1);
}
