//! One commit: a script per epoch, and what its answer means.

use redis::{Cmd, RedisResult, Value};
use rtbflow::barrier::Tally;
use rtbflow::epoch::{Epoch, JobName, Refusal, Verdict};
use rtbflow::state::Change;
use rtbflow::{BadRecord, Error, Result};

use crate::redis::batch::{Batch, Piece};
use crate::redis::failure;
use crate::redis::keys::{Keys, bucket_text, task_text};
use crate::redis::library::{elements, text};
use crate::redis::place::Redis;
use crate::redis::positions::{mark, position_text};

/// The most refusals that one script reports; the others are reported when it runs again without these.
const MOST_REFUSALS: usize = 1_000;
/// Operations that are sent together, for all epochs: the server runs what arrives together without a look at
/// its other clients in between.
const MOST_TOGETHER: usize = 500;

/// An epoch as it is sent.
struct Plan<'a> {
    epoch: &'a Epoch,
    /// The batches of this place, by their numbers in the epoch, and whether their rows go each by itself.
    batches: Vec<(usize, &'a Batch, bool)>,
    /// The operations, each with the number of its batch among `batches`.
    pieces: Vec<(usize, Piece)>,
}

/// What became of an epoch.
enum Outcome {
    Verdict(Verdict),
    /// Nothing was applied, because of these operations.
    Refused(Vec<(usize, BadRecord)>),
}

impl<'a> Plan<'a> {
    fn new(redis: &Redis, epoch: &'a Epoch) -> Result<Self> {
        let mut batches = Vec::new();
        for (number, staged) in epoch.staged.iter().enumerate() {
            if staged.place != redis.place() {
                continue;
            }
            let batch = staged.batch::<Batch>().ok_or_else(|| {
                Error::permanent("commit to Redis what no sink of its own has staged")
            })?;
            if let Some(mistake) = &batch.mistake {
                return Err(Error::config(format!("build a sink for Redis: {mistake}")));
            }
            batches.push((number, batch, false));
        }
        let mut plan = Self { epoch, batches, pieces: Vec::new() };
        plan.lay_out();
        Ok(plan)
    }

    fn lay_out(&mut self) {
        self.pieces.clear();
        for (number, (staged, batch, apart)) in self.batches.iter().enumerate() {
            let Some(staged) = self.epoch.staged.get(*staged) else { continue };
            self.pieces
                .extend(batch.pieces(staged, *apart).into_iter().map(|piece| (number, piece)));
        }
    }

    /// What the server has to do, in operations.
    fn cost(&self) -> usize {
        1 + self.pieces.len() + self.epoch.chunks.len()
    }

    fn command(&self, mut command: Cmd) -> Cmd {
        let epoch = self.epoch;
        command.arg(task_text(epoch.task)).arg(MOST_REFUSALS).arg(epoch.advances.len());
        for advance in &epoch.advances {
            command
                .arg(advance.partition.to_string())
                .arg(mark(&advance.from))
                .arg(mark(&advance.to))
                .arg(position_text(&advance.to));
        }
        command.arg(epoch.chunks.len());
        for chunk in &epoch.chunks {
            let (change, bytes): (_, &[u8]) = match &chunk.change {
                Change::Append(bytes) => ("append", bytes),
                Change::Replace(bytes) => ("replace", bytes),
                Change::Drop => ("drop", &[]),
            };
            command.arg(change).arg(bucket_text(chunk.bucket, &chunk.operator)).arg(bytes);
        }
        let (mut begun, mut row) = (None, None);
        for (number, piece) in &self.pieces {
            let Some((staged, batch, apart)) = self.batches.get(*number) else { continue };
            let Some(staged) = epoch.staged.get(*staged) else { continue };
            if begun.replace(*number) != Some(*number) {
                batch.prelude(&mut command);
                if !*apart && row.take().is_some() {
                    command.arg("rows").arg(0);
                }
            }
            let this = Some((*number, batch.first_row(*piece)));
            if *apart && std::mem::replace(&mut row, this) != this {
                command.arg("row").arg(0);
            }
            batch.write(staged, *piece, &mut command);
        }
        command
    }

    /// The rows that these operations stand for, of the first batch that has any: what comes behind it may have
    /// gone wrong because of them. `None` if that batch was not sent row by row: then it is to be, so that the
    /// place says which they are.
    fn refusals(
        &mut self,
        number: usize,
        operations: Vec<(usize, BadRecord)>,
    ) -> Option<Vec<Refusal>> {
        let (first, _) =
            operations.first().and_then(|(operation, _)| self.pieces.get(*operation))?;
        let first = *first;
        let (staged, batch, apart) = self.batches.get_mut(first)?;
        let (staged, batch) = (*staged, *batch);
        if !std::mem::replace(apart, true) {
            self.lay_out();
            return None;
        }
        let mut refusals = Vec::with_capacity(operations.len());
        for (operation, reason) in operations {
            if let Some((of, piece)) = self.pieces.get(operation)
                && *of == first
            {
                let row = batch.first_row(*piece);
                refusals.push(Refusal::new(number, staged, row, reason));
            }
        }
        Some(refusals)
    }
}

impl Redis {
    /// Commits epochs, each by a script of its own.
    pub(crate) async fn commit_all(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let keys = Keys::of(job);
        let mut plans =
            epochs.iter().map(|epoch| Plan::new(self, epoch)).collect::<Result<Vec<_>>>()?;
        let mut verdicts: Vec<Option<Verdict>> = vec![None; epochs.len()];
        let mut refusals = Vec::new();
        let mut open: Vec<usize> = (0..epochs.len()).collect();
        while !open.is_empty() {
            let mut again = Vec::new();
            for numbers in waves(&plans, &open) {
                let sent: Vec<&Plan<'_>> =
                    numbers.iter().filter_map(|number| plans.get(*number)).collect();
                let outcomes = self.send(job, &keys, &sent).await?;
                for (number, outcome) in numbers.into_iter().zip(outcomes) {
                    match outcome {
                        Outcome::Verdict(verdict) => {
                            if let Some(slot) = verdicts.get_mut(number) {
                                *slot = Some(verdict);
                            }
                        }
                        Outcome::Refused(operations) => {
                            let plan = plans.get_mut(number);
                            match plan.and_then(|plan| plan.refusals(number, operations)) {
                                Some(rows) => refusals.extend(rows),
                                None => again.push(number),
                            }
                        }
                    }
                }
            }
            open = again;
        }
        if !refusals.is_empty() {
            return Err(Error::refused(refusals));
        }
        Ok(verdicts.into_iter().flatten().collect())
    }

    /// Runs the scripts of these epochs in one round trip.
    async fn send(&self, job: &JobName, keys: &Keys, plans: &[&Plan<'_>]) -> Result<Vec<Outcome>> {
        let attempted = format!("commit {job}");
        let script = self.library().commit();
        let (positions, tasks, aside) = (keys.positions(), keys.tasks(), keys.aside());
        let claimed = keys.claimed();
        let request = |number: usize| {
            plans.get(number).map_or_else(Cmd::new, |plan| {
                let index = keys.index(plan.epoch.task);
                plan.command(script.run(&[&positions, &index, &tasks, &aside, &claimed]))
            })
        };
        let answers = script.send(self.server(), &attempted, plans.len(), request).await?;
        // All answers first: an epoch that was applied has shown what the user may do.
        let outcomes: Vec<Result<Outcome>> = answers
            .into_iter()
            .zip(plans)
            .map(|(answer, plan)| self.outcome(&attempted, plan, answer))
            .collect();
        outcomes.into_iter().collect()
    }

    fn outcome(
        &self,
        attempted: &str,
        plan: &Plan<'_>,
        answer: RedisResult<Value>,
    ) -> Result<Outcome> {
        let task = plan.epoch.task;
        let attempted = format!("{attempted}: task {task} in Redis at {}", self.server().address());
        let reply = match answer {
            Err(cause) if failure::is_forbidden(&cause.to_string()) => {
                return Err(self.forbidden(&attempted, &cause.to_string(), "", ""));
            }
            answer => elements(&attempted, answer)?,
        };
        let part = |number: usize| text(reply.get(number));
        match part(0).as_str() {
            "committed" => {
                self.has_written(plan.pieces.len());
                Ok(Outcome::Verdict(Verdict::Committed(found(&part(1)))))
            }
            "applied" => Ok(Outcome::Verdict(Verdict::Committed(found(&part(1))))),
            "fenced" => Ok(Outcome::Verdict(Verdict::Fenced)),
            "refused" => {
                let refused = reply.get(1..).unwrap_or_default().chunks(2);
                let operations = refused.filter_map(|of| {
                    let number = text(of.first()).parse().ok()?;
                    Some((number, BadRecord::new(format!("Redis: {}", text(of.get(1))))))
                });
                Ok(Outcome::Refused(operations.collect()))
            }
            "unable" => Err(self.forbidden(&attempted, &part(1), &part(2), &part(3))),
            "foreign" => Err(Error::config(format!(
                "{attempted}: {} holds a {} and should hold a {}: another program writes keys that begin \
                 with rtbflow: and has to stop that. Remove the key, and reset the job: its positions, state \
                 and results together (`forget_with`)",
                part(1),
                part(2),
                part(3),
            ))),
            "broken" => Err(Error::permanent(format!(
                "{attempted}: {}; what had been written before could not be undone: {}. The positions \
                 have not moved; look at what the epoch wrote before the job runs again",
                part(1),
                part(2),
            ))),
            other => Err(Error::permanent(format!("{attempted}: the script answered {other:?}"))),
        }
    }

    /// The error for what the server refuses for its own reasons: waited for where it had been possible
    /// before.
    pub(crate) fn forbidden(
        &self,
        attempted: &str,
        refusal: &str,
        command: &str,
        key: &str,
    ) -> Error {
        failure::forbidden(attempted, refusal, command, key, self.may_write())
    }
}

/// The numbers of the epochs that are sent together: few operations, or one epoch.
fn waves(plans: &[Plan<'_>], open: &[usize]) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut together = 0;
    for number in open {
        let cost = plans.get(*number).map_or(0, Plan::cost);
        match waves.last_mut() {
            Some(wave) if together + cost <= MOST_TOGETHER => {
                wave.push(*number);
                together += cost;
            }
            _ => {
                waves.push(vec![*number]);
                together = cost;
            }
        }
    }
    waves
}

/// What the script found out about records: their numbers by class, or nothing.
fn found(counts: &str) -> Tally {
    let mut counts = counts.split(' ').map(|count| count.parse().unwrap_or(0));
    let mut next = || counts.next().unwrap_or(0);
    Tally { filtered: next(), late: next(), duplicates: next(), dead_lettered: next() }
}
