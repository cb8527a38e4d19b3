//! Kafka as the place: the laws, and what this place adds to them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::sink::{Sink, Staged};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::testing::builders::record;
use rtbflow::testing::laws::{self, AnchorUnderTest};
use rtbflow::{Partition, Topic};
use rtbflow_kafka::{KafkaAnchor, TopicSpec};

use crate::committed::Committed;
use crate::server::{HOUR, compact, kafka, topic, unique};

struct Place {
    anchor: KafkaAnchor,
    topic: String,
    seen: Arc<Mutex<(Committed, i64)>>,
}

impl AnchorUnderTest for Place {
    type Anchor = KafkaAnchor;

    const TELLS_FORMER_OWNERS: bool = true;

    fn anchor(&self) -> KafkaAnchor {
        self.anchor.with_own_connections()
    }

    fn stage(&self, value: i64) -> Staged {
        stage(&self.anchor, &self.topic, value)
    }

    async fn total(&self) -> i64 {
        let seen = Arc::clone(&self.seen);
        let read = tokio::task::spawn_blocking(move || {
            let (committed, total) = &mut *seen.lock().unwrap();
            let values = committed.more().into_iter().map(|seen| seen.value.unwrap());
            *total += values.map(|value| value.parse::<i64>().unwrap()).sum::<i64>();
            *total
        });
        read.await.unwrap()
    }
}

/// One record with this value.
pub(crate) fn stage(anchor: &KafkaAnchor, topic: &str, value: i64) -> Staged {
    let mut sink = anchor.records(topic).json();
    let mut staged = Vec::new();
    sink.write(&record(value, 0));
    sink.stage(&mut staged);
    staged.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_anchor_keeps_the_laws() {
    let topic = topic("laws-out", 2).await;
    let committed = Committed::new(&topic);
    let seen = Arc::new(Mutex::new((committed, 0)));
    laws::anchor(&Place { anchor: kafka().anchor(), topic, seen }).await;
}

pub(crate) fn job(name: &str) -> JobName {
    JobName::new(unique(name)).unwrap()
}

/// One life of a task that has one partition.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) anchor: KafkaAnchor,
    pub(crate) job: JobName,
    pub(crate) task: Task,
    pub(crate) at: Position,
}

impl Owner {
    pub(crate) async fn claim(anchor: KafkaAnchor, job: &JobName, task: Task, mark: u64) -> Self {
        let claim = Claim::new(task, vec![partition()], mark);
        let at = *anchor.claim(job, &claim).await.unwrap().first().unwrap();
        Self { anchor, job: job.clone(), task, at }
    }

    /// An epoch that reads one record and emits one.
    pub(crate) fn epoch(&self, topic: &str, value: i64) -> Epoch {
        let mut to = Position { commit: self.at.commit + 1, ..self.at };
        to.offset = Some(self.at.offset.unwrap_or(0) + 1);
        let advance = Advance::new(partition(), self.at, to);
        let mut epoch = Epoch::new(self.task, vec![advance], Gathered::default());
        epoch.staged.push(stage(&self.anchor, topic, value));
        let change = BucketChange::Append(Bytes::from(value.to_string()));
        epoch.chunks.push(Chunk { operator: "windows".into(), bucket: 1, change });
        epoch
    }

    /// Commits and goes on; tries again while the outcome is not known.
    pub(crate) async fn commit(&mut self, epoch: &Epoch) -> Verdict {
        let verdict = loop {
            match self.anchor.commit(&self.job, std::slice::from_ref(epoch)).await {
                Ok(verdicts) => break *verdicts.first().unwrap(),
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        };
        if verdict == Verdict::COMMITTED {
            self.at = epoch.advances.first().unwrap().to;
        }
        verdict
    }

    /// All chunks of the task, as another instance restores them.
    pub(crate) async fn state(&self) -> Vec<Chunk> {
        let (mut chunks, mut from) = (Vec::new(), None);
        loop {
            let page = self.anchor.restore(&self.job, self.task, from).await.unwrap();
            chunks.extend(page.chunks);
            from = page.next;
            if from.is_none() {
                return chunks;
            }
        }
    }
}

fn partition() -> Partition {
    Partition::new(Topic::new("input"), 0)
}

pub(crate) const ONLY: Task = Task { number: 0, of: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_changelog_that_does_not_fit_is_refused_with_the_way_out() {
    let (job, kafka) = (job("layout"), kafka());
    let claim = Claim::new(ONLY, vec![partition()], 1);
    let error = kafka.anchor().create_changelog(false).claim(&job, &claim).await.unwrap_err();
    let report = error.report();
    assert!(error.is_config() && report.contains(&format!("{job}.changelog")), "{report}");
    assert!(report.contains("create it"), "{report}");
    kafka.create_topics(&[TopicSpec::changelog(&job, 4)]).await.unwrap();
    let error = kafka.anchor().claim(&job, &claim).await.unwrap_err();
    let report = error.report();
    assert!(
        error.is_config() && report.contains("4 tasks") && report.contains("0 of 1"),
        "{report}"
    );
    assert!(report.contains("reset the job") && report.contains("forget"), "{report}");
    // What the message says: nothing was written yet, so there are no results to remove.
    kafka.anchor().forget(&job).await.unwrap();
    let at = kafka.anchor().claim(&job, &claim).await.unwrap();
    assert!(at.iter().all(|at| at.offset.is_none()), "it begins at the first record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changelog_that_retention_would_shorten_is_refused() {
    let (job, kafka) = (job("retention"), kafka());
    let name = format!("{job}.changelog");
    kafka.create_topics(&[TopicSpec::new(&name, 1, HOUR)]).await.unwrap();
    let claim = Claim::new(ONLY, vec![partition()], 1);
    let error = kafka.anchor().claim(&job, &claim).await.unwrap_err();
    let report = error.report();
    assert!(
        error.is_config() && report.contains(&name) && report.contains("set it to compact"),
        "{report}"
    );
    assert!(!report.contains("  "), "{report}");
    compact(&name).await;
    assert_eq!(kafka.anchor().claim(&job, &claim).await.unwrap().len(), 1, "what the message says");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_larger_than_a_message_and_than_a_page_comes_back_whole() {
    let (job, topic) = (job("large"), topic("large-out", 1).await);
    let mut owner = Owner::claim(kafka().anchor(), &job, ONLY, 1).await;
    let bytes: Bytes = (0..3_000_001_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    let chunk = |bucket, change| Chunk { operator: "join".into(), bucket, change };
    let mut expected = Vec::new();
    for bucket in 0..8 {
        let mut epoch = owner.epoch(&topic, bucket);
        epoch.chunks = vec![chunk(bucket, BucketChange::Append(bytes.slice(..1_000_000)))];
        epoch.chunks.push(chunk(bucket, BucketChange::Replace(bytes.clone())));
        epoch.chunks.push(chunk(bucket, BucketChange::Append(Bytes::from_static(b"more"))));
        expected.push(chunk(bucket, BucketChange::Append(bytes.clone())));
        expected.push(chunk(bucket, BucketChange::Append(Bytes::from_static(b"more"))));
        assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    }
    let next = Owner::claim(kafka().anchor(), &job, ONLY, 2).await;
    assert_eq!(next.at.offset, Some(8));
    let first = next.anchor.restore(&job, ONLY, None).await.unwrap();
    assert!(first.next.is_some() && first.chunks.len() < expected.len(), "more than a page");
    assert!(next.state().await == expected, "the state comes back as it was");
    // A page that is asked for by another handle is found as well.
    let elsewhere = kafka().anchor().restore(&job, ONLY, first.next.clone()).await.unwrap();
    assert!(elsewhere.chunks[..] == expected[first.chunks.len()..][..elsewhere.chunks.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_somebody_else_in_the_changelog_is_an_error_that_names_it() {
    let (job, topic) = (job("foreign"), topic("foreign-out", 1).await);
    let mut owner = Owner::claim(kafka().anchor(), &job, ONLY, 1).await;
    let epoch = owner.epoch(&topic, 1);
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    let changelog = format!("{job}.changelog");
    crate::server::write(&changelog, 0, [7]).await;
    let error = kafka().anchor().restore(&job, ONLY, None).await.unwrap_err();
    let report = error.report();
    assert!(error.is_config() && report.contains(&format!("{changelog}/0 at offset")), "{report}");
    assert!(report.contains("\"k\""), "the key is named: {report}");
}
