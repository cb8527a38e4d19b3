//! Who is a member of a job's group, what the group remembers, and what a log no longer has.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;
use rtbflow::epoch::JobName;
use rtbflow::{Error, Partition, Result, Topic};

use crate::client::blocking::blocking;
use crate::client::context::Callbacks;
use crate::client::failure::{answered, failure};
use crate::client::kafka::Kafka;
use crate::client::offsets::{offsets, serve_events};
use crate::client::option::Role;

/// How long one call may take.
const LONGEST: Duration = Duration::from_secs(10);
/// What a call may take beside its own deadline until it counts as stuck.
const GRACE: Duration = Duration::from_secs(5);
/// How long a topic may be unknown to the broker that is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// A member of a job's group: an instance that the group takes for alive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// What its client calls itself.
    pub client: String,
    /// Where it is connected from.
    pub host: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.client, self.host)
    }
}

impl Kafka {
    /// The instances of a job that its group takes for alive: those that read, and for as long as their
    /// session lasts (6 s, `session.timeout.ms`) those that were killed.
    ///
    /// # Errors
    /// Transient if no broker answers.
    pub async fn members(&self, job: &JobName) -> Result<Vec<Member>> {
        let attempt = format!("ask for the members of group {job}");
        self.query(attempt, job, |kafka, client, attempt, job| {
            let found = client.client().fetch_group_list(Some(job.as_str()), LONGEST);
            serve_events(client);
            let found = found.map_err(|error| failure(attempt, &error, &kafka.secrets()))?;
            let groups = found.groups().iter().filter(|group| group.name() == job.as_str());
            let members = groups.flat_map(|group| group.members()).map(|member| Member {
                client: member.client_id().to_owned(),
                host: member.client_host().to_owned(),
            });
            Ok(members.collect())
        })
        .await
    }

    /// Removes a job's group, and with it the offsets that were noted there for tools that show lag. Nothing
    /// reads them; what a job goes on from is removed by [`forget`](rtbflow::epoch::Anchor::forget) of its
    /// place.
    ///
    /// # Errors
    /// A configuration error if the group has members; transient if no broker answers.
    pub async fn forget_group(&self, job: &JobName) -> Result<()> {
        let attempt = format!("remove group {job}");
        self.query(attempt, job, |kafka, _, attempt, job| {
            let admin: AdminClient<Callbacks> =
                kafka.client(Role::Producer, "remove a group", &[])?;
            let options = AdminOptions::new().request_timeout(Some(LONGEST));
            let removed = block_on(admin.delete_groups(&[job.as_str()], &options));
            let removed = removed.map_err(|error| failure(attempt, &error, &kafka.secrets()))?;
            match removed.into_iter().next() {
                // One that is not there was removed before, or has expired.
                Some(Ok(_)) | Some(Err((_, Code::GroupIdNotFound))) => Ok(()),
                Some(Err((_, Code::NonEmptyGroup))) => Err(Error::config(format!(
                    "{attempt}: it has members; stop every instance of the job first"
                ))),
                Some(Err((_, code))) => Err(answered(attempt, code)),
                None => {
                    Err(Error::transient(format!("{attempt}: the brokers answered without it")))
                }
            }
        })
        .await
    }

    /// The first offset that each partition of a topic still has: what is before it was removed, by
    /// retention or by somebody, and cannot be read again. None for a topic that does not exist.
    ///
    /// # Errors
    /// Transient if no broker answers.
    pub async fn beginnings(&self, topic: &str) -> Result<BTreeMap<Partition, i64>> {
        let (attempt, topic) = (format!("ask where {topic} begins"), topic.to_owned());
        self.query(attempt, &topic, |kafka, client, attempt, topic| {
            let Some(count) = kafka.partitions(client, topic, PATIENCE)? else {
                return Ok(BTreeMap::new());
            };
            let partition = |number| {
                let fits = i32::try_from(number);
                let beyond = |_| Error::broken(&format!("{topic} has a partition {number}"));
                let number = fits.map_err(beyond)?;
                Ok(Partition::new(Topic::new(topic), number))
            };
            let partitions = (0..count).map(partition).collect::<Result<Vec<Partition>>>()?;
            let found = offsets(client, &partitions, Offset::Beginning, LONGEST);
            serve_events(client);
            let found = found.map_err(|error| failure(attempt, &error, &kafka.secrets()))?;
            if found.offsets.len() < partitions.len() {
                return Err(Error::transient(format!(
                    "{attempt}: a partition has no leader at the moment"
                )));
            }
            Ok(found.offsets)
        })
        .await
    }

    /// Asks with a client of its own, on a thread of its own.
    async fn query<N, T, F>(&self, attempt: String, of: &N, ask: F) -> Result<T>
    where
        N: Clone + Send + 'static,
        T: Send + 'static,
        F: FnOnce(&Self, &BaseConsumer<Callbacks>, &str, &N) -> Result<T> + Send + 'static,
    {
        let attempt = format!("{attempt} at {}", self.servers());
        let (kafka, of, attempted) = (self.clone(), of.clone(), attempt.clone());
        blocking(&attempt, LONGEST + GRACE, move || {
            let client = kafka.query_client("ask")?;
            ask(&kafka, &client, &attempted, &of)
        })
        .await
    }
}
