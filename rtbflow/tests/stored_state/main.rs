//! State that an earlier build has stored opens, and goes on as if nothing had happened; state that a
//! different program has stored is refused.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are tests"
)]

mod cases;
mod changed;

use std::fs;
use std::path::PathBuf;

use rtbflow::Timestamp;
use rtbflow::state::{Change, Chunk};
use rtbflow::testing::TestDriver;
use rtbflow::testing::builders::at;

use cases::{CASES, Input, Pipeline, SECOND, record};

/// Records before the state is stored, and all.
const BEFORE: i64 = 23;
const ALL: i64 = 60;

fn driver(pipeline: Pipeline) -> TestDriver<Input> {
    TestDriver::new(pipeline).out_of_orderness(SECOND)
}

fn send(driver: &mut TestDriver<Input>, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let (input, ms) = record(n);
        driver.send(input, at(ms));
    }
    driver.commit();
}

/// Sends what comes before the state is stored.
fn send_before(driver: &mut TestDriver<Input>) {
    send(driver, 0..BEFORE / 2);
    send(driver, BEFORE / 2..BEFORE);
}

/// Sends the rest; returns what is emitted by it, in the order in which it comes.
fn rest(driver: &mut TestDriver<Input>) -> Vec<String> {
    send(driver, BEFORE..ALL);
    driver.advance_watermark(Timestamp::MAX).commit();
    driver.take("out")
}

/// The watermark after the records before.
fn watermark() -> Timestamp {
    let latest = (0..BEFORE).map(|n| record(n).1).max().unwrap();
    at(latest) - SECOND
}

/// What a build of this month has stored, a chunk per line: operator, bucket, bytes.
fn stored(month: &str, name: &str) -> Vec<Chunk> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let path: PathBuf = format!("{folder}/tests/stored_state/{month}/{name}.txt").into();
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.lines().map(chunk).collect()
}

fn chunk(line: &str) -> Chunk {
    let [operator, bucket, bytes] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let bytes = (0..bytes.len()).step_by(2);
    let bytes: Vec<u8> = bytes
        .map(|at| {
            let [_, _, bytes] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            u8::from_str_radix(&bytes[at..at + 2], 16).unwrap()
        })
        .collect();
    Chunk {
        operator: operator.into(),
        bucket: bucket.parse().unwrap(),
        change: Change::Append(bytes.into()),
    }
}

#[test]
fn what_an_earlier_build_has_stored_goes_on() {
    for (name, pipeline) in CASES {
        let mut undisturbed = driver(pipeline);
        send_before(&mut undisturbed);
        let _: Vec<String> = undisturbed.take("out");

        let chunks = stored("2026-11", name);
        let opened = TestDriver::opening(chunks, pipeline);
        let mut opened = opened.unwrap().out_of_orderness(SECOND);
        opened.advance_watermark(watermark());
        assert_eq!(rest(&mut opened), rest(&mut undisturbed), "{name}");
    }
}

#[test]
fn what_this_build_has_stored_goes_on_and_is_not_larger() {
    let (mut now, mut before) = (0, 0);
    for (name, pipeline) in CASES {
        let mut undisturbed = driver(pipeline);
        send_before(&mut undisturbed);
        let _: Vec<String> = undisturbed.take("out");
        let chunks = undisturbed.stored();
        now += chunks.iter().map(Chunk::len).sum::<usize>();
        before += stored("2026-11", name).iter().map(Chunk::len).sum::<usize>();

        let opened = TestDriver::opening(chunks, pipeline);
        let mut opened = opened.unwrap().out_of_orderness(SECOND);
        opened.advance_watermark(watermark());
        assert_eq!(rest(&mut opened), rest(&mut undisturbed), "{name}");
    }
    println!("{now} bytes, {before} before");
}
