//! The driver does what a job would, step by step.

use super::*;
use crate::chunk::Chunk;
use crate::operators::window::{Count, Late, Tumbling};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::state::{ChunkReader, ChunkWriter};

fn counting() -> TestDriver<u32> {
    TestDriver::new(|numbers, outputs| {
        let (small, large) = numbers.split_by(|n| *n < 100);
        let window = Tumbling::of(Duration::from_secs(1)).late(Late::DeadLetter);
        let counts = small.key_by(|n| *n % 2).window(window).aggregate("small", Count);
        let counts = counts.map(|window| (window.key, window.value));
        counts.to(outputs.sink("counts")).and(large.to(outputs.sink("large")))
    })
}

#[test]
fn a_pipeline_has_several_ends() {
    let mut driver = counting();
    driver.send(1, at(0)).send(200, at(500)).send(3, at(900)).send(300, at(1_100));
    driver.expect("counts", [(1_u32, 2_u64)]);
    driver.expect("large", [200_u32, 300]);
    driver.expect::<u32>("large", []);
    let drawn = driver.topology().to_string();
    assert!(drawn.contains("window \"small\""), "{drawn}");
}

#[test]
fn a_crash_at_any_commit_changes_nothing() {
    for crash_back_to in 0..=5 {
        let mut driver = counting().out_of_orderness(Duration::from_millis(300));
        for (n, ms) in [(1, 0), (200, 500), (3, 250), (4, 1_400), (5, 100)] {
            driver.send(n, at(ms)).commit();
        }
        driver.crash_back_to(crash_back_to);
        driver.advance_watermark(Timestamp::MAX);
        driver.expect("counts", [(1_u32, 2_u64), (0, 1)]);
        driver.expect("large", [200_u32]);
        assert_eq!(driver.dead_letters().len(), 1, "the last came after its window");
        assert_eq!((driver.dead_letters()[0].0, driver.tally().late), (4, 1));
        assert!(driver.state().is_empty(), "{:?}", driver.state());
    }
}

#[test]
fn what_was_not_committed_is_read_again() {
    let mut driver = counting();
    driver.send(200, at(0)).crash();
    assert!(driver.take::<u32>("large").is_empty());
    driver.expect("large", [200_u32]);
    driver.crash().crash();
    driver.expect::<u32>("large", []);
    driver.crash_back_to(0);
    driver.expect("large", [200_u32]);
}

/// Emits what the wall clock shows.
struct Clock;

impl Logic for Clock {
    type In = u32;
    type Out = i64;
    const VERSION: u16 = 1;

    fn on_record(&mut self, _record: crate::Record<u32>, _out: &mut Outbox<i64>) {}
    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<i64>) {
        out.push(crate::Record::derived(wall_clock.as_millis(), wall_clock));
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        snapshot.replace(7, ChunkWriter::new(Self::VERSION));
    }
    fn restore(&mut self, chunk: &Chunk) -> crate::Result<()> {
        ChunkReader::open(chunk, Self::VERSION).map(drop)
    }
}

#[test]
fn operators_see_the_wall_clock_at_a_commit() {
    let mut driver = TestDriver::new(|numbers, outputs| {
        numbers.logic("clock", "clock", Clock).to(outputs.sink("times"))
    });
    driver.advance_wall_clock(Duration::from_secs(2)).advance_wall_clock(Duration::from_secs(1));
    assert_eq!(driver.take::<i64>("times"), [2_000, 3_000]);
    let bucket = StateBucket { operator: "clock".into(), bucket: 7, chunks: 1, bytes: 6 };
    assert_eq!(driver.state(), [bucket]);
}

#[test]
#[should_panic(expected = "the pipeline has no output \"count\"; it has [\"counts\", \"large\"]")]
fn an_output_that_is_not_there_is_named() {
    let _ = counting().take::<u32>("count");
}

#[test]
#[should_panic(expected = "output \"large\" has records of u32, and not of u64")]
fn an_output_of_another_type_is_named() {
    counting().expect::<u64>("large", []);
}

#[test]
#[should_panic(expected = "a sink writes to memory; end the flow in `outputs.sink(name)`")]
fn a_sink_of_another_place_is_refused() {
    let place = crate::epoch::Memory::new();
    let _ = TestDriver::<u32>::new(move |numbers, _| numbers.to(place.collected().sink()));
}
