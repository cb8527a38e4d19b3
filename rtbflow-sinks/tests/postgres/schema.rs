//! A schema of its own for each test, dropped at its end.

use std::sync::atomic::{AtomicU32, Ordering};

use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::sink::Sink;
use rtbflow::{Clock, Origin, Partition, Record, SystemClock, Timestamp, Topic};
use rtbflow_sinks::postgres::{Options, Postgres};
use tokio_postgres::{Client, NoTls};

/// The server's URL.
pub(crate) fn url() -> String {
    std::env::var("RTBFLOW_TEST_POSTGRES")
        .expect("RTBFLOW_TEST_POSTGRES is not set: run ./dev test, which starts the servers")
}

/// The server's `host:port`.
pub(crate) fn server() -> String {
    let config: tokio_postgres::Config = url().parse().unwrap();
    let host = match &config.get_hosts()[0] {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(path) => panic!("{path:?}: the tests need TCP"),
    };
    format!("{host}:{}", config.get_ports()[0])
}

/// A schema that is dropped with this value.
pub(crate) struct Schema {
    pub(crate) name: String,
}

impl Schema {
    pub(crate) async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.now().as_millis();
        let name = format!("rtbflow_test_{}_{now}_{number}", std::process::id());
        let client = connect(&url()).await;
        client.batch_execute(&format!("create schema {name}")).await.unwrap();
        Self { name }
    }

    pub(crate) fn url(&self) -> String {
        let url = url();
        let behind = if url.contains('?') { '&' } else { '?' };
        format!("{url}{behind}options=-c%20search_path%3D{}", self.name)
    }

    /// Options for this schema.
    pub(crate) fn options(&self) -> Options {
        Postgres::connect_to(&self.url())
    }

    /// Options for this schema by another `host:port`.
    pub(crate) fn options_by(&self, address: &str) -> Options {
        Postgres::connect_to(&self.url().replace(&server(), address))
    }

    /// The place, ready for a job.
    pub(crate) async fn place(&self) -> Postgres {
        let postgres = self.options().build().unwrap();
        postgres.prepare(&job()).await.unwrap();
        postgres
    }

    /// A reader of its own.
    pub(crate) async fn reader(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop = format!("drop schema {} cascade", self.name);
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { connect(&url()).await.batch_execute(&drop).await })
        })
        .join();
        // A test that is failing already says more.
        if !std::thread::panicking() {
            dropped.unwrap().unwrap();
        }
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn one<V: for<'a> tokio_postgres::types::FromSql<'a>>(
    reader: &Client,
    sql: &str,
) -> V {
    reader.query_one(sql, &[]).await.unwrap().get(0)
}

pub(crate) fn job() -> JobName {
    JobName::new("worker").unwrap()
}

/// A record read from the topic `ads`.
pub(crate) fn record<T>(value: T, partition: i32, offset: i64) -> Record<T> {
    let partition = Partition::new(Topic::new("ads"), partition);
    let timestamp = Timestamp::from_millis(1_705_314_600_000 + offset);
    Record::read(value, timestamp, Origin::new(partition, offset))
}

/// A task with one partition, between its commits.
pub(crate) struct Owner {
    pub(crate) postgres: Postgres,
    pub(crate) task: Task,
    pub(crate) partition: Partition,
    pub(crate) at: Position,
}

impl Owner {
    pub(crate) async fn claim(postgres: &Postgres, number: u32, mark: u64) -> Self {
        let task = Task { number, of: 8 };
        let partition = Partition::new(Topic::new("ads"), number.cast_signed());
        let claim = Claim::new(task, vec![partition], mark);
        let at = postgres.claim(&job(), &claim).await.unwrap()[0];
        Self { postgres: postgres.clone(), task, partition, at }
    }

    /// The epoch that these records make in a sink.
    pub(crate) fn epoch<T>(&self, sink: &mut impl Sink<T>, records: &[Record<T>]) -> Epoch {
        for record in records {
            sink.check(record).unwrap();
            sink.write(record);
        }
        let to = Position {
            offset: Some(self.at.offset.unwrap_or(0) + i64::try_from(records.len()).unwrap()),
            commit: self.at.commit + 1,
            ..self.at
        };
        let advance = Advance::new(self.partition, self.at, to);
        let mut epoch = Epoch::new(self.task, vec![advance], Gathered::default());
        sink.stage(&mut epoch.staged);
        epoch
    }

    pub(crate) async fn commit(&mut self, epoch: &Epoch) -> rtbflow::Result<Verdict> {
        let epochs = std::slice::from_ref(epoch);
        let verdict = self.postgres.commit(&job(), epochs).await?[0];
        if verdict == Verdict::COMMITTED {
            self.at = epoch.advances[0].to;
        }
        Ok(verdict)
    }

    /// Writes records and commits them.
    pub(crate) async fn write<T>(
        &mut self,
        sink: &mut impl Sink<T>,
        records: &[Record<T>],
    ) -> rtbflow::Result<()> {
        let epoch = self.epoch(sink, records);
        self.commit(&epoch).await.map(|verdict| assert_eq!(verdict, Verdict::COMMITTED))
    }
}
