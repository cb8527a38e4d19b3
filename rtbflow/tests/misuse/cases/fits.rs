//! A job that fits: what the others are but for one thing.

use std::time::Duration;

use rtbflow::epoch::Memory;
use rtbflow::operators::window::{Count, Late, Tumbling};
use rtbflow::source::MemorySource;
use rtbflow::{Job, Result};

fn main() -> Result<()> {
    let place = Memory::new();
    let job = Job::new("job").source(MemorySource::new("numbers", vec![vec![1_u64]])).anchor(place.clone());
    let job = job.pipeline(move |numbers| {
        numbers
            .key_by(|n| n % 2)
            .window(Tumbling::of(Duration::from_secs(1)).late(Late::Drop))
            .aggregate("counts", Count)
            .to(place.collected().sink())
    });
    drop(job.run());
    Ok(())
}
