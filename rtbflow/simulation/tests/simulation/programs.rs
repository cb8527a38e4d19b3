//! Two programs that take turns at one job: what one calls its window, the other calls by another name, and one
//! has an operator more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::job::Report;
use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
use rtbflow::sink::Place;
use rtbflow::testing::sim::{AnyAnchor, Chance, Instance, Ledger, Scenario, SimLog, Store};
use rtbflow::{Partition, Result};

use crate::faults::Fault;
use crate::scenarios::{Numbers, NumbersJob, Row, Windows, job_name, run_job};

/// What a program says of the other one's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// That it is its own, by another name.
    Renamed,
    /// That it is gone: wrong here.
    Removed,
}

/// The windows of [`Windows`], by programs of which each life of an instance runs another.
pub(crate) struct Programs(pub(crate) Says);

/// A ledger that counts the lives of all instances.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counting {
    ledger: Ledger<Row>,
    lives: Arc<AtomicU64>,
}

impl Scenario for Programs {
    type Value = u64;
    type Store = Counting;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        Windows.log(chance)
    }

    fn store(&self) -> Counting {
        Counting::default()
    }

    fn run(&self, instance: Instance<u64, Counting>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions, .. } = instance;
        let Counting { ledger, lives } = place.store().clone();
        let is_first = lives.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let (own, other) = if is_first { ("counts", "tally") } else { ("tally", "counts") };
        let says = self.0;
        let renames = move |job: NumbersJob| {
            let job = match says {
                Says::Renamed => job.renamed(other, own),
                Says::Removed => job.removed(other),
            };
            // No number comes twice: what this operator keeps changes nothing, and can be given up.
            if is_first { job } else { job.removed("repeats") }
        };
        let pipeline = move |numbers: Numbers| {
            let window = Tumbling::of(Duration::from_secs(2)).late(Late::DeadLetter);
            let row =
                |kept: Windowed<u64, u64>| (kept.window.start.as_millis(), kept.key, kept.value);
            if is_first {
                let numbers = numbers.key_by(|n| *n).dedup("repeats", Duration::from_hours(1));
                let counts = numbers.key_by(|n| n % 3).window(window).aggregate(own, Count);
                counts.map(row).to(ledger.sink())
            } else {
                let counts = numbers.key_by(|n| n % 3).window(window).aggregate(own, Count);
                counts.map(row).to(ledger.sink())
            }
        };
        let place = AnyAnchor::new(place);
        let source = (source, Fault::None);
        run_job(source, place, conditions, Some(Box::new(renames)), Box::new(pipeline))
    }
}

impl Store for Counting {
    type Row = Row;

    fn rows(&self) -> Vec<Row> {
        self.ledger.rows()
    }

    fn positions(&self, job: &JobName) -> BTreeMap<Partition, Position> {
        self.ledger.positions(job)
    }

    fn keep(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.ledger.keep()
    }

    fn reset(&self, job: &JobName) -> bool {
        self.ledger.reset(job)
    }
}

impl Anchor for Counting {
    fn place(&self) -> Place {
        self.ledger.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.ledger.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.ledger.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.ledger.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.ledger.commit(job, epochs).await
    }
}
