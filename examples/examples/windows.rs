//! Counts the clicks of each campaign in windows of five minutes, in memory.

use std::time::Duration;

use rtbflow::epoch::Memory;
use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
use rtbflow::source::MemorySource;
use rtbflow::{Elements, Flow, Job, Result, Timestamp};

/// A campaign, and the second of the click.
type Click = (u32, i64);

/// Clicks per campaign and five minutes.
fn clicks_per_campaign(
    clicks: Flow<impl Elements<Value = Click>>,
) -> Flow<impl Elements<Value = Windowed<u32, u64>>> {
    let five_minutes = Tumbling::of(Duration::from_mins(5))
        .allowed_lateness(Duration::from_mins(1)) // Up to this long after it a click corrects the count,
        .late(Late::Drop); // and then it is dropped and counted.
    clicks.key_by(|click| click.0).window(five_minutes).aggregate("clicks", Count)
}

#[tokio::main]
async fn main() -> Result<()> {
    let clicks = vec![(7, 10), (8, 20), (7, 299), (7, 301), (7, 5), (9, 361), (8, 1)];
    let clicks = MemorySource::new("clicks", vec![clicks])
        .event_time(|click: &Click| Timestamp::from_millis(click.1 * 1_000), Duration::ZERO);
    let place = Memory::new();
    let counts = place.collected::<Windowed<u32, u64>>();

    let report = Job::new("clicks-per-campaign")
        .source(clicks)
        .anchor(place.clone())
        .pipeline({
            let counts = counts.clone();
            move |clicks| clicks_per_campaign(clicks).to(counts.sink())
        })
        .until_end(true) // Closes what is open, as if time had ended.
        .run()
        .await?;

    let counts = counts.values();
    let shown: Vec<_> =
        counts.iter().map(|w| (w.window.start.as_millis() / 1_000, w.key, w.value)).collect();
    // The third result corrects the first: the click of second 5 came after the window had ended.
    assert_eq!(shown, [(0, 7, 2), (0, 8, 1), (0, 7, 3), (300, 7, 1), (300, 9, 1)]);
    assert_eq!((report.decoded, report.late), (6, 1));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> rtbflow::Result<()> {
        super::main()
    }
}
