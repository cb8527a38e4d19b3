//! Postgres and Redis go away in mid-run, for ten seconds or until the process is asked to end.

use std::time::Duration;

use rtbflow::testing::Proxy;
use tokio::time::{Instant, interval};

use crate::stage::{Stage, address, postgres, redis, until};
use crate::traffic::Traffic;
use crate::worker::{Ended, Kind, Worker};

const MIB: u64 = 1 << 20;
/// Fewer than the table says, so that the bound below is soon reached.
const PARTITIONS: u8 = 2;
/// What a task keeps of batches that no epoch was built of yet; it goes over that by a batch at most.
const KEPT_BYTES: u64 = 16 * MIB;
const BATCH_BYTES: u64 = MIB;
/// Batches between the reading thread and a task.
const QUEUED_BATCHES: u64 = 2;
/// What the client fetches ahead for all partitions; it goes over that by as much again at most.
const PREFETCH_BYTES: u64 = 16 * MIB;
/// What a task holds in rows besides: two epochs on their way and one being built, here of no more records
/// than fit into what it keeps.
const ROWS_BYTES: u64 = 3 * MIB;
/// What a process may need for its backlog, however long the outage and whatever is sent meanwhile.
const MOST_BYTES: u64 = PARTITIONS as u64
    * (KEPT_BYTES + (1 + QUEUED_BATCHES) * BATCH_BYTES + ROWS_BYTES)
    + 2 * PREFETCH_BYTES;
/// What is sent during the outage.
const BACKLOG_BYTES: u64 = MOST_BYTES + 40 * MIB;
const RECORD_BYTES: usize = 8 * 1024;
const OUTAGE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A worker that reaches its place through a proxy.
struct Reached {
    worker: Worker,
    proxy: Proxy,
}

impl Reached {
    async fn new(stage: &Stage, kind: Kind) -> Self {
        let (flag, url) = match kind {
            Kind::Balance | Kind::Matching => ("--postgres", postgres()),
            Kind::Performance => ("--redis", redis()),
            Kind::Duplicates | Kind::Compensation | Kind::Budget | Kind::Ranking => {
                panic!("no proxy stands before its place")
            }
        };
        let proxy = Proxy::to(address(&url)).await.unwrap();
        let by = proxy.address().to_string();
        let by = match kind {
            Kind::Balance | Kind::Matching => stage.ledger.url_by(&by),
            Kind::Performance => stage.cache.url_by(&by),
            Kind::Duplicates | Kind::Compensation | Kind::Budget | Kind::Ranking => {
                panic!("no proxy stands before its place")
            }
        };
        let worker = stage.start(kind).with(flag, by).run();
        worker.until_assigned().await;
        Self { worker, proxy }
    }

    /// Checks what its log says of the outage: which server, and for how long.
    fn has_reported_it(&self) {
        let log = self.worker.log();
        let server = self.proxy.address().to_string();
        let reports = |line: &&str| line.contains("trying again") && line.contains(&server);
        let lines: Vec<_> = log.lines().filter(reports).collect();
        let seconds = |line: &&str| {
            line.split_once("failing_for_s=").and_then(|(_, seconds)| seconds.trim().parse().ok())
        };
        let longest: Option<u64> = lines.iter().filter_map(seconds).max();
        assert!(longest.is_some_and(|seconds| seconds >= 5), "{log}");
        assert!(lines.len() < 10, "reported too often:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_place_is_waited_out_in_bounded_memory() {
    let stage = Stage::new("outage", PARTITIONS.into()).await;
    let charged = Reached::new(&stage, Kind::Balance).await;
    let counted = Reached::new(&stage, Kind::Performance).await;
    let both = [&charged, &counted];
    let watch = stage.ledger.watch().await;
    let mut traffic = Traffic::new(3);
    traffic.send(5_000, 0).await;
    stage.ledger.until_read(&traffic.sent().ends).await;
    stage.cache.until_read(&traffic.sent().ends).await;

    let before = both.map(|reached| reached.worker.memory());
    let mut most = before;
    both.iter().for_each(|reached| reached.proxy.cut());
    let cut = Instant::now();
    let surge = tokio::spawn(async move {
        let records = usize::try_from(BACKLOG_BYTES).unwrap() / RECORD_BYTES;
        for _ in 0..10 {
            traffic.send(records / 10 + 1, RECORD_BYTES).await;
        }
        traffic
    });
    let mut look = interval(LOOK_EVERY);
    while cut.elapsed() < OUTAGE {
        look.tick().await;
        for (most, reached) in most.iter_mut().zip(both) {
            *most = (*most).max(reached.worker.memory());
        }
    }
    assert!(surge.is_finished(), "the backlog is not yet as large as it is meant to be");
    both.iter().for_each(|reached| reached.proxy.mend());
    for ((reached, before), most) in both.iter().zip(before).zip(most) {
        let more = most - before;
        eprintln!(
            "{:?}: {} MiB before, {} MiB more, {} MiB allowed, {} MiB backlog",
            reached.worker.kind(),
            before / MIB,
            more / MIB,
            MOST_BYTES / MIB,
            BACKLOG_BYTES / MIB,
        );
        assert!(more <= MOST_BYTES, "{:?}: {} MiB more", reached.worker.kind(), more / MIB);
    }

    let mut traffic = surge.await.unwrap();
    traffic.send(1_000, 0).await;
    let sent = traffic.sent();
    stage.ledger.until_read(&sent.ends).await;
    stage.cache.until_read(&sent.ends).await;
    for reached in both {
        reached.worker.until_said("commit: succeeded again", 1).await;
        reached.has_reported_it();
        assert_eq!(reached.worker.said("assigned job="), 1, "it keeps its place in the group");
        assert_eq!(reached.worker.said("revoked"), 0, "it keeps its place in the group");
    }
    for Reached { worker, .. } in [charged, counted] {
        let ended = worker.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(ended.count("records_in"), sent.records, "{}", ended.log);
        assert_eq!((ended.count("pending"), ended.count("restarts")), (0, 0));
    }
    let ended = stage.start(Kind::Performance).flag("--until-end").run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    stage.ledger.is_exact(&sent).await;
    stage.cache.is_exact(&sent).await;
    watch.was_never_wrong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_in_an_outage_it_ends_in_time_and_the_next_one_completes() {
    let stage = Stage::new("stop", 8).await;
    let mut traffic = Traffic::new(4);
    traffic.send(2_000, 0).await;
    let charged = Reached::new(&stage, Kind::Balance).await;
    let counted = Reached::new(&stage, Kind::Performance).await;
    stage.ledger.until_read(&traffic.sent().ends).await;
    stage.cache.until_read(&traffic.sent().ends).await;
    for reached in [&charged, &counted] {
        reached.proxy.cut();
    }
    traffic.send(2_000, 0).await;
    let mut read = 0;
    for reached in [charged, counted] {
        reached.worker.until_said("commit: trying again", 1).await;
        let ended = reached.worker.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.count("pending") > 0, "{}", ended.log);
        read = ended.count("records_in");
        assert!(read <= 4_000, "{read} records were sent at most:\n{}", ended.log);
    }
    assert!(read > 2_000);
    let sent = traffic.sent();
    for kind in [Kind::Balance, Kind::Performance] {
        let ended: Ended = stage.start(kind).flag("--until-end").run().end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!((ended.count("records_in"), ended.count("late")), (2_000, 0), "{}", ended.log);
    }
    stage.ledger.is_exact(&sent).await;
    stage.cache.is_exact(&sent).await;
    until("nothing is left to read", async || {
        let left = sent.ends == stage.ledger.positions().await;
        if left { Ok(()) } else { Err(stage.ledger.positions().await) }
    })
    .await;
}
