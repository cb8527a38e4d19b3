//! A job that does not say where its results, state and positions go.
//~ `()` is not a place that commits
//~ `.anchor(Memory::new())`

use rtbflow::epoch::Memory;
use rtbflow::source::MemorySource;
use rtbflow::{Job, Result};

fn main() -> Result<()> {
    let job = Job::new("job").source(MemorySource::new("numbers", vec![vec![1_u64]]));
    let job = job.pipeline(move |numbers| numbers.to(Memory::new().collected().sink()));
    drop(job.run());
    Ok(())
}
