//! What S2 writes, as a reader of Redis sees it: a database of a test's own.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Commands};
use rtbflow::Timestamp;

use crate::ledger::behind;
use crate::stage::{address, redis, until};
use crate::traffic::Sent;

/// The key by which a database is taken.
const TAKEN: &str = "rtbflow:test:taken";

/// A key as it was.
pub(crate) struct Remembered {
    key: String,
    bytes: Vec<u8>,
    left_ms: i64,
}

pub(crate) struct Cache {
    /// The consumer group of whoever writes it.
    pub(crate) group: String,
    database: u8,
    reader: MultiplexedConnection,
}

impl Cache {
    /// Takes a database that nobody uses.
    pub(crate) async fn new(name: &str) -> Self {
        for database in (1..16).rev() {
            let client = redis::Client::open(url(database)).unwrap();
            let mut reader = client.get_multiplexed_async_connection().await.unwrap();
            let size: u64 = redis::cmd("DBSIZE").query_async(&mut reader).await.unwrap();
            if size == 0 && reader.set_nx::<_, _, bool>(TAKEN, name).await.unwrap() {
                return Self { group: format!("{name}-s2"), database, reader };
            }
        }
        panic!("{} has no empty database: run ./dev test, which starts a fresh one", redis());
    }

    /// The URL with this database.
    pub(crate) fn url(&self) -> String {
        url(self.database)
    }

    /// The URL with this database, by another `host:port`.
    pub(crate) fn url_by(&self, other: &str) -> String {
        self.url().replacen(&address(&redis()), other, 1)
    }

    /// The next offset of each partition that is known.
    pub(crate) async fn positions(&self) -> BTreeMap<i32, i64> {
        let key = format!("rtbflow:{}:positions", self.group);
        let positions: BTreeMap<String, String> = self.reader.clone().hgetall(key).await.unwrap();
        let offset = |(partition, position): (&String, &String)| {
            let digits = partition.rsplit(|c: char| !c.is_ascii_digit()).next()?;
            // A checksum, commit, owner, offset and event time; a dash is none.
            Some((digits.parse().ok()?, position.split(' ').nth(3)?.parse().ok()?))
        };
        positions.iter().filter_map(offset).collect()
    }

    /// Waits until everything below these offsets is committed.
    pub(crate) async fn until_read(&self, ends: &BTreeMap<i32, i64>) {
        until("S2 reads on", async || behind(&self.positions().await, ends)).await;
    }

    /// All that is there, but for the mark that the database is taken.
    pub(crate) async fn remember(&self) -> Vec<Remembered> {
        let mut reader = self.reader.clone();
        let keys: Vec<String> = reader.keys("*").await.unwrap();
        let mut remembered = Vec::new();
        for key in keys.into_iter().filter(|key| key != TAKEN) {
            let bytes: Vec<u8> =
                redis::cmd("DUMP").arg(&key).query_async(&mut reader).await.unwrap();
            let left: i64 = reader.pttl(&key).await.unwrap();
            remembered.push(Remembered { key, bytes, left_ms: left.max(0) });
        }
        remembered
    }

    /// From one moment to the next all is as it was, as where a replica takes over that was behind.
    pub(crate) async fn fall_back(&self, to: &[Remembered]) {
        let mut reader = self.reader.clone();
        let keys: Vec<String> = reader.keys("*").await.unwrap();
        let mut at_once = redis::pipe();
        at_once.atomic();
        for key in keys.iter().filter(|key| *key != TAKEN) {
            at_once.del(key).ignore();
        }
        for Remembered { key, bytes, left_ms } in to {
            at_once.cmd("RESTORE").arg(key).arg(left_ms).arg(bytes).ignore();
        }
        at_once.exec_async(&mut reader).await.unwrap();
    }

    async fn hash(&self, key: &str) -> BTreeMap<String, String> {
        self.reader.clone().hgetall(key).await.unwrap()
    }

    /// Checks that every window of every campaign holds what was sent, and that there are no others.
    pub(crate) async fn is_exact(&self, sent: &Sent) {
        let mut keys = BTreeSet::new();
        let mut newest = BTreeMap::new();
        for ((campaign, start), counts) in &sent.windows {
            let start = Timestamp::from_millis(*start);
            let key = format!("perf:{campaign}:{start}");
            let hash = self.hash(&key).await;
            let number = |field: &str| hash.get(field).and_then(|text| text.parse::<i64>().ok());
            let found = ["impressions", "clicks", "conversions", "cost", "revenue"].map(number);
            let counts = [
                counts.impressions,
                counts.clicks,
                counts.conversions,
                counts.cost.fits().unwrap(),
                counts.revenue.fits().unwrap(),
            ];
            assert_eq!(found, counts.map(Some), "{key}");
            newest.insert(campaign, hash);
            keys.insert(key);
        }
        for (campaign, hash) in newest {
            let key = format!("perf:{campaign}");
            assert_eq!(self.hash(&key).await, hash, "{key}");
            keys.insert(key);
        }
        let found: BTreeSet<String> = self.reader.clone().keys("perf:*").await.unwrap();
        assert_eq!(found, keys);
    }
}

fn url(database: u8) -> String {
    let url = redis();
    let (scheme, _) = url.split_once("://").unwrap();
    let user = url
        .rsplit_once('@')
        .map_or("", |(before, _)| before.split_once("://").map_or("", |(_, user)| user));
    let at = if user.is_empty() { "" } else { "@" };
    format!("{scheme}://{user}{at}{}/{database}", address(&url))
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What the pipelines of this test have written, and that the database is taken; last of all, by its name.
        let mine = ["perf:*", "budget:*", "rtb:*", "rtbflow:*"];
        let cleaned = redis::Client::open(self.url()).and_then(|client| {
            let mut connection = client.get_connection()?;
            for pattern in mine {
                let keys: Vec<String> = connection.keys(pattern)?;
                for some in keys.chunks(1_000) {
                    connection.del::<_, ()>(some)?;
                }
            }
            Ok(())
        });
        // A test that is failing already says more.
        if !std::thread::panicking() {
            cleaned.unwrap();
        }
    }
}
