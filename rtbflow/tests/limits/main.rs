//! What a process takes of memory where others do their worst: a place that stands still, keys that are all different or
//! nearly all the same, and values that are as large as may be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod payloads;
mod still;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rtbflow::epoch::Memory;
use rtbflow::operators::window::{Late, Tumbling};
use rtbflow::source::IteratorSource;
use rtbflow::{Job, Timestamp};

use self::payloads::Payloads;
use self::still::Still;

const MIB: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

/// Runs a test in a process of its own: the memory that is looked at is that of the process, and what another test has
/// given back is in nobody's way.
fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var_os("RTBFLOW_TEST_ALONE").is_some() {
        return test();
    }
    let mut itself = Command::new(std::env::current_exe().unwrap());
    itself.args([name, "--exact", "--nocapture"]).env("RTBFLOW_TEST_ALONE", "1");
    let ended = itself.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ended.status.success(), "{}{}", said(&ended.stdout), said(&ended.stderr));
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A number that a longer run sets.
fn given(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// Whether memory stays below a bound for as long as this takes.
async fn watch(bound: u64, time: Duration) {
    let before = resident();
    let looks = time.as_millis() / 100;
    for _ in 0..looks {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let more = resident().saturating_sub(before);
        assert!(more < bound, "{} MiB more than before, of {}", more / MIB, bound / MIB);
    }
}

/// Of one task: two epochs on their way and one that is filled, each with 16 MiB of batches and one batch more; what is
/// staged of them, as large again; two batches at hand; and what the allocator leaves unused.
const STILL: u64 = 3 * 2 * (16 + 1) * MIB + 2 * MIB + 24 * MIB;

#[test]
fn memory_stays_below_what_is_said_while_the_place_stands_still() {
    alone("memory_stays_below_what_is_said_while_the_place_stands_still", stand_still);
}

fn stand_still() {
    run(async {
        let payloads = Payloads::endless(2 << 10, 500);
        let read = payloads.read();
        let place = Still::default();
        let sink = place.memory.collected::<Vec<u8>>();
        let job = Job::new("still").source(payloads).anchor(place.clone());
        let job = job.pipeline(move |values| values.to(sink.sink()));
        let end = Duration::from_secs(given("RTBFLOW_TEST_STILL_SECONDS", 20));
        let watched = async {
            watch(STILL, end / 2).await;
            let taken = read();
            assert!(taken > 0 && place.asked(), "the job has not begun");
            watch(STILL, end / 2).await;
            // Not slowly, either.
            assert_eq!(read(), taken, "more was taken in");
        };
        let job = job.stop_deadline(Duration::from_millis(100)).run_until(watched);
        let _ended = tokio::time::timeout(end + Duration::from_secs(30), job).await.unwrap();
    });
}

/// Keys that are all different, half of them an hour and more before the others: what the first took is given back, or
/// taken again.
#[test]
fn keys_that_are_all_different_take_memory_for_as_long_as_they_are_remembered() {
    alone(
        "keys_that_are_all_different_take_memory_for_as_long_as_they_are_remembered",
        all_different,
    );
}

fn all_different() {
    let keys = given("RTBFLOW_TEST_HOSTILE_KEYS", 1_000_000);
    let half = keys / 2;
    let before = resident();
    let middle = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&middle);
    let time = move |n: &u64| Timestamp::from_millis(if *n < half { 0 } else { 2 * HOUR_MS });
    let source = IteratorSource::new("ids", move || 0..keys).event_time(time, Duration::ZERO);
    let place = Memory::new();
    let count = place.collected::<u64>();
    let sink = count.clone();
    let job = Job::new("ids").source(source).anchor(place).pipeline(move |ids| {
        let noted = Arc::clone(&noted);
        ids.key_by(|n| format!("click-{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .dedup("ids", Duration::from_hours(1))
            .inspect(move |n| {
                if n.value == half {
                    *noted.lock().unwrap() = resident();
                }
            })
            // Each hundred thousandth, so that the results take nothing.
            .filter(|n| n % 100_000 == 0)
            .to(sink.sink())
    });
    let report = run(job.run_until(std::future::pending())).unwrap();
    assert_eq!((report.records_in(), count.values().len() as u64), (keys, keys.div_ceil(100_000)));
    let (middle, end) = (*middle.lock().unwrap(), resident());
    let first = middle.saturating_sub(before);
    // An id of 22 bytes, with its time, in the operator and in the place, which is memory here.
    assert!(first < half * 400 + 32 * MIB, "{} bytes for each of {half} keys", first / half);
    let second = end.saturating_sub(middle);
    assert!(second < first / 2 + 32 * MIB, "{} MiB, and {} more", first / MIB, second / MIB);
}

#[test]
fn a_key_that_has_half_of_all_records_is_counted_like_the_others() {
    alone("a_key_that_has_half_of_all_records_is_counted_like_the_others", half_of_all);
}

fn half_of_all() {
    let source = IteratorSource::new("clicks", || 0..400_000_u64)
        .event_time(|_| Timestamp::from_millis(0), Duration::ZERO);
    let place = Memory::new();
    let counts = place.collected::<(u64, u64)>();
    let sink = counts.clone();
    let job = Job::new("hot").source(source).anchor(place).pipeline(move |clicks| {
        clicks
            .key_by(|n| if n % 2 == 0 { 0 } else { *n })
            .window(Tumbling::of(Duration::from_mins(1)).late(Late::Drop))
            .discarding()
            .count("clicks")
            .map(|window| (window.key, window.value))
            .filter(|(_, count)| *count > 1)
            .to(sink.sink())
    });
    run(job.until_end(true).run_until(std::future::pending())).unwrap();
    assert_eq!(counts.values(), [(0, 200_000)]);
}

#[test]
fn values_of_16_mib_go_through_one_by_one() {
    alone("values_of_16_mib_go_through_one_by_one", large_values);
}

fn large_values() {
    let before = resident();
    let payloads = Payloads::some(16 << 20, 1, 24);
    let place = Memory::new();
    let lengths = place.collected::<usize>();
    let sink = lengths.clone();
    let most = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&most);
    let job = Job::new("large").source(payloads).anchor(place).pipeline(move |values| {
        let noted = Arc::clone(&noted);
        values
            .inspect(move |_| {
                let mut most = noted.lock().unwrap();
                *most = resident().max(*most);
            })
            .map(|value| value.len())
            .to(sink.sink())
    });
    run(job.run_until(std::future::pending())).unwrap();
    assert_eq!(lengths.values(), [16 << 20; 24]);
    // Those of three epochs, each of one or two records, and of two batches at hand; all 24 are 384 MiB.
    let more = most.lock().unwrap().saturating_sub(before);
    assert!(more < 10 * 16 * MIB, "{} MiB", more / MIB);
}
