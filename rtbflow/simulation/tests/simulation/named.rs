//! Instances by name: more processes than names, and whoever has none stands by.

use std::ops::RangeInclusive;

use futures::future::BoxFuture;
use rtbflow::Result;
use rtbflow::epoch::JobName;
use rtbflow::job::Report;
use rtbflow::testing::sim::{Chance, Instance, Ledger, Scenario, SimLog};

use crate::scenarios::{Row, Windows};

/// The windows of [`Windows`], by instances of two names among up to four processes.
pub(crate) struct Named;

impl Scenario for Named {
    type Value = u64;
    type Store = Ledger<Row>;

    fn job(&self) -> JobName {
        Windows.job()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        Windows.log(chance)
    }

    fn store(&self) -> Ledger<Row> {
        Windows.store()
    }

    fn instances(&self) -> RangeInclusive<u32> {
        2..=4
    }

    fn names(&self) -> u32 {
        2
    }

    fn run(&self, instance: Instance<u64, Ledger<Row>>) -> BoxFuture<'static, Result<Report>> {
        Windows.run(instance)
    }
}
