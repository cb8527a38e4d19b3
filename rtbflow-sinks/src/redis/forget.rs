//! Forgets a job: positions first, so that nobody commits any more, then results and state, bit by bit.
//!
//! ```text
//!   1  note that the job is being forgotten, then drop the positions  claims are refused, commits are fenced
//!   2  results, some hundred keys at a time                          found by their names
//!   3  state, some hundred buckets at a time
//!   4  drop the note                                                 the job may begin anew
//! ```
//!
//! No script may keep others waiting for long, so this cannot be one script. If it is interrupted, the note
//! stays, and nobody starts from what is left: it is made again from its beginning.

use redis::{Cmd, Pipeline, RedisResult, Value};
use rtbflow::epoch::{JobName, Kept};
use rtbflow::{Error, Partition, Result, Topic};

use crate::redis::failure;
use crate::redis::keys::Keys;
use crate::redis::library::{elements, text};
use crate::redis::pattern::Pattern;
use crate::redis::place::Redis;
use crate::redis::positions::parse_position;

/// Buckets of state that one script removes.
const MOST_BUCKETS: usize = 500;
/// Keys that one script looks at.
const MOST_KEYS: usize = 200;
/// Keys that one step of a search looks at.
const SEARCH: usize = 1_000;

impl Redis {
    /// As [`forget`](rtbflow::epoch::Anchor::forget), and removes the job's results: all keys that fit one of
    /// the patterns. Returns how many there were.
    ///
    /// The first step fences whoever still runs, and nobody can claim before the last one. In between a
    /// reader sees results go, key by key and each as a whole, in the order of the patterns; no script
    /// keeps others waiting for more than some hundred keys. The whole database is searched, which takes a
    /// second or two for each million keys.
    ///
    /// # Errors
    /// Transient if the server is away: call it again. Until it has succeeded, claims on the job are refused
    /// with an error that says so.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::epoch::JobName;
    /// use rtbflow_sinks::redis::{Pattern, Redis};
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// let (job, windows) = (JobName::new("clicks")?, [Pattern::hashes("clicks:*")]);
    /// let nothing_runs_before_it_is_awaited = redis.forget_with(&job, &windows);
    /// assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:6379, database 2)");
    /// # drop(nothing_runs_before_it_is_awaited);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub async fn forget_with(&self, job: &JobName, results: &[Pattern]) -> Result<u64> {
        let keys = Keys::of(job);
        let attempted = format!("forget job {job}");
        // The note first, and by itself: a server that is full refuses it, and would yet drop positions.
        for first in [
            redis::cmd("SET").arg(keys.forgetting()).arg("1").to_owned(),
            redis::cmd("UNLINK").arg(keys.positions()).arg(keys.claimed()).to_owned(),
        ] {
            self.together(&attempted, [first]).await?;
        }
        let removed = self.remove(results).await?;
        let (tasks, indexes) = (keys.tasks(), keys.indexes());
        loop {
            let run = |_| {
                let mut command = self.forget_text().run(&[&tasks]);
                command.arg(&indexes).arg(MOST_BUCKETS);
                command
            };
            let answers = self.forget_text().send(self.server(), &attempted, 1, run).await?;
            if count(&attempted, answers)? == 0 {
                break;
            }
        }
        let last = [redis::cmd("UNLINK").arg(keys.forgetting()).to_owned()];
        self.together(&attempted, last).await?;
        Ok(removed)
    }

    /// Removes all keys that fit one of the patterns, whoever wrote them; returns how many there were.
    ///
    /// # Errors
    /// Transient if the server is away: call it again.
    pub async fn remove(&self, patterns: &[Pattern]) -> Result<u64> {
        self.search(patterns, true).await
    }

    /// How many keys fit one of the patterns.
    ///
    /// # Errors
    /// Transient if the server is away.
    pub async fn count(&self, patterns: &[Pattern]) -> Result<u64> {
        self.search(patterns, false).await
    }

    /// Looks for keys, pattern by pattern, and takes them to the script some hundred at a time.
    async fn search(&self, patterns: &[Pattern], removes: bool) -> Result<u64> {
        let mut total = 0;
        for pattern in patterns {
            let attempted = format!("look for keys like {}", pattern.glob());
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(pattern.glob()).arg("COUNT").arg(SEARCH);
                let (next, found) = self.found(&attempted, scan).await?;
                for keys in found.chunks(MOST_KEYS) {
                    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                    let run = |_| {
                        let mut command = self.remove_text().run(&keys);
                        command.arg(pattern.kind()).arg(pattern.field());
                        command.arg(if removes { "1" } else { "0" });
                        command
                    };
                    let answers =
                        self.remove_text().send(self.server(), &attempted, 1, run).await?;
                    total += count(&attempted, answers)?;
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(total)
    }

    /// One step of a search: where to go on, and the keys. One whose name is not UTF-8 is not ours.
    async fn found(&self, attempted: &str, scan: Cmd) -> Result<(String, Vec<String>)> {
        let mut commands = Pipeline::new();
        commands.add_command(scan);
        let answer = self.server().send(attempted, &mut commands).await?.pop();
        let attempted = format!("{attempted} in Redis at {}", self.server().address());
        let answer = answer.ok_or_else(|| Error::transient(attempted.as_str()))?;
        let answer = answer.map_err(|cause| failure::error(&attempted, cause))?;
        let (next, keys): (String, Vec<Vec<u8>>) = redis::from_redis_value(answer)
            .map_err(|cause| Error::permanent(attempted).because(cause))?;
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        Ok((next, keys.collect()))
    }

    /// What is kept of a job.
    pub(crate) async fn look(&self, job: &JobName) -> Result<Kept> {
        let keys = Keys::of(job);
        let attempted = format!("look for what is kept of job {job}");
        let looks = [
            redis::cmd("HGETALL").arg(keys.positions()).to_owned(),
            redis::cmd("SMEMBERS").arg(keys.tasks()).to_owned(),
        ];
        let mut answers = self.together(&attempted, looks).await?.into_iter();
        let mut next = || elements(&attempted, answers.next().unwrap_or(Ok(Value::Nil)));
        let (positions, tasks) = (next()?, next()?);
        let mut kept = Kept::default();
        for pair in positions.chunks(2) {
            let [partition, at] = [0, 1].map(|part| text(pair.get(part)));
            let mark = at.split(' ').take(4).collect::<Vec<_>>().join(" ");
            let foreign = || {
                let key = keys.positions();
                Error::config(format!(
                    "{attempted}: {key} holds {partition:?}, {at:?}, which no job wrote"
                ))
            };
            let (topic, number) = partition.rsplit_once('/').ok_or_else(foreign)?;
            let number = number.parse().map_err(|_| foreign())?;
            let position = parse_position(&mark).ok_or_else(foreign)?;
            kept.positions.insert(Partition::new(Topic::new(topic), number), position);
        }
        let sizes = tasks.iter().map(|task| {
            let index = format!("{}{}", keys.indexes(), text(Some(task)));
            redis::cmd("ZCARD").arg(index).to_owned()
        });
        for answer in self.together(&attempted, sizes).await? {
            kept.buckets += count(&attempted, vec![answer])?;
        }
        Ok(kept)
    }

    /// Runs commands in one round trip; fails if one of them fails.
    async fn together(
        &self,
        attempted: &str,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<RedisResult<Value>>> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.server().send(attempted, &mut pipeline).await?;
        let attempted = format!("{attempted} in Redis at {}", self.server().address());
        let failed = |cause| failure::error(&attempted, cause);
        answers.into_iter().map(|answer| answer.map(Ok).map_err(failed)).collect()
    }
}

fn count(attempted: &str, answers: Vec<RedisResult<Value>>) -> Result<u64> {
    let answer = answers.into_iter().next();
    let answer = answer.ok_or_else(|| Error::transient(format!("{attempted}: no answer")))?;
    let answer = answer.map_err(|cause| failure::error(attempted, cause))?;
    redis::from_redis_value(answer).map_err(|cause| {
        Error::permanent(format!("{attempted}: an answer is no number")).because(cause)
    })
}
