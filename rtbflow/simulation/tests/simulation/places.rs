//! Places that take their time for each row, that refuse single records for what they are, and that refuse
//! everything by right for a while: and what may be done wrong about them.

use std::time::Duration;

use futures::future::BoxFuture;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Position, Refusal, Task, Verdict};
use rtbflow::job::Report;
use rtbflow::sink::{Collect, Place};
use rtbflow::testing::sim::{AnyAnchor, Chance, Instance, Ledger, Scenario, SimLog};
use rtbflow::{BadRecord, Error, Result};

use crate::faults::Fault;
use crate::scenarios::{Records, job_name, run_records};

/// One thing that is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Nothing.
    Nothing,
    /// A commit has the same time, whatever it is asked for and however often it has run out of it.
    HasOneDeadline,
    /// With a record that is refused, the one behind it is refused as well.
    BlamesTheNeighbour,
    /// That nobody has a right is taken for the records' fault.
    BlamesTheRecords,
}

/// The rows of [`Records`], of which the place refuses some for what they are.
pub(crate) struct Refused(pub(crate) Wrong);

fn sink(ledger: &Ledger<u64>) -> Collect<u64> {
    ledger.sink().constraint(|n| match n % 11 {
        3 => Err(BadRecord::new("against a constraint")),
        _ => Ok(()),
    })
}

impl Scenario for Refused {
    type Value = u64;
    type Store = Ledger<u64>;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        Records::numbers(chance)
    }

    fn store(&self) -> Ledger<u64> {
        Ledger::default()
    }

    fn small_epochs(&self) -> bool {
        true
    }

    fn run(&self, instance: Instance<u64, Ledger<u64>>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions, .. } = instance;
        let ledger = place.store().clone();
        let place = AnyAnchor::new(Mistaken { place, wrong: self.0 });
        run_records((source, Fault::None), place, conditions, move || sink(&ledger))
    }
}

/// A way to a place that mistakes what it is asked.
#[derive(Debug, Clone)]
struct Mistaken<A> {
    place: A,
    wrong: Wrong,
}

/// All rows of these epochs.
fn all(epochs: &[Epoch]) -> Vec<Refusal> {
    let staged = epochs.iter().enumerate().flat_map(|(number, epoch)| {
        epoch.staged.iter().enumerate().map(move |(staged, rows)| (number, staged, rows.rows))
    });
    let reason = || BadRecord::new("no right");
    let rows = staged.flat_map(|(epoch, staged, rows)| {
        (0..rows).map(move |row| Refusal::new(epoch, staged, row, reason()))
    });
    rows.collect()
}

impl<A: Anchor> Anchor for Mistaken<A> {
    fn place(&self) -> Place {
        self.place.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.place.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.place.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.place.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let committed = self.place.commit(job, epochs);
        match self.wrong {
            Wrong::Nothing => committed.await,
            Wrong::HasOneDeadline => {
                let committed = tokio::time::timeout(Duration::from_millis(200), committed).await;
                committed.unwrap_or_else(|_| Err(Error::transient("commits: no answer in 200 ms")))
            }
            Wrong::BlamesTheNeighbour => committed.await.map_err(|error| {
                let next = |refusal: &Refusal| {
                    let mut next = refusal.clone();
                    next.row += 1;
                    next
                };
                match error.refusals() {
                    [] => error,
                    refusals => {
                        let neighbours = refusals.iter().map(next);
                        Error::refused(refusals.iter().cloned().chain(neighbours).collect())
                    }
                }
            }),
            Wrong::BlamesTheRecords => committed.await.map_err(|error| {
                let (rows, no_right) = (all(epochs), error.to_string().contains("no right"));
                if no_right && !rows.is_empty() { Error::refused(rows) } else { error }
            }),
        }
    }
}
