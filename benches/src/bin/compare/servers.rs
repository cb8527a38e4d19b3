//! The servers: topics that are filled, and a fresh place for each turn.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rtbflow_examples::generator::{Budget, Generated};
use rtbflow_examples::topics::{SystemTopic, specs};
use rtbflow_kafka::Kafka;
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::Answer;
use crate::options::Options;
use crate::process::wait_until;
use crate::traffic::Traffic;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The servers that all turns use.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) kafka: String,
    pub(crate) redis: String,
    postgres: String,
    runtime: Runtime,
    places: AtomicU64,
}

/// A place that nobody has used: a database, an empty Redis, and a name for the group.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) postgres: String,
    pub(crate) group: String,
}

impl Servers {
    pub(crate) fn new(options: &Options) -> Answer<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (kafka, redis) = (options.kafka.clone(), options.redis.clone());
        Ok(Self {
            kafka,
            redis,
            postgres: options.postgres.clone(),
            runtime,
            places: AtomicU64::new(0),
        })
    }

    /// What names the servers and the place on a pipeline's command line.
    pub(crate) fn arguments(&self, place: &Place) -> Vec<String> {
        let named = [
            ["--kafka", &self.kafka],
            ["--redis", &self.redis],
            ["--postgres", &place.postgres],
            ["--group", &place.group],
        ];
        let arguments = named.concat().into_iter().chain(["--create-tables"]);
        arguments.map(str::to_owned).collect()
    }

    /// Empties Redis and makes a database, with the table of campaigns that budgets are read from.
    pub(crate) fn fresh_place(&self) -> Answer<Place> {
        let mut redis = redis::Client::open(&*self.redis)?.get_connection()?;
        redis::cmd("FLUSHALL").exec(&mut redis)?;
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        let name = format!("turn_{number}");
        if let Some(last) = number.checked_sub(1) {
            self.sql(&self.postgres, &format!("drop database if exists turn_{last} with (force)"))?;
        }
        // One of an earlier comparison, on servers that stay up.
        self.sql(&self.postgres, &format!("drop database if exists {name} with (force)"))?;
        self.sql(&self.postgres, &format!("create database {name}"))?;
        let server = Path::new(&self.postgres).parent().and_then(Path::to_str);
        let postgres = format!("{}/{name}", server.ok_or("read the address of Postgres")?);
        self.sql(
            &postgres,
            "create table campaigns (campaign_id text primary key, advertiser_id text, \
             daily_budget bigint, status text, paused_reason text, updated_at timestamptz)",
        )?;
        for Budget { campaign_id, advertiser_id, daily_budget, status } in Traffic::budgets() {
            self.sql(
                &postgres,
                &format!(
                    "insert into campaigns values ('{campaign_id}', '{advertiser_id}', {daily_budget}, \
                     '{status}', null, now())"
                ),
            )?;
        }
        // What was written for the turn is no work of the pipeline's.
        self.sql(&self.postgres, "checkpoint")?;
        Ok(Place { postgres, group: format!("compare-{name}") })
    }

    /// Runs statements.
    pub(crate) fn sql(&self, url: &str, statements: &str) -> Answer<()> {
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            let connection = tokio::spawn(connection);
            client.batch_execute(statements).await?;
            drop(client);
            Ok(connection.await??)
        })
    }

    /// The number that a query answers with.
    pub(crate) fn number(&self, url: &str, query: &str) -> Answer<i64> {
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            let connection = tokio::spawn(connection);
            let number = client.query_one(query, &[]).await?.try_get(0)?;
            drop(client);
            connection.await??;
            Ok(number)
        })
    }

    /// Makes all topics anew and fills them: how many records were sent.
    pub(crate) fn load(&self, traffic: &Traffic) -> Answer<u64> {
        self.remove_topics()?;
        let specs = specs(&SystemTopic::ALL, &[]);
        self.runtime.block_on(Kafka::new(&self.kafka).create_topics(&specs))?;
        self.send(traffic.records())
    }

    /// Sends records: how many they were.
    pub(crate) fn send(&self, records: impl Iterator<Item = Generated>) -> Answer<u64> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "200000")
            .set("linger.ms", "20")
            .create()?;
        let mut sent = 0;
        for record in records {
            let Some(value) = &record.value else { continue };
            let mut next = BaseRecord::to(record.topic.name()).key(&record.key).payload(value);
            while let Err((_, back)) = producer.send(next) {
                producer.poll(Duration::from_millis(50));
                next = back;
            }
            sent += 1;
        }
        producer.flush(TIMEOUT)?;
        Ok(sent)
    }

    fn remove_topics(&self) -> Answer<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka);
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        let producer: BaseProducer = config.create()?;
        let there = || -> Answer<Vec<String>> {
            let metadata = producer.client().fetch_metadata(None, TIMEOUT)?;
            let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
            Ok(names.filter(|name| !name.starts_with("__")).collect())
        };
        let names = there()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.runtime.block_on(admin.delete_topics(&names, &AdminOptions::new()))?;
        wait_until("remove topics", Duration::from_millis(100), || Ok(there()?.is_empty()))
    }
}
