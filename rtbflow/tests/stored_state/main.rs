//! State that an earlier build has stored opens, and goes on as if nothing had happened; state that a
//! different program has stored is refused.
//!
//! A folder for each build that has stored something, by the day and the commit. Up to `d5760d3` state was written
//! in MessagePack, its fields by position. What a build stores of a place, with the positions and the results, is
//! with the tests of the places.

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
use std::path::{Path, PathBuf};

use rtbflow::Timestamp;
use rtbflow::state::{BucketChange, Chunk};
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

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored_state"))
}

/// The folders of the builds, in the order of their days.
fn builds() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut builds: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    builds.sort_unstable();
    assert!(builds.len() >= 2, "only {builds:?}");
    builds
}

/// What a build has stored, a chunk per line: operator, bucket, bytes.
fn stored(build: &Path, name: &str) -> Vec<Chunk> {
    let path = build.join(name).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.lines().map(chunk).collect()
}

/// Stores chunks if `RTBFLOW_STORE_STATE` names this build, such as `2026-11-29-24986bc`.
fn store(name: &str, chunks: &[Chunk]) {
    let Ok(build) = std::env::var("RTBFLOW_STORE_STATE") else { return };
    let lines = chunks.iter().map(|Chunk { operator, bucket, change }| {
        let (BucketChange::Append(bytes) | BucketChange::Replace(bytes)) = change else {
            panic!("{operator}: {change:?} is not stored");
        };
        let digits = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        format!("{operator} {bucket} {digits}\n")
    });
    let folder = folder().join(build);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name).with_extension("txt"), lines.collect::<String>()).unwrap();
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
        change: BucketChange::Append(bytes.into()),
    }
}

#[test]
fn what_an_earlier_build_has_stored_goes_on() {
    for (name, pipeline) in CASES {
        let mut undisturbed = driver(pipeline);
        send_before(&mut undisturbed);
        let _: Vec<String> = undisturbed.take("out");
        let expected = rest(&mut undisturbed);

        for build in builds() {
            let opened = TestDriver::opening(stored(&build, name), pipeline);
            let mut opened = opened.unwrap().out_of_orderness(SECOND);
            opened.advance_watermark(watermark());
            assert_eq!(rest(&mut opened), expected, "{name}, {build:?}");
        }
    }
}

#[test]
fn what_this_build_has_stored_goes_on() {
    for (name, pipeline) in CASES {
        let mut undisturbed = driver(pipeline);
        send_before(&mut undisturbed);
        let _: Vec<String> = undisturbed.take("out");
        let chunks = undisturbed.stored();
        store(name, &chunks);
        let opened = TestDriver::opening(chunks, pipeline);
        let mut opened = opened.unwrap().out_of_orderness(SECOND);
        opened.advance_watermark(watermark());
        assert_eq!(rest(&mut opened), rest(&mut undisturbed), "{name}");
    }
}

#[test]
fn nothing_is_kept_for_ever() {
    for (name, pipeline) in CASES {
        let mut driver = driver(pipeline);
        send_before(&mut driver);
        let kept = |driver: &TestDriver<Input>| {
            let chunks = driver.stored().into_iter();
            // The bucket before all is of the watermark.
            chunks.filter(|chunk| chunk.bucket != i64::MIN).map(|chunk| chunk.len()).sum::<usize>()
        };
        assert!(kept(&driver) > 0, "{name} keeps nothing");
        // Of what the pipelines keep a minute is the longest.
        driver.advance_watermark(watermark() + 120 * SECOND).commit();
        assert_eq!(kept(&driver), 0, "{name}");
    }
}
