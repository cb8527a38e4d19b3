//! A backlog of a million ad-events, from Kafka into the place: durable debits per second of the
//! balance worker, CPU time per record of the performance pipeline, and beside them a consumer written
//! by hand that decodes and counts the same records and commits nothing.
//!
//! `./dev bench -p rtbflow-benches --bench backlog` starts empty servers and runs it; `BACKLOG=200000`
//! makes it smaller, and a name after `--` runs only what has it in its own. CPU time is that of the whole
//! process, librdkafka's threads included.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::future::pending;
use std::time::{Duration, Instant};

use futures::FutureExt;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use rtbflow::Timestamp;
use rtbflow_benches::{AdEvent, AdEventType};
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::options::Options;
use rtbflow_examples::pipeline::{BALANCE, PERFORMANCE, Pipeline};
use rtbflow_examples::process::Outcome;
use rtbflow_examples::topics::{SystemTopic, specs};
use rtbflow_examples::{balance, performance};
use rtbflow_kafka::Kafka;

type Answer<T> = Result<T, Box<dyn Error>>;

const TOPIC: SystemTopic = SystemTopic::AdEvents;
/// Runs of each; the fastest counts, since whatever else the machine does only slows down.
const RUNS: usize = 3;
const NAMES: [&str; 3] =
    ["by hand, decode and count", "performance, to Redis", "balance-worker, to Postgres"];

fn main() -> Answer<()> {
    let server = |name: &str| {
        std::env::var(name).map_err(|_| {
            format!("{name} is not set: run ./dev bench -p rtbflow-benches --bench backlog")
        })
    };
    let kafka = server("RTBFLOW_TEST_KAFKA")?;
    let (redis, postgres) = (server("RTBFLOW_TEST_REDIS")?, server("RTBFLOW_TEST_POSTGRES")?);
    let count =
        std::env::var("BACKLOG").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        load(&kafka, count).await?;
        let records = ends(&kafka)?.iter().map(|(_, end)| *end).sum::<i64>();
        let records = u32::try_from(records)?;
        println!("{records} ad-events in {}, best of {RUNS} runs each", TOPIC.name());
        // Cargo itself passes `--bench`.
        let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        let asked = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
        let [by_hand, s2, w1] = NAMES;
        let mut best: HashMap<&str, Figures> = HashMap::new();
        for run in 0..RUNS {
            let mut keep = |name, figures: Figures| {
                let slot = best.entry(name).or_insert(figures);
                *slot = slot.better(figures);
            };
            let group = |name: &str| format!("backlog-{name}-{run}-{}", std::process::id());
            if asked(by_hand) {
                keep(by_hand, measure(records, count_by_hand(&kafka, &group("hand"))).await?);
            }
            let s2_options =
                ["--kafka", &kafka, "--redis", &redis, "--group", &group("s2"), "--until-end"];
            if asked(s2) {
                let run = performance::run(read(PERFORMANCE, &s2_options)?, never());
                keep(s2, measure(records, pipeline(Box::pin(run))).await?);
            }
            let w1_options = [
                "--kafka",
                &kafka,
                "--postgres",
                &postgres,
                "--group",
                &group("w1"),
                "--until-end",
                "--create-tables",
            ];
            if asked(w1) {
                // Each run books the same records anew: without the books of the run before.
                sql(&postgres, "drop table if exists balance_ledger, advertiser_balances").await?;
                let run = balance::run(read(BALANCE, &w1_options)?, never());
                keep(w1, measure(records, pipeline(Box::pin(run))).await?);
            }
        }
        for name in NAMES {
            if let Some(figures) = best.get(name) {
                println!("{name:>28}: {figures}");
            }
        }
        Ok(())
    })
}

fn never() -> rtbflow_examples::process::Shutdown {
    pending().boxed().shared()
}

fn read<P: clap::Args>(pipeline: Pipeline, arguments: &[&str]) -> Answer<Options<P>> {
    let arguments = std::iter::once("bench").chain(arguments.iter().copied()).map(OsString::from);
    Options::read(pipeline.name, pipeline.about, pipeline.group, arguments)
        .map_err(|refusal| refusal.to_string().into())
}

/// What a run used of a record was worth.
async fn pipeline(run: impl Future<Output = rtbflow::Result<Outcome>>) -> Answer<u64> {
    match Box::pin(run).await? {
        Outcome::Ran(account) => Ok(account.decoded),
        Outcome::Described(text) | Outcome::Unconfirmed(text) => Err(text.into()),
        Outcome::Failed(_, error) => Err(error.into()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    records: u32,
    used: u64,
    wall: Duration,
    cpu: Duration,
}

impl Figures {
    fn better(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu), ..self }
    }
}

impl std::fmt::Display for Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>5} ns CPU per record, {:>9.0} records/s; {} used, {:.0} of them a second",
            (self.cpu / self.records).as_nanos(),
            f64::from(self.records) / self.wall.as_secs_f64(),
            self.used,
            self.used as f64 / self.wall.as_secs_f64(),
        )
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
async fn measure(records: u32, run: impl Future<Output = Answer<u64>>) -> Answer<Figures> {
    let (cpu, wall) = (cpu_time()?, Instant::now());
    let used = run.await?;
    Ok(Figures { records, used, wall: wall.elapsed(), cpu: cpu_time()?.saturating_sub(cpu) })
}

/// User and system time of this process: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms
/// (proc_pid_stat(5)).
fn cpu_time() -> Answer<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("read /proc/self/stat")?.1;
    let ticks: Vec<u64> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

async fn sql(url: &str, statement: &str) -> Answer<()> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await?;
    drop(client);
    Ok(connection.await??)
}

/// Fills the topic, unless it holds as much already.
async fn load(servers: &str, count: i64) -> Answer<()> {
    Kafka::new(servers).create_topics(&specs(&[TOPIC], &[])).await?;
    let there: i64 = ends(servers)?.iter().map(|(_, end)| *end).sum();
    if there >= count {
        return Ok(());
    }
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "200000")
        .set("linger.ms", "20")
        .create()?;
    let start: Timestamp = "2024-01-15T00:00:00Z".parse()?;
    let plan = Plan::new(7, start, Duration::from_millis(7));
    let ads = Generator::new(plan).filter(|record| record.topic == TOPIC);
    for record in ads.take(usize::try_from(count)?) {
        let Some(value) = &record.value else { continue };
        let mut next = BaseRecord::to(TOPIC.name()).key(&record.key).payload(value);
        while let Err((_, back)) = producer.send(next) {
            producer.poll(Duration::from_millis(50));
            next = back;
        }
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

/// The end of each partition.
fn ends(servers: &str) -> Answer<Vec<(i32, i64)>> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..i32::try_from(TOPIC.partitions())? {
        partitions.add_partition_offset(TOPIC.name(), partition, Offset::End)?;
    }
    let ends = consumer.offsets_for_times(partitions, Duration::from_secs(10))?;
    let of = |end: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        (end.partition(), end.offset().to_raw().unwrap_or(0).max(0))
    };
    Ok(ends.elements().iter().map(of).collect())
}

/// What a team writes first: a consumer, serde into owned strings, a map.
async fn count_by_hand(servers: &str, group: &str) -> Answer<u64> {
    const WINDOW_MS: i64 = 300_000;
    let mut left: i64 = ends(servers)?.iter().map(|(_, end)| *end).sum();
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    consumer.subscribe(&[TOPIC.name()])?;
    let mut windows: HashMap<(String, i64), [i64; 5]> = HashMap::new();
    let mut used = 0;
    while left > 0 {
        let message = consumer.recv().await?;
        left -= 1;
        let Ok(ad) = serde_json::from_slice::<AdEvent>(message.payload().unwrap_or_default())
        else {
            continue;
        };
        let sums =
            windows.entry((ad.campaign_id, ad.timestamp.as_millis() / WINDOW_MS)).or_default();
        let [impressions, clicks, conversions, cost, revenue] = sums;
        match ad.event_type {
            AdEventType::Impression => *impressions += 1,
            AdEventType::Click => {
                (*clicks, *cost) = (*clicks + 1, *cost + ad.actual_price.unwrap_or(0))
            }
            AdEventType::Conversion => {
                (*conversions, *revenue) =
                    (*conversions + 1, *revenue + ad.revenue_amount.unwrap_or(0));
            }
        }
        used += 1;
    }
    std::hint::black_box(&windows);
    Ok(used)
}
