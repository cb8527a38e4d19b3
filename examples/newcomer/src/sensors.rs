//! A source: sensors whose readings follow from their number and the time, a partition each.

use futures::stream;
use rtbflow::epoch::{DeadLetter, Original};
use rtbflow::source::{Batch, Content, Context, Delivery, FixedFeed, Incoming, Source};
use rtbflow::{BadRecord, Origin, Partition, Result, Timestamp, Topic};

use crate::Reading;

/// Readings in one batch.
const MOST: i64 = 100;

/// Sensors that measured once a second, each `readings` times.
#[derive(Debug, Clone, Copy)]
pub struct Sensors {
    sensors: i32,
    readings: i64,
}

impl Sensors {
    /// This many sensors, and this many readings of each.
    #[must_use]
    pub fn new(sensors: u16, readings: u32) -> Self {
        Self { sensors: sensors.into(), readings: readings.into() }
    }
}

impl Source for Sensors {
    type Batch = Readings;
    type Feed = FixedFeed<Readings>;

    fn topics(&self) -> Vec<String> {
        vec!["sensors".into()]
    }

    async fn open(&self, _context: Context) -> Result<Self::Feed> {
        let topic = Topic::new("sensors");
        let partitions = (0..self.sensors).map(|number| Partition::new(topic, number)).collect();
        let end = self.readings;
        Ok(FixedFeed::new(partitions, move |partition, from| {
            let starts = (from.unwrap_or(0)..end).step_by(MOST as usize);
            let batch = move |from: i64| Readings { partition, from, to: end.min(from + MOST) };
            let deliveries = starts.map(move |from| Delivery::Batch(batch(from)));
            stream::iter(deliveries.chain([Delivery::Finished]).map(Ok))
        }))
    }
}

/// Readings of one sensor.
#[derive(Debug)]
pub struct Readings {
    partition: Partition,
    from: i64,
    to: i64,
}

impl Batch for Readings {
    type Value = Reading;

    fn len(&self) -> usize {
        usize::try_from(self.to - self.from).unwrap_or(0)
    }

    fn get(&self, index: usize) -> Option<Incoming<Reading>> {
        let offset = self.from + i64::try_from(index).ok()?;
        let sensor = u32::try_from(self.partition.number).ok()?;
        let value = offset * 31 % 97 - i64::from(sensor);
        let content =
            Content::Value(Reading { sensor, value }, Timestamp::from_millis(offset * 1_000));
        (offset < self.to).then_some(Incoming::new(offset, content))
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        let origin = Origin::new(partition, offset);
        let letter = || DeadLetter::record(origin, Original::default(), reason);
        (self.from..self.to).contains(&offset).then(letter)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::builders::letter;
    use rtbflow::testing::laws::{self, SourceUnderTest};

    use super::*;

    struct Two;

    impl SourceUnderTest for Two {
        type Source = Sensors;

        fn source(&self) -> Sensors {
            Sensors::new(2, 250)
        }

        fn records(&self) -> Vec<DeadLetter> {
            let letters = |number| (0..250).map(move |offset| letter("sensors", number, offset));
            (0..2).flat_map(letters).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_sources() {
        laws::source(&Two).await;
    }
}
