//! A pipeline that keeps its end to itself.
//~ expected `End`, found `()`

use rtbflow::epoch::Memory;
use rtbflow::source::MemorySource;
use rtbflow::{Job, Result};

fn main() -> Result<()> {
    let place = Memory::new();
    let job = Job::new("job").source(MemorySource::new("numbers", vec![vec![1_u64]])).anchor(place.clone());
    let _ = job.pipeline(move |numbers| {
        numbers.to(place.collected().sink());
    });
    Ok(())
}
