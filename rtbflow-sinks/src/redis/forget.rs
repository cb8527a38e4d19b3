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

use redis::{Cmd, Value};
use rtbflow::epoch::{JobName, Kept, Position};
use rtbflow::{Error, Partition, Result, Topic};

use crate::redis::checksum::{damaged, unsealed};
use crate::redis::failure;
use crate::redis::keys::Keys;
use crate::redis::pattern::Pattern;
use crate::redis::place::Redis;
use crate::redis::positions::parse_position;
use crate::redis::reply::{count, elements, groups, text, unreadable};

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
        self.run(&attempted, redis::cmd("SET").arg(keys.forgetting()).arg("1").to_owned()).await?;
        let positions = redis::cmd("UNLINK").arg(keys.positions()).arg(keys.claimed()).to_owned();
        self.run(&attempted, positions).await?;
        // Results before state: as long as there is state, nobody takes the job for one that is gone.
        let removed = self.remove(results).await?;
        let (tasks, indexes) = (keys.tasks(), keys.indexes());
        loop {
            let run = || {
                let mut command = self.forget_text().run(&[&tasks]);
                command.arg(&indexes).arg(MOST_BUCKETS);
                command
            };
            let answer = self.forget_text().send_one(self.server(), &attempted, run).await?;
            if count(&attempted, answer)? == 0 {
                break;
            }
        }
        // The note last: until it is gone, an interrupted call has to be made again.
        self.run(&attempted, redis::cmd("UNLINK").arg(keys.forgetting()).to_owned()).await?;
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
                    total += self.look_at(&attempted, pattern, keys, removes).await?;
                }
                // The server's way to say that the search is over.
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(total)
    }

    /// Counts, and removes if that is wanted, those of some keys that fit a pattern.
    async fn look_at(
        &self,
        attempted: &str,
        pattern: &Pattern,
        keys: &[String],
        removes: bool,
    ) -> Result<u64> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let run = || {
            let mut command = self.remove_text().run(&keys);
            command.arg(pattern.kind()).arg(pattern.field());
            command.arg(if removes { "1" } else { "0" });
            command
        };
        let answer = self.remove_text().send_one(self.server(), attempted, run).await?;
        count(attempted, answer)
    }

    /// One step of a search: where to go on, and the keys.
    async fn found(&self, attempted: &str, scan: Cmd) -> Result<(String, Vec<String>)> {
        let answer = self.run(attempted, scan).await?;
        let (next, keys): (String, Vec<Vec<u8>>) = redis::from_redis_value(answer)
            .map_err(|cause| unreadable(attempted).because(cause))?;
        // One whose name is not UTF-8 was not written by a sink.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        Ok((next, keys.collect()))
    }

    /// What is kept of a job.
    pub(crate) async fn look(&self, job: &JobName) -> Result<Kept> {
        let keys = Keys::of(job);
        let attempted = format!("look for what is kept of job {job}");
        let positions =
            self.run(&attempted, redis::cmd("HGETALL").arg(keys.positions()).to_owned()).await?;
        let tasks =
            self.run(&attempted, redis::cmd("SMEMBERS").arg(keys.tasks()).to_owned()).await?;
        let attempted = format!("{attempted} in Redis at {}", self.server().address());
        let mut kept = Kept::default();
        for fields in groups(&attempted, &elements(&attempted, Ok(positions))?)? {
            let (partition, position) = read_position(&attempted, &keys, fields)?;
            kept.positions.insert(partition, position);
        }
        for task in elements(&attempted, Ok(tasks))? {
            let index = format!("{}{}", keys.indexes(), text(&task));
            let size = self.run(&attempted, redis::cmd("ZCARD").arg(index).to_owned()).await?;
            kept.buckets += count(&attempted, Ok(size))?;
        }
        Ok(kept)
    }

    /// Runs a command.
    async fn run(&self, attempted: &str, command: Cmd) -> Result<Value> {
        let answer = self.server().send_one(attempted, command).await?;
        let attempted = || format!("{attempted} in Redis at {}", self.server().address());
        answer.map_err(|cause| failure::error(&attempted(), cause))
    }
}

/// A partition and where it stands, as one field of the positions says it. What the last commit found out about
/// records, behind the first, is nothing to it.
pub(crate) fn read_position(
    attempted: &str,
    keys: &Keys,
    [partition, at]: &[Vec<u8>; 2],
) -> Result<(Partition, Position)> {
    let (name, held, key) = (partition, text(at), keys.positions());
    let partition = text(name);
    let at = unsealed(&partition, &held).ok_or_else(|| damaged(attempted, &key, name, at))?;
    let read = || {
        let (topic, number) = partition.rsplit_once('/')?;
        let partition = Partition::new(Topic::new(topic), number.parse().ok()?);
        let position = at.split(' ').take(4).collect::<Vec<_>>().join(" ");
        Some((partition, parse_position(&position)?))
    };
    read().ok_or_else(|| {
        Error::config(format!("{attempted}: {key} holds {partition:?}, {at:?}, which no job wrote"))
    })
}
