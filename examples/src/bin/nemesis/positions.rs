//! How far each pipeline has committed, as it stands in its place: read by the nemesis's own connections, which are
//! through nothing that faults touch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow_examples::topics::SystemTopic;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::Fallible;
use crate::pipelines::{Keeps, Kind, Places};
use crate::servers::{connect_postgres, connect_redis};

const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// The next offset of each partition.
pub(crate) type Positions = BTreeMap<(String, i32), i64>;

/// Where the servers are that are primaries now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Primaries(Arc<Mutex<(String, String)>>);

impl Primaries {
    /// From now on they are these.
    pub(crate) fn set(&self, postgres: &str, redis: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            (postgres.to_owned(), redis.to_owned());
    }

    /// The URL of Postgres, as the superuser.
    pub(crate) fn postgres(&self) -> String {
        let primaries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        format!("postgres://rtbflow@{}/rtb", primaries.0)
    }

    /// The address of Redis.
    pub(crate) fn redis(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// Reads positions.
pub(crate) struct Reader {
    places: Places,
    primaries: Primaries,
    groups: Arc<BaseConsumer>,
    postgres: Option<(String, Client)>,
}

impl Reader {
    /// Asks these brokers on behalf of the one group that keeps its positions there.
    pub(crate) fn new(brokers: &str, places: &Places, primaries: Primaries) -> Fallible<Self> {
        let groups: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", places.group(Kind::Duplicates))
            .set("enable.auto.commit", "false")
            .create()?;
        Ok(Self { places: places.clone(), primaries, groups: Arc::new(groups), postgres: None })
    }

    /// The positions of all pipelines; of those whose place does not answer, none.
    pub(crate) async fn all(&mut self) -> HashMap<Kind, Positions> {
        let mut all = HashMap::new();
        if let Ok(Ok(in_postgres)) = timeout(LONGEST_ANSWER, self.in_postgres()).await {
            all.extend(in_postgres);
        } else {
            self.postgres = None;
        }
        if let Ok(Ok(in_redis)) = timeout(LONGEST_ANSWER, self.in_redis()).await {
            all.extend(in_redis);
        }
        if let Ok(in_kafka) = self.in_kafka().await {
            all.insert(Kind::Duplicates, in_kafka);
        }
        all
    }

    async fn in_postgres(&mut self) -> Fallible<HashMap<Kind, Positions>> {
        let url = self.primaries.postgres();
        if self.postgres.as_ref().is_none_or(|(at, client)| *at != url || client.is_closed()) {
            self.postgres = Some((url.clone(), connect_postgres(&url).await?));
        }
        let (_, client) = self.postgres.as_ref().ok_or("no connection")?;
        let positions =
            "select job, topic, partition, coalesce(next_offset, 0) from rtbflow_positions";
        let mut found: HashMap<Kind, Positions> = HashMap::new();
        for row in client.query(positions, &[]).await? {
            let job: String = row.try_get(0)?;
            let kind = Kind::ALL.into_iter().find(|kind| self.places.group(*kind) == job);
            if let Some(kind) = kind {
                let at = (row.try_get(1)?, row.try_get(2)?);
                found.entry(kind).or_default().insert(at, row.try_get(3)?);
            }
        }
        Ok(found)
    }

    async fn in_redis(&self) -> Fallible<HashMap<Kind, Positions>> {
        let mut connection = connect_redis(&self.primaries.redis()).await?;
        let mut found = HashMap::new();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.keeps() == Keeps::Redis) {
            let key = format!("rtbflow:{}:positions", self.places.group(kind));
            let hash: HashMap<String, String> =
                redis::cmd("HGETALL").arg(key).query_async(&mut connection).await?;
            // A checksum, commit, owner, offset and event time; a dash is none.
            let position = |(field, text): (&String, &String)| {
                let (topic, partition) = field.rsplit_once('/')?;
                let next = text.split(' ').nth(3)?.split('/').next()?.parse().unwrap_or(0);
                Some(((topic.to_owned(), partition.parse().ok()?), next))
            };
            found.insert(kind, hash.iter().filter_map(position).collect());
        }
        Ok(found)
    }

    async fn in_kafka(&self) -> Fallible<Positions> {
        let groups = Arc::clone(&self.groups);
        let ask = move || -> Fallible<Positions> {
            let mut list = TopicPartitionList::new();
            let topic = SystemTopic::AdEvents;
            for partition in 0..i32::try_from(topic.partitions())? {
                list.add_partition_offset(topic.name(), partition, Offset::Invalid)?;
            }
            let committed = groups.committed_offsets(list, LONGEST_ANSWER)?;
            let offset = |at: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
                let Offset::Offset(next) = at.offset() else { return None };
                Some(((at.topic().to_owned(), at.partition()), next))
            };
            Ok(committed.elements().iter().filter_map(offset).collect())
        };
        tokio::task::spawn_blocking(ask).await?
    }
}
