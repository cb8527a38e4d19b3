//! An operator with state: lets through what is higher than anything that its sensor measured lately.

use std::time::Duration;

use rtbflow::barrier::Class;
use rtbflow::operators::{Logic, Outbox, Snapshot};
use rtbflow::state::{Chunk, KeyedState};
use rtbflow::{Elements, Flow, Record, Result, Timestamp};

use crate::Reading;

/// The method, as the library's own operators have one.
pub trait Peaks {
    /// Keeps the readings that are higher than all of their sensor's; a sensor that was silent for as long as
    /// `silence` begins anew.
    fn peaks(self, name: &str, silence: Duration) -> Flow<impl Elements<Value = Reading>>;
}

impl<S: Elements<Value = Reading>> Peaks for Flow<S> {
    fn peaks(self, name: &str, silence: Duration) -> Flow<impl Elements<Value = Reading>> {
        self.logic("peaks", name, Peak { silence, highest: KeyedState::new(Peak::VERSION) })
    }
}

/// The logic behind [`Peaks::peaks`].
#[derive(Debug)]
pub struct Peak {
    silence: Duration,
    highest: KeyedState<u32, i64>,
}

impl Logic for Peak {
    type In = Reading;
    type Out = Reading;
    const VERSION: u16 = 1;

    fn on_record(&mut self, record: Record<Reading>, out: &mut Outbox<Reading>) {
        let Reading { sensor, value } = record.value;
        let expires = record.timestamp + self.silence;
        let higher = match self.highest.find_at(&sensor, record.timestamp) {
            None => {
                self.highest.insert(sensor, value, expires);
                true
            }
            Some(slot) => {
                self.highest.expire(slot, expires);
                let highest = self.highest.get_mut(slot).map(|(_, highest)| highest);
                highest
                    .is_some_and(|highest| value > std::mem::replace(highest, value.max(*highest)))
            }
        };
        match higher {
            true => out.push(record),
            false => out.account(Class::Filtered, record.origin),
        }
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        _out: &mut Outbox<Reading>,
    ) -> Option<Timestamp> {
        self.highest.forget(watermark);
        Some(watermark)
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.highest.snapshot(snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.highest.restore(chunk)
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::{laws, run, timed};

    use super::*;

    #[test]
    fn a_silence_ends_with_the_record_that_comes() {
        let readings = [(1, 9, 0), (1, 4, 49), (1, 5, 99), (1, 3, 148), (1, 2, 198)];
        let readings = readings.map(|(sensor, value, at)| (Reading { sensor, value }, at));
        let peaks = run(timed(readings), |flow| flow.peaks("peaks", Duration::from_millis(50)));
        assert_eq!(peaks.iter().map(|peak| peak.value).collect::<Vec<_>>(), [9, 5, 2]);
    }

    #[test]
    fn keeps_the_laws_of_operators() {
        let readings = [(1, 5, 0), (2, 9, 1), (1, 4, 2), (1, 6, 3), (2, 10, 90), (1, 1, 100)];
        let readings = readings.map(|(sensor, value, at)| (Reading { sensor, value }, at));
        laws::operator(timed(readings), |flow| flow.peaks("peaks", Duration::from_millis(50)));
    }
}
