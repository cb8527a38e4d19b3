//! State that an earlier build has stored opens, and goes on as if nothing had happened.

mod cases;

use std::fs;
use std::path::PathBuf;

use rtbflow::state::{Change, Chunk};
use rtbflow::testing::TestDriver;
use rtbflow::testing::builders::at;

use cases::{CASES, Input, Pipeline, SECOND, record};

/// Records before the state is stored, and after.
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

fn path(name: &str) -> PathBuf {
    let folder = env!("CARGO_MANIFEST_DIR");
    format!("{folder}/tests/stored_state/2026-11/{name}.txt").into()
}

fn written(chunks: &[Chunk]) -> String {
    let line = |chunk: &Chunk| {
        let (Change::Append(bytes) | Change::Replace(bytes)) = &chunk.change else {
            return String::new();
        };
        let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {bytes}\n", chunk.operator, chunk.bucket)
    };
    chunks.iter().map(line).collect()
}

#[test]
fn store() {
    for (name, pipeline) in CASES {
        let mut driver = driver(pipeline);
        send(&mut driver, 0..BEFORE / 2);
        send(&mut driver, BEFORE / 2..BEFORE);
        let chunks = driver.stored();
        println!("{name}: {} chunks", chunks.len());
        assert!(!chunks.is_empty(), "{name}");
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), written(&chunks)).unwrap();
    }
}
