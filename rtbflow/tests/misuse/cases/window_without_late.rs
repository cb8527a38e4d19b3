//! A window that does not say what becomes of late records.
//~ the window does not say what happens to late records
//~ decide here
//~ add `.late(Late::DeadLetter)` to send them to the dead-letter topic

use std::time::Duration;

use rtbflow::operators::window::{Count, Tumbling};
use rtbflow::{Elements, Flow};

fn counts(numbers: Flow<impl Elements<Value = u64>>) {
    let _ = numbers
        .key_by(|n| n % 2)
        .window(Tumbling::of(Duration::from_secs(1)))
        .aggregate("counts", Count);
}

fn main() {}
