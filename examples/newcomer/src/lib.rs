//! What somebody writes who has nothing but the library: readings of sensors, the records among them, and
//! a board on which they are added up.

pub mod board;
pub mod clamp;
pub mod peak;
pub mod sensors;

use serde::{Deserialize, Serialize};

/// What a sensor measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The sensor.
    pub sensor: u32,
    /// Its value.
    pub value: i64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rtbflow::testing::TestDriver;
    use rtbflow::testing::builders::at;
    use rtbflow::testing::sim::{Chance, SimLog, Simulation};
    use rtbflow::{Elements, Flow, Job};

    use super::*;
    use crate::board::Board;
    use crate::clamp::Clamp;
    use crate::peak::Peaks;
    use crate::sensors::Sensors;

    /// The statement: new peaks of each sensor, within what is plausible.
    fn peaks(
        readings: Flow<impl Elements<Value = Reading>>,
    ) -> Flow<impl Elements<Value = Reading>> {
        readings.clamp(-100, 100).peaks("peaks", Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_of_parts_that_are_all_ones_own() {
        let board = Board::default();
        let job = Job::new("peaks").source(Sensors::new(3, 1_000)).anchor(board.clone());
        let shown = board.clone();
        let job = job.pipeline(move |readings| peaks(readings).to(shown.sink()));
        let report = job.run_until(std::future::pending()).await.unwrap();
        assert_eq!(report.records_in(), 3_000);
        assert!(board.total() > 0);
    }

    #[test]
    fn the_statement_is_tried_step_by_step() {
        let mut driver =
            TestDriver::new(|readings, outputs| peaks(readings).to(outputs.sink("peaks")));
        let reading = |value| Reading { sensor: 7, value };
        driver.send(reading(20), at(0)).send(reading(19), at(1_000)).send(reading(999), at(2_000));
        driver.crash();
        driver.expect("peaks", [reading(20), reading(100)]);
        // After a minute of silence it is forgotten.
        driver.advance_watermark(at(65_000)).send(reading(5), at(70_000));
        driver.crash_back_to(1);
        driver.expect("peaks", [reading(5)]);
    }

    #[test]
    fn nothing_that_goes_wrong_changes_what_comes_out() {
        let log = |chance: &Chance| {
            let reading =
                |n: u64| Reading { sensor: (n % 3) as u32, value: (n * 7919 % 200) as i64 };
            let list =
                (0..chance.between(0..40)).map(|n| (reading(n), at(n as i64 * 5_000))).collect();
            SimLog::laid_out(chance, "readings", 1, Duration::ZERO, vec![list])
        };
        Simulation::new(log, |readings, ledger| {
            peaks(readings).map(|peak| (peak.sensor, peak.value)).to(ledger.sink())
        })
        .check(50);
    }
}
