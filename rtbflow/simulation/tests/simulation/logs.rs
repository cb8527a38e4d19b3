//! Topics that are deleted and made anew, values of any shape in state, results that the place refuses, and a crowd.

use std::ops::RangeInclusive;
use std::time::Duration;

use futures::future::BoxFuture;
use rtbflow::BadRecord;
use rtbflow::epoch::{JobName, RefusedResult};
use rtbflow::job::Report;
use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
use rtbflow::testing::builders::at;
use rtbflow::testing::sim::{
    AnyAnchor, Chance, Instance, Ledger, Scenario, SimFlow, SimLog, Simulation,
};
use rtbflow::{Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::faults::Fault;
use crate::scenarios::{Records, Row, job_name, numbers, run_records};

/// The rows of [`Records`], whose topic is deleted and made anew meanwhile.
pub(crate) struct MadeAnew(pub(crate) Fault);

impl Scenario for MadeAnew {
    type Value = u64;
    type Store = Ledger<u64>;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        let partitions = 1 + chance.below(3);
        let log = |from: u64| {
            let values = numbers(chance, partitions, 100, 0).into_iter();
            let values =
                values.map(|list| list.into_iter().map(|(n, at)| (from + n, at)).collect());
            let tasks = u32::try_from(partitions).unwrap();
            SimLog::laid_out(chance, "numbers", tasks, Duration::ZERO, values.collect())
        };
        let (before, after) = (log(0), log(1_000_000));
        before.made_anew(after)
    }

    fn store(&self) -> Ledger<u64> {
        Ledger::default()
    }

    fn run(&self, instance: Instance<u64, Ledger<u64>>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions, .. } = instance;
        let store = place.store().clone();
        let place = AnyAnchor::new(place);
        run_records((source, self.0), place, conditions, move || store.sink())
    }
}

/// The rows of [`Records`], of a thousand partitions, by fifty instances.
pub(crate) struct Crowd;

impl Scenario for Crowd {
    type Value = u64;
    type Store = Ledger<u64>;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        let list = |partition: u64| {
            let number = |n: u64| (partition * 100 + n, at(i64::try_from(1_000 * n).unwrap()));
            (0..chance.between(0..6)).map(number).collect()
        };
        let values = (0..1_000).map(list).collect();
        SimLog::laid_out(chance, "numbers", 1_000, Duration::ZERO, values)
    }

    fn store(&self) -> Ledger<u64> {
        Ledger::default()
    }

    fn instances(&self) -> RangeInclusive<u32> {
        50..=50
    }

    fn run(&self, instance: Instance<u64, Ledger<u64>>) -> BoxFuture<'static, Result<Report>> {
        Records.run(instance)
    }
}

/// A value of which any part may be missing, as half of all types of users are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Price {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bid: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paid: Option<u64>,
    kind: Kind,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
enum Kind {
    #[default]
    None,
    Click(u64),
    View {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        at: Vec<i64>,
    },
}

impl Price {
    fn of(n: u64) -> Self {
        let kind = match n % 4 {
            0 => Kind::None,
            1 => Kind::Click(n),
            2 => Kind::View { of: None, at: vec![-1, i64::MIN] },
            _ => Kind::View { of: Some(format!("view-{n}")), at: Vec::new() },
        };
        Self { bid: n.is_multiple_of(3).then_some(n), paid: n.is_multiple_of(5).then_some(n), kind }
    }
}

/// Values of any shape, which are kept in state and come back as they were.
pub(crate) fn shapes() -> Simulation<u64, (u64, String)> {
    let log = |chance: &Chance| {
        let values = numbers(chance, 2, 500, 1_000);
        SimLog::laid_out(chance, "numbers", 2, Duration::from_secs(1), values)
    };
    Simulation::new(log, |numbers: SimFlow<u64>, ledger| {
        let prices = numbers.map(|n| (n, Price::of(n)));
        let held = prices.delay("hold", Duration::from_secs(10), |record| {
            let ms = record.timestamp.as_millis();
            Timestamp::from_millis(ms - ms.rem_euclid(5_000) + 5_000)
        });
        held.map(|(n, price)| (n, format!("{price:?}"))).to(ledger.sink())
    })
}

/// Windows of which the place refuses some: each is a dead letter as a whole.
pub(crate) fn refused_results() -> Simulation<u64, Row> {
    let log = |chance: &Chance| {
        let values = numbers(chance, 2, 500, 1_000);
        SimLog::laid_out(chance, "numbers", 2, Duration::from_secs(1), values)
    };
    Simulation::new(log, |numbers: SimFlow<u64>, ledger| {
        let window = Tumbling::of(Duration::from_secs(2)).late(Late::DeadLetter);
        // Each partition has keys of its own.
        let keyed = numbers.key_by(|n| n % 3 + n / 1_000 * 3);
        let counts = keyed.window(window).aggregate("counts", Count);
        let row = |kept: Windowed<u64, u64>| (kept.window.start.as_millis(), kept.key, kept.value);
        let sink = ledger.sink().constraint(|(_, key, count)| match (key + count) % 3 {
            0 => Err(BadRecord::new("against a constraint")),
            _ => Ok(()),
        });
        counts.map(row).to(sink.described_by(|row| RefusedResult::new(format!("{row:?}"))))
    })
}
