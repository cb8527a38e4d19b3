//! A source of bytes that nobody decodes.
//~ has no values yet, only bytes
//~ decode them

use rtbflow::epoch::Memory;
use rtbflow::source::FileSource;
use rtbflow::{Job, Result};

fn main() -> Result<()> {
    let job = Job::new("job").source(FileSource::new("numbers.jsonl")).anchor(Memory::new());
    let _ = job.pipeline(move |numbers| numbers.to(Memory::new().collected::<u64>().sink()));
    Ok(())
}
