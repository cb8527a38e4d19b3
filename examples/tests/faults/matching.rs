//! S3 reads two topics of different counts: whoever comes, goes or is killed, the table is that of one run.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rtbflow::Timestamp;
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::topics::SystemTopic;
use tokio::task::spawn_blocking;

use crate::ledger::Ledger;
use crate::stage::{
    ADS, CONVERSIONS, DEAD_CONVERSIONS, DEAD_LETTERS, SOON, Stage, connect, make_topic, topics,
    until,
};
use crate::traffic::producer;
use crate::worker::{Kind, Start, Worker};

/// Partitions of the conversions, of which there are as many tasks.
const TASKS: i32 = 4;

/// Generated ad-events and conversions.
struct Market {
    generator: Generator,
    producer: FutureProducer,
    conversions: usize,
}

impl Market {
    fn new(seed: u64) -> Self {
        let start: Timestamp = "2024-01-15T10:31:00Z".parse().unwrap();
        let plan = Plan { devices: 200, ..Plan::new(seed, start, Duration::from_millis(200)) };
        Self { generator: Generator::new(plan), producer: producer(), conversions: 0 }
    }

    async fn send(&mut self, count: usize) {
        let read = |topic| matches!(topic, SystemTopic::AdEvents | SystemTopic::ConversionEvents);
        let records: Vec<_> =
            self.generator.by_ref().filter(|record| read(record.topic)).take(count).collect();
        let conversions = records.iter().filter(|record| record.topic != SystemTopic::AdEvents);
        self.conversions += conversions.count();
        let sent = records.iter().map(|record| {
            let value = record.value.as_deref().unwrap();
            let to = FutureRecord::to(record.topic.name()).key(&record.key).payload(value);
            self.producer.send(to, SOON)
        });
        try_join_all(sent).await.map_err(|(error, _)| error).unwrap();
    }
}

/// The rows, in the order of their keys.
async fn table(ledger: &Ledger) -> Vec<String> {
    let sql = "select to_jsonb(r)::text from conversion_results r order by conversion_id";
    let rows = connect(&ledger.url()).await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn until_shared(workers: &[Worker]) {
    until("the workers have all tasks, each once", async || {
        let held: Vec<u32> = workers.iter().flat_map(Worker::tasks).collect();
        let different: BTreeSet<u32> = held.iter().copied().collect();
        let all = usize::try_from(TASKS).unwrap();
        if (held.len(), different.len()) == (all, all) { Ok(()) } else { Err(held) }
    })
    .await;
}

async fn finish(start: Start) -> i64 {
    let ended = start.flag("--until-end").run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!((ended.count("late"), ended.count("pending")), (0, 0));
    ended.count("duplicates")
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_partitions_and_four_give_one_table_whoever_comes_and_goes() {
    let stage = Stage::without_topics("matching").await;
    for (topic, partitions) in
        [(ADS, 8), (DEAD_LETTERS, 8), (CONVERSIONS, TASKS), (DEAD_CONVERSIONS, TASKS)]
    {
        make_topic(topic, partitions).await;
    }
    let mut market = Market::new(11);
    let mut workers: Vec<Worker> = Vec::new();
    for (round, count) in [1, 2, 3, 5, 3, 1, 2].into_iter().enumerate() {
        while workers.len() < count {
            workers.push(stage.start(Kind::Matching).run());
        }
        while workers.len() > count {
            let worker = workers.remove(0);
            if round % 2 == 0 {
                let ended = worker.stop().await;
                assert_eq!(ended.code, Some(0), "{}", ended.log);
            } else {
                worker.signal("KILL");
                worker.end().await;
            }
        }
        until_shared(&workers).await;
        market.send(2_000).await;
    }
    for worker in workers {
        let ended = worker.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
    }
    finish(stage.start(Kind::Matching)).await;

    let alone = Ledger::new(&format!("{}_alone", stage.ledger.group.replace('-', "_"))).await;
    let start = stage.start(Kind::Matching);
    let repeats = finish(start.with("--group", &alone.group).with("--postgres", alone.url())).await;
    let expected = table(&alone).await;
    assert_eq!(table(&stage.ledger).await, expected);
    assert_eq!(expected.len() + usize::try_from(repeats).unwrap(), market.conversions);
    let attributed = expected.iter().filter(|row| row.contains("\"attributed\": true")).count();
    assert!(attributed > 20 && attributed < expected.len(), "{attributed} of {}", expected.len());
    assert!(repeats > 0, "a conversion that was delivered twice");

    let groups = [stage.ledger.group.clone(), alone.group.clone()];
    let made = spawn_blocking(topics).await.unwrap();
    let own: Vec<_> =
        made.iter().filter(|name| groups.iter().any(|group| name.starts_with(group))).collect();
    assert!(own.is_empty(), "no topic is made for it: {own:?}");
}
