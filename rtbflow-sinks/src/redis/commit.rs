//! One commit: a script per epoch, and what its answer means.

use std::collections::BTreeMap;

use redis::{RedisResult, Value};
use rtbflow::barrier::Tally;
use rtbflow::epoch::{Epoch, JobName, Verdict};
use rtbflow::{BadRecord, Error, Result};

use crate::redis::checksum::damaged;
use crate::redis::failure;
use crate::redis::keys::Keys;
use crate::redis::place::Redis;
use crate::redis::plan::Plan;
use crate::redis::reply::{elements, groups, text, unreadable};

/// Operations that are sent together, for all epochs: the server runs what arrives together without a look at
/// its other clients in between.
const MOST_TOGETHER: usize = 500;

/// What became of an epoch.
enum Outcome {
    Verdict(Verdict),
    /// Nothing was applied, because of these operations.
    Refused(BTreeMap<usize, BadRecord>),
}

impl Redis {
    /// Sends epochs, and says what became of each.
    async fn send_all<'a>(
        &self,
        job: &JobName,
        plans: Vec<Plan<'a>>,
    ) -> Result<Vec<(Plan<'a>, Outcome)>> {
        let mut answered = Vec::with_capacity(plans.len());
        for wave in waves(plans) {
            let outcomes = self.send(job, &wave).await?;
            answered.extend(wave.into_iter().zip(outcomes));
        }
        Ok(answered)
    }

    /// Commits epochs, each by a script of its own.
    pub(crate) async fn commit_all(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let plans = epochs.iter().enumerate();
        let plans = plans.map(|(number, epoch)| Plan::new(self.place(), number, epoch));
        let mut open = plans.collect::<Result<Vec<_>>>()?;
        let (mut verdicts, mut refusals) = (BTreeMap::new(), Vec::new());
        while !open.is_empty() {
            for (mut plan, outcome) in self.send_all(job, std::mem::take(&mut open)).await? {
                match outcome {
                    Outcome::Verdict(verdict) => drop(verdicts.insert(plan.number, verdict)),
                    // Once more, row by row, where the script could not say which rows they are.
                    Outcome::Refused(operations) => match plan.refusals(operations)? {
                        Some(rows) => refusals.extend(rows),
                        None => open.push(plan),
                    },
                }
            }
        }
        // Without any each epoch has a verdict, in the order of their numbers.
        if refusals.is_empty() {
            Ok(verdicts.into_values().collect())
        } else {
            Err(Error::refused(refusals))
        }
    }

    /// Runs the scripts of these epochs in one round trip.
    async fn send(&self, job: &JobName, plans: &[Plan<'_>]) -> Result<Vec<Outcome>> {
        let (keys, script) = (Keys::of(job), self.library().commit());
        let attempted = format!("commit epochs of job {job}");
        let (positions, tasks, aside) = (keys.positions(), keys.tasks(), keys.aside());
        let claimed = keys.claimed();
        let request = |plan: &Plan<'_>| {
            let index = keys.index(plan.task());
            plan.command(script.run(&[&positions, &index, &tasks, &aside, &claimed]))
        };
        let answers = script.send(self.server(), &attempted, plans, request).await?;
        let answers = plans.iter().zip(answers);
        // All answers first: an epoch that was applied has shown what the user may do.
        let outcomes: Vec<Result<Outcome>> = answers
            .map(|(plan, answer)| {
                let (task, server) = (plan.task(), self.server().address());
                let attempted = format!("commit task {task} of job {job} in Redis at {server}");
                self.outcome(&attempted, plan, answer)
            })
            .collect();
        outcomes.into_iter().collect()
    }

    fn outcome(
        &self,
        attempted: &str,
        plan: &Plan<'_>,
        answer: RedisResult<Value>,
    ) -> Result<Outcome> {
        let reply = match answer {
            // Of the script itself, and not of a command in it.
            Err(cause) if failure::is_forbidden(&cause.to_string()) => {
                return Err(self.forbidden(attempted, &cause.to_string(), "", ""));
            }
            answer => elements(attempted, answer)?,
        };
        let [answer, rest @ ..] = &*reply else { return Err(unreadable(attempted)) };
        match (answer.as_slice(), rest) {
            // From now on rights that are missing are waited for: they were there.
            (b"committed", [counts]) => {
                self.has_written(plan.operations());
                committed(attempted, counts)
            }
            // An earlier attempt whose answer did not come, or one just before another owner came.
            (b"applied", [counts]) => committed(attempted, counts),
            (b"fenced", []) => Ok(Outcome::Verdict(Verdict::Fenced)),
            (b"refused", refused) => read_refused(attempted, refused).map(Outcome::Refused),
            (b"unable", [refusal, command, key]) => {
                Err(self.forbidden(attempted, &text(refusal), &text(command), &text(key)))
            }
            (b"damaged", [key, at, found]) => Err(damaged(attempted, &text(key), at, found)),
            (b"foreign", [key, found, kind]) => Err(foreign(attempted, key, found, kind)),
            (b"broken", [why, failed]) => Err(half_written(attempted, &text(why), &text(failed))),
            _ => Err(unreadable(attempted)),
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

/// The epochs that are sent together: few operations, or one epoch.
fn waves(plans: Vec<Plan<'_>>) -> Vec<Vec<Plan<'_>>> {
    let mut waves: Vec<Vec<Plan<'_>>> = Vec::new();
    let mut together = 0;
    for plan in plans {
        // One that costs more goes by itself: it cannot be cut, and nothing waits behind it.
        let cost = plan.cost();
        match waves.last_mut() {
            Some(wave) if together + cost <= MOST_TOGETHER => {
                wave.push(plan);
                together += cost;
            }
            _ => {
                waves.push(vec![plan]);
                together = cost;
            }
        }
    }
    waves
}

fn committed(attempted: &str, counts: &[u8]) -> Result<Outcome> {
    Ok(Outcome::Verdict(Verdict::Committed(found(attempted, counts)?)))
}

/// What the script found out about records: their numbers by class, or nothing.
pub(crate) fn found(attempted: &str, counts: &[u8]) -> Result<Tally> {
    let shown = text(counts);
    if shown.is_empty() {
        return Ok(Tally::NONE);
    }
    let counts: Option<Vec<u64>> = shown.split(' ').map(|count| count.parse().ok()).collect();
    match counts.as_deref() {
        Some(&[filtered, late, duplicates, dead_lettered]) => {
            Ok(Tally { filtered, late, duplicates, dead_lettered })
        }
        _ => Err(Error::permanent(format!(
            "{attempted}: behind the positions is {shown:?}, where four numbers of records are expected"
        ))),
    }
}

/// The operations that the script has refused by their numbers, each with the reason.
pub(crate) fn read_refused(
    attempted: &str,
    refused: &[Vec<u8>],
) -> Result<BTreeMap<usize, BadRecord>> {
    let read = |[number, reason]: &[Vec<u8>; 2]| {
        let number = text(number).parse().map_err(|_| unreadable(attempted))?;
        Ok((number, BadRecord::new(format!("Redis: {}", text(reason)))))
    };
    groups(attempted, refused)?.iter().map(read).collect()
}

/// The error of an epoch of which a part stays. It is not to be tried again: what is there now is neither before nor
/// behind the epoch.
#[cold]
fn half_written(attempted: &str, why: &str, failed: &str) -> Error {
    Error::permanent(format!(
        "{attempted}: {why}; what had been written before could not be undone: {failed}. The positions have not \
         moved; look at what the epoch wrote before the job runs again"
    ))
}

/// The error of a key of ours that holds what is none of ours.
#[cold]
fn foreign(attempted: &str, key: &[u8], found: &[u8], kind: &[u8]) -> Error {
    Error::config(format!(
        "{attempted}: {} holds a {} and should hold a {}: another program writes keys that begin \
         with rtbflow: and has to stop that. Remove the key, and reset the job: its positions, state \
         and results together (`forget_with`)",
        text(key),
        text(found),
        text(kind),
    ))
}
