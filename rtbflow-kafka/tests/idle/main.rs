//! What a place takes while nobody uses it; in a process of its own, whose threads are counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use rtbflow::barrier::Gathered;
use rtbflow::clock::{Clock, SystemClock};
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::{Partition, Topic};
use rtbflow_kafka::{Kafka, KafkaAnchor};

const TASKS: u32 = 3;
/// A transactional producer has a thread of its own, and one each for a broker and for the coordinator, at least.
const THREADS_OF_A_PRODUCER: usize = 3;

/// Threads of librdkafka's clients in this process.
fn threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |thread: std::io::Result<std::fs::DirEntry>| {
        // One may end while it is looked at.
        std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default()
    };
    threads.map(name).filter(|name| name.starts_with("rdk:")).count()
}

fn partition(task: Task) -> Partition {
    Partition::new(Topic::new("input"), i32::try_from(task.number).unwrap())
}

async fn claim(anchor: &KafkaAnchor, job: &JobName, task: Task, mark: u64) -> Position {
    let claim = Claim::new(task, vec![partition(task)], mark);
    *anchor.claim(job, &claim).await.unwrap().first().unwrap()
}

/// Commits that one more record was read.
async fn commit(anchor: &KafkaAnchor, job: &JobName, task: Task, at: &mut Position) -> Verdict {
    let mut to = Position { commit: at.commit + 1, ..*at };
    to.offset = Some(at.offset.unwrap_or(0) + 1);
    let epoch = Epoch::new(task, vec![Advance::new(partition(task), *at, to)], Gathered::default());
    let verdict = *anchor.commit(job, &[epoch]).await.unwrap().first().unwrap();
    if verdict == Verdict::COMMITTED {
        *at = to;
    }
    verdict
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_so(), "{what}: {} threads", threads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_place_has_no_clients_and_still_owns_its_tasks() {
    let servers = std::env::var("RTBFLOW_TEST_KAFKA")
        .expect("RTBFLOW_TEST_KAFKA is not set: the tests need a broker; run ./dev test");
    let name = format!("test-idle-{}-{}", SystemClock.now().as_millis(), std::process::id());
    let job = JobName::new(name).unwrap();
    let place = Kafka::new(servers).anchor();
    let anchor = place.idle_timeout(Duration::from_secs(2));
    let tasks = (0..TASKS).map(|number| Task { number, of: TASKS });
    let mut owned = Vec::new();
    for task in tasks {
        let mut at = claim(&anchor, &job, task, 7).await;
        assert_eq!(commit(&anchor, &job, task, &mut at).await, Verdict::COMMITTED);
        owned.push((task, at));
    }
    assert!(threads() >= THREADS_OF_A_PRODUCER, "{} threads", threads());
    until("nobody uses the place", || threads() == 0).await;
    // The owner goes on where it stood, and who has come meanwhile is no more disturbed than by one that was never idle.
    let rival = place.with_own_connections();
    let (first, rest) = owned.split_first_mut().unwrap();
    claim(&rival, &job, first.0, 8).await;
    assert_eq!(commit(&anchor, &job, first.0, &mut first.1).await, Verdict::Fenced);
    for (task, at) in rest {
        assert_eq!(commit(&anchor, &job, *task, at).await, Verdict::COMMITTED);
    }
    let mut rivals = claim(&rival, &job, first.0, 8).await;
    assert_eq!(commit(&rival, &job, first.0, &mut rivals).await, Verdict::COMMITTED);
}
