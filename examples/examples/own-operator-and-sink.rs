//! An operator and a sink of one's own: readings that are capped, and the highest of each epoch per sensor.

use std::collections::BTreeMap;

use futures::StreamExt;
use rtbflow::epoch::Memory;
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::source::MemorySource;
use rtbflow::{Element, Job, Record, Result, Timestamp};

/// A sensor, and what it has measured.
type Reading = (u32, i64);

/// The operator: caps the value of a record. Watermarks and barriers pass, once and in order.
fn capped(element: Element<Reading>) -> Element<Reading> {
    let cap = |(sensor, value): Reading| (sensor, value.min(100));
    match element {
        Element::Record(record, watermark) => Element::Record(record.map(cap), watermark),
        other @ (Element::Watermark(_) | Element::Barrier(_)) => other,
    }
}

/// The sink: folds readings to the highest per sensor, which the place's own sink stages.
struct Highest<K>(BTreeMap<u32, i64>, K);

impl<K: Sink<Reading>> Sink<Reading> for Highest<K> {
    fn write(&mut self, record: &Record<Reading>) {
        let (sensor, value) = record.value;
        let highest = self.0.entry(sensor).or_insert(value);
        *highest = value.max(*highest);
    }
    fn pending(&self) -> usize {
        self.0.len()
    }
    fn stage(&mut self, out: &mut Vec<Staged>) {
        for reading in std::mem::take(&mut self.0) {
            self.1.write(&Record::derived(reading, Timestamp::default()));
        }
        self.1.stage(out);
    }
    fn places(&self) -> Vec<Place> {
        self.1.places()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let readings = MemorySource::new("readings", vec![vec![(1_u32, 20_i64), (2, 7), (1, 999)]]);
    let place = Memory::new();
    let rows = place.collected::<Reading>();
    let job = Job::new("readings").source(readings).anchor(place.clone()).pipeline({
        let rows = rows.clone();
        move |readings| {
            let highest = Highest(BTreeMap::new(), rows.sink());
            readings.adapt("capped", |elements| elements.map(capped)).to(highest)
        }
    });
    job.run().await?;
    // How many epochs there were is the job's to choose, and so how many rows.
    assert_eq!(rows.values().iter().map(|row| row.1).max(), Some(100));
    Ok(())
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::builders::record;
    use rtbflow::testing::{laws, timed};

    use super::*;

    #[test]
    fn both_keep_the_laws_and_the_program_runs() -> Result<()> {
        let readings: [(Reading, i64); 3] = [((1, 20), 0), ((2, 7), 1), ((1, 999), 2)];
        laws::operator(timed(readings), |flow| {
            flow.adapt("capped", |elements| elements.map(capped))
        });
        let readings = readings.map(|(reading, at)| record(reading, at));
        laws::sink(
            || Highest(BTreeMap::new(), Memory::new().collected::<Reading>().sink()),
            &readings,
        );
        main()
    }
}
