//! Squares the even ones of some numbers: a whole job in memory, without a server.

use rtbflow::epoch::Memory;
use rtbflow::source::MemorySource;
use rtbflow::writer::stdout;
use rtbflow::{Job, Result};

#[tokio::main]
async fn main() -> Result<()> {
    // What is read: two partitions, and so two tasks.
    let numbers = MemorySource::new("numbers", vec![vec![1_u64, 2, 3], vec![4, 5, 6]]);
    // The place: results, state and positions move here in one step.
    let place = Memory::new();
    let squares = place.collected::<u64>();
    // Beside the place: a line of the standard output for each result.
    let print = stdout(|square: &u64| square.to_string());

    let report = Job::new("hello-flow")
        .source(numbers)
        .anchor(place.clone())
        .writer(print.clone())
        .pipeline({
            let squares = squares.clone();
            move |numbers| {
                let squared = numbers.filter(|n| n % 2 == 0).map(|n| n * n);
                squared.to((print.sink(), squares.sink()))
            }
        })
        .run()
        .await?;

    let mut found = squares.values();
    found.sort_unstable();
    assert_eq!(found, [4, 16, 36]);
    assert_eq!((report.decoded, report.filtered), (3, 3));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> rtbflow::Result<()> {
        super::main()
    }
}
