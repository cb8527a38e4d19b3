//! One commit: a transaction per epoch, if the place stands where the epoch began.

use rdkafka::producer::{BaseProducer, Producer};
use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Epoch, Step, Verdict};
use rtbflow::sink::Place;
use rtbflow::{Error, Result};

use crate::anchor::changelog::Lengths;
use crate::anchor::failure::without_kip_360;
use crate::anchor::options::PATIENCE;
use crate::anchor::positions::{Positions, write_positions};
use crate::anchor::session::{Session, TaskProducer};
use crate::anchor::target::Target;
use crate::anchor::transaction::{abort, send_all};
use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::producer::batch::RecordBatch;
use crate::producer::produce::Sending;
use crate::producer::refusal::{Refused, Row, rows};
use crate::producer::staged::StagedBatch;

/// An epoch as it is committed, in a form that another thread can own.
pub(crate) struct Plan {
    /// Without its rows.
    epoch: Epoch,
    batches: Vec<StagedBatch>,
}

impl Plan {
    /// The plan for an epoch.
    ///
    /// # Errors
    /// If something was staged for this place by a sink of another.
    pub(crate) fn new(epoch: &Epoch, place: Place) -> Result<Self> {
        let batches = StagedBatch::of((0, epoch), place).collect::<Result<_>>()?;
        let advances = Epoch::new(epoch.task, epoch.advances.clone(), Gathered::default());
        Ok(Self { epoch: advances.with_chunks(epoch.chunks.clone()), batches })
    }
}

impl Session {
    /// Commits an epoch. One that makes progress, but does not end, may take longer the next time; where there is no
    /// progress, more time would not help.
    pub(crate) fn commit(
        &mut self,
        target: &Target<'_>,
        plan: &Plan,
        deadline: Deadline,
    ) -> Result<Verdict> {
        self.made_progress = false;
        let verdict = self.decide(target, plan, deadline);
        match &verdict {
            Ok(_) => {
                self.timed_out = false;
                self.patience.shorten();
            }
            // The first time a broker may have died or frozen meanwhile: more time would be more silence.
            Err(error) if error.is_transient() && self.made_progress => {
                if std::mem::replace(&mut self.timed_out, true) {
                    self.patience.lengthen();
                }
            }
            Err(_) => {}
        }
        verdict
    }

    fn decide(&mut self, target: &Target<'_>, plan: &Plan, deadline: Deadline) -> Result<Verdict> {
        // What this producer has read and written is where the place stands, for as long as it is not refused: in the
        // usual case nothing is read.
        let known = self.producer.as_ref().map(|current| current.positions.step(&plan.epoch));
        if known != Some(Step::Apply)
            && let Some(verdict) = self.decide_anew(target, plan, deadline)?
        {
            return Ok(verdict);
        }
        self.apply(target, plan, deadline).map(|()| Verdict::COMMITTED)
    }

    /// What this producer knows may be out of date, as another may have come since: the verdict, unless the epoch is
    /// to be applied, by a new producer then.
    fn decide_anew(
        &mut self,
        target: &Target<'_>,
        plan: &Plan,
        deadline: Deadline,
    ) -> Result<Option<Verdict>> {
        let read = self.read_positions(target)?;
        if let Some(verdict) = read.and_then(|positions| self.verdict_at(plan, positions)) {
            return Ok(Some(verdict));
        }
        // Only now, and never before the positions have shown this owner's mark: a new producer fences the one
        // that another instance may have.
        let positions = self.renew_producer(target, deadline)?.positions.clone();
        Ok(self.verdict_at(plan, positions))
    }

    /// The verdict where the place stands there; none if the epoch is to be applied.
    fn verdict_at(&mut self, plan: &Plan, positions: Positions) -> Option<Verdict> {
        match positions.step(&plan.epoch) {
            Step::Fenced => Some(Verdict::Fenced),
            Step::Applied => {
                self.note_applied(plan, positions);
                Some(Verdict::COMMITTED)
            }
            Step::Apply => None,
        }
    }

    /// Where the place stands, without disturbing anybody; `None` if a transaction of another instance leaves
    /// that open at the moment.
    fn read_positions(&self, target: &Target<'_>) -> Result<Option<Positions>> {
        // Nothing was ever claimed: no epoch of anybody stands on that.
        if target.partitions(PATIENCE)?.is_none() {
            return Ok(Some(Positions::default()));
        }
        let replay = target.replay()?;
        let range = replay.range(PATIENCE)?;
        range.map(|range| replay.positions(range)).transpose()
    }

    /// Notes that an earlier attempt, whose answer did not come, has applied the epoch.
    fn note_applied(&mut self, plan: &Plan, positions: Positions) {
        let from = plan.epoch.advances.iter().map(|advance| (advance.partition, advance.from));
        let mut before = positions.clone();
        before.extend(from);
        // Lengths that are of anything but what the epoch began with are read again when they are needed.
        self.lengths =
            self.lengths.take().filter(|(at, _)| *at == before).map(|(_, mut lengths)| {
                let changes = lengths.write(&plan.epoch.chunks, &mut RecordBatch::default());
                lengths.apply(changes);
                (positions, lengths)
            });
    }

    fn apply(&mut self, target: &Target<'_>, plan: &Plan, deadline: Deadline) -> Result<()> {
        let Err(error) = self.write(target, plan, deadline) else { return Ok(()) };
        match self.refused(target, plan, deadline) {
            // Nothing of it was applied, and its producer is as good as before.
            Ok(Some(refused)) if !refused.refusals().is_empty() => Err(refused),
            Ok(refused) => {
                self.discard_producer();
                Err(refused.unwrap_or(error))
            }
            Err(unknown) => {
                self.discard_producer();
                Err(error.because(unknown))
            }
        }
    }

    fn write(&mut self, target: &Target<'_>, plan: &Plan, deadline: Deadline) -> Result<()> {
        let Plan { epoch, batches } = plan;
        // `decide` has made one where there was none.
        let current = self.producer.as_mut().ok_or_else(|| {
            Error::broken(&format!("task {} commits to Kafka without a producer", target.task))
        })?;
        self.restoring = None;
        let mut lengths = match self.lengths.take() {
            Some((at, lengths)) if at == current.positions => Some(lengths),
            _ if epoch.chunks.is_empty() => None,
            _ => Some(read_lengths(target, &current.positions, deadline)?),
        };
        // State first and the positions behind it: whoever looks for them looks from the end.
        let mut records = RecordBatch::default();
        let changes = lengths.as_ref().map(|lengths| lengths.write(&epoch.chunks, &mut records));
        let positions = advanced(&current.positions, epoch);
        write_positions(&positions, &mut records)?;
        let partition = target.partition()?;
        let before = current.delivered();
        let sent = target.transact(&current.producer, deadline, |sending| {
            rows(batches).try_for_each(|row| row.send(sending))?;
            send_all(sending, partition, &records)
        });
        if let Err(error) = sent {
            self.made_progress = current.delivered() > before;
            // If it turns out to have been applied, this is what it began with.
            self.lengths = lengths.map(|lengths| (current.positions.clone(), lengths));
            return Err(error);
        }
        current.positions.clone_from(&positions);
        self.lengths = lengths.take().zip(changes).map(|(mut lengths, changes)| {
            lengths.apply(changes);
            (positions, lengths)
        });
        Ok(())
    }

    /// The error that names the rows that a broker refuses for what they are, if it does; the transaction is
    /// aborted then.
    fn refused(
        &self,
        target: &Target<'_>,
        plan: &Plan,
        deadline: Deadline,
    ) -> Result<Option<Error>> {
        // Without a producer nothing was sent that could have been refused.
        let Some(TaskProducer { producer, .. }) = &self.producer else { return Ok(None) };
        let undelivered = producer.client().context().take_undelivered();
        let Target { kafka, results, .. } = *target;
        let refused = Refused { kafka, results, batches: &plan.batches, undelivered: &undelivered };
        if !refused.is_any() {
            return Ok(None);
        }
        // Before anything is tried: what is tried must not be part of the transaction that has failed.
        abort(producer, deadline).map_err(|error| {
            let failed = || target.failure("abort a transaction", &error);
            without_kip_360(&error).unwrap_or_else(failed)
        })?;
        let error = refused.error(|rows| is_refused(target, producer, rows, deadline));
        // What the trials left is of no commit.
        let _ = producer.client().context().take_undelivered();
        error
    }
}

/// How long the logs are, by reading all of them: for a session that has not restored the task itself.
fn read_lengths(target: &Target<'_>, positions: &Positions, deadline: Deadline) -> Result<Lengths> {
    let replay = target.replay()?;
    let scan = replay.scan(replay.decided_range(deadline)?)?;
    if scan.positions != *positions {
        let (task, job) = (target.task, target.job);
        return Err(Error::transient(format!(
            "commit task {task} of job {job} to Kafka: another producer has moved its positions meanwhile"
        )));
    }
    scan.finish().map(|(lengths, _)| lengths)
}

/// Where the place stands behind an epoch.
fn advanced(positions: &Positions, epoch: &Epoch) -> Positions {
    let mut advanced = positions.clone();
    advanced.extend(epoch.advances.iter().map(|advance| (advance.partition, advance.to)));
    advanced
}

/// Whether a broker refuses one of these rows, by a transaction that is aborted.
fn is_refused(
    target: &Target<'_>,
    producer: &BaseProducer<Callbacks>,
    rows: &[Row<'_>],
    deadline: Deadline,
) -> Result<bool> {
    let failed = |error| target.failure("abort a transaction", &error);
    producer.begin_transaction().map_err(failed)?;
    let attempt = "find out which records are refused";
    let sending = Sending { producer, attempt, deadline };
    let sent = rows.iter().try_for_each(|row| row.send(&sending)).and_then(|()| sending.flush());
    let undelivered = producer.client().context().take_undelivered();
    // Whatever became of it: nothing of a trial is applied.
    abort(producer, deadline).map_err(failed)?;
    match sent {
        Err(error) if undelivered.is_empty() => Err(error),
        _ => Ok(!undelivered.is_empty()),
    }
}
