//! The laws that every anchor keeps.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::testing::laws::{self, AnchorUnderTest};
use rtbflow::{Record, Result};
use rtbflow_sinks::redis::Redis;

use crate::namespace::{Namespace, stage};

/// Remembers the jobs that the laws make up, to forget them afterwards.
#[derive(Clone)]
struct Remembering {
    redis: Redis,
    jobs: Arc<Mutex<BTreeSet<String>>>,
}

impl Anchor for Remembering {
    fn place(&self) -> Place {
        Anchor::place(&self.redis)
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.jobs.lock().unwrap().insert(job.as_str().to_owned());
        self.redis.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.jobs.lock().unwrap().insert(job.as_str().to_owned());
        self.redis.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.redis.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.redis.commit(job, epochs).await
    }

    async fn after_commit(&self, job: &JobName) -> Result<()> {
        self.redis.after_commit(job).await
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.redis.kept(job).await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.redis.forget(job).await
    }
}

struct UnderTest {
    namespace: Namespace,
    anchor: Remembering,
}

impl AnchorUnderTest for UnderTest {
    type Anchor = Remembering;

    const TELLS_FORMER_OWNERS: bool = true;

    fn anchor(&self) -> Remembering {
        Remembering {
            redis: self.namespace.redis.with_own_connections(),
            jobs: Arc::clone(&self.anchor.jobs),
        }
    }

    fn stage(&self, value: i64) -> Staged {
        let key = self.namespace.key("total");
        let mut sink = self.namespace.redis.write(move |value: &i64, operations| {
            operations.increment(&key, "sum", *value);
        });
        stage(&mut sink, [value]).remove(0)
    }

    fn stage_distinct(&self, record: &Record<i64>) -> Option<Staged> {
        const DISTINCT: &str = "
            if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return 'duplicate' end
            redis.call('HINCRBY', KEYS[2], 'sum', ARGV[1])";
        let (seen, total) = (self.namespace.key("seen"), self.namespace.key("total"));
        let mut sink =
            self.namespace.redis.script("distinct", DISTINCT, move |value: &i64, call| {
                call.key(&seen).key(&total).argument(value);
            });
        let mut staged = Vec::new();
        sink.write(record);
        sink.stage(&mut staged);
        staged.pop()
    }

    async fn total(&self) -> i64 {
        let sum: Option<i64> =
            self.namespace.ask(&["HGET", &self.namespace.key("total"), "sum"]).await;
        sum.unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_laws_of_anchors() {
    let namespace = Namespace::new("laws").await;
    let anchor = Remembering { redis: namespace.redis.clone(), jobs: Arc::default() };
    let place = UnderTest { namespace, anchor };
    laws::anchor(&place).await;
    let jobs = place.anchor.jobs.lock().unwrap().clone();
    for job in jobs {
        place.namespace.redis.forget(&JobName::new(job).unwrap()).await.unwrap();
    }
    place.namespace.clean().await;
}
