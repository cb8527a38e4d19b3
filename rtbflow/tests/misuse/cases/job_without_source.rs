//! A job that does not say what it reads.
//~ `()` is not a source of records
//~ `.source(…)`

use rtbflow::epoch::Memory;
use rtbflow::{Job, Result};

fn main() -> Result<()> {
    let job = Job::new("job").anchor(Memory::new());
    let _ = job.pipeline(move |numbers| numbers.to(Memory::new().collected::<u64>().sink()));
    Ok(())
}
