//! A namespace of one test on the server that all tests share: a job, and a prefix of keys of its own.

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ToRedisArgs};
use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::record::{Partition, Topic};
use rtbflow::sink::{Sink, Staged};
use rtbflow::testing::leave_out;
use rtbflow::{Record, Timestamp};
use rtbflow_sinks::redis::{Operations, Redis};

/// The server that all tests share.
pub(crate) fn url() -> String {
    env::var("RTBFLOW_TEST_REDIS").expect("RTBFLOW_TEST_REDIS is not set: run ./dev test")
}

/// `host:port` of the server that all tests share.
pub(crate) fn address() -> String {
    let url = url();
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap().to_owned()
}

/// A text that nobody else uses.
pub(crate) fn unique(what: &str) -> String {
    format!("test-{what}-{:016x}", rand::random::<u64>())
}

/// A job on a server and a prefix for its results.
pub(crate) struct Namespace {
    pub(crate) redis: Redis,
    pub(crate) job: JobName,
    pub(crate) prefix: String,
    reader: MultiplexedConnection,
}

impl Namespace {
    pub(crate) async fn new(what: &str) -> Self {
        Self::over(Redis::connect_to(url()).build().unwrap(), &url(), what).await
    }

    /// A namespace whose anchor goes some other way than the test's own look at the server.
    pub(crate) async fn over(redis: Redis, url: &str, what: &str) -> Self {
        let name = unique(what);
        let client = redis::Client::open(url).unwrap();
        // Longer than the client's own patience: other tests may keep the server busy.
        let patient =
            AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        let reader = client.get_multiplexed_async_connection_with_config(&patient).await;
        let reader = reader.expect("the test server");
        Self { redis, job: JobName::new(&name).unwrap(), prefix: name, reader }
    }

    /// Runs one command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[impl ToRedisArgs]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.reader.clone()).await.expect("a command of the test")
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    pub(crate) async fn hash(&self, name: &str) -> BTreeMap<String, String> {
        self.ask(&["HGETALL", &self.key(name)]).await
    }

    /// Takes over a task of one partition.
    pub(crate) async fn claim(&self, number: u32) -> Owner {
        self.claim_of(Task { number, of: 4 }).await
    }

    pub(crate) async fn claim_of(&self, task: Task) -> Owner {
        let partition = Partition::new(Topic::new("ads"), i32::try_from(task.number).unwrap());
        let claim = Claim::new(task, vec![partition], rand::random());
        let at = self.redis.claim(&self.job, &claim).await.unwrap()[0];
        Owner { redis: self.redis.clone(), job: self.job.clone(), task, partition, at }
    }

    /// What a sink stages for one record, for which it does this.
    pub(crate) fn stage_with(&self, apply: impl Fn(&Self, &mut Operations)) -> Vec<Staged> {
        let mut wanted = Operations::default();
        apply(self, &mut wanted);
        let wanted = Mutex::new(wanted);
        let mut sink = self.redis.write(move |(): &(), operations: &mut Operations| {
            *operations = std::mem::take(&mut *wanted.lock().unwrap());
        });
        stage(&mut sink, [()])
    }

    /// Drops all keys of this namespace.
    pub(crate) async fn clean(self) {
        self.redis.forget(&self.job).await.unwrap();
        let keys: Vec<String> = self.ask(&["KEYS", &format!("{}*", self.prefix)]).await;
        for key in keys {
            self.ask::<()>(&["DEL", &key]).await;
        }
        let left: Vec<String> = self.ask(&["KEYS", &format!("rtbflow:{}:*", self.job)]).await;
        assert_eq!(left, Vec::<String>::new(), "forgetting a job leaves none of its keys");
    }
}

/// One life of a task.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) redis: Redis,
    pub(crate) job: JobName,
    pub(crate) task: Task,
    pub(crate) partition: Partition,
    pub(crate) at: Position,
}

impl Owner {
    /// The next epoch, which reads ten records.
    pub(crate) fn epoch(&self, staged: Vec<Staged>) -> Epoch {
        let to = Position {
            offset: Some(self.at.offset.unwrap_or(0) + 10),
            event_time: Some(Timestamp::from_millis(1)),
            commit: self.at.commit + 1,
            owner: self.at.owner,
            log: self.at.log,
        };
        let advance = Advance::new(self.partition, self.at, to);
        let mut epoch = Epoch::new(self.task, vec![advance], Gathered::default());
        epoch.staged = staged;
        epoch
    }

    /// Commits an epoch; committed, the owner goes on from there.
    pub(crate) async fn commit(&mut self, epoch: &Epoch) -> rtbflow::Result<Verdict> {
        let verdicts = self.redis.commit(&self.job, std::slice::from_ref(epoch)).await?;
        if verdicts == [Verdict::COMMITTED] {
            self.at = epoch.advances[0].to;
        }
        Ok(verdicts[0])
    }

    /// Commits an epoch as a job does, without what Redis refuses; returns the reasons and the results.
    pub(crate) async fn commit_the_rest(&mut self, mut epoch: Epoch) -> Vec<(String, String)> {
        let mut refused = Vec::new();
        loop {
            match self.commit(&epoch).await {
                Ok(verdict) => {
                    assert_eq!(verdict, Verdict::COMMITTED);
                    assert_eq!(self.commit(&epoch).await.unwrap(), Verdict::COMMITTED, "again");
                    return refused;
                }
                Err(error) => {
                    assert!(!error.refusals().is_empty(), "{error:?}");
                    let letters = leave_out(std::slice::from_mut(&mut epoch), &error).unwrap();
                    assert_eq!(letters.len(), error.refusals().len(), "no row has an origin");
                    for letter in letters {
                        let value = String::from_utf8(letter.value.unwrap()).unwrap();
                        refused.push((letter.reason.reason().to_owned(), value));
                    }
                }
            }
        }
    }

    /// Commits what sinks have staged, in one epoch.
    pub(crate) async fn write(&mut self, staged: Vec<Staged>) {
        let epoch = self.epoch(staged);
        assert_eq!(self.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    }
}

/// What a sink stages for these values.
pub(crate) fn stage<T>(
    sink: &mut impl Sink<T>,
    values: impl IntoIterator<Item = T>,
) -> Vec<Staged> {
    for value in values {
        sink.write(&Record::derived(value, Timestamp::from_millis(0)));
    }
    let mut staged = Vec::new();
    sink.stage(&mut staged);
    assert_eq!(sink.pending(), 0);
    staged
}
