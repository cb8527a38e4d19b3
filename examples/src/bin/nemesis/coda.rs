//! What a pipeline refuses, with exit code 2 and the way out, rather than go on over what is not its log any more: done
//! when all else was compared, as there is no going on from it.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow_examples::topics::{SystemTopic, specs};
use rtbflow_kafka::Kafka;
use tokio::time::{Instant, sleep};

use crate::Fallible;
use crate::findings::Findings;
use crate::instance::{Instance, LONGEST_STOP};
use crate::load::stretched;
use crate::pipelines::{Kind, Places};
use crate::traffic::{History, Sender};

const REFUSED: i32 = 2;
const MORE: usize = 400;
const LONGEST_READ: Duration = Duration::from_secs(30);
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// All that is done here.
pub(crate) struct Coda<'a> {
    pub(crate) brokers: &'a str,
    pub(crate) places: &'a Places,
    pub(crate) folder: &'a Path,
    pub(crate) findings: &'a Findings,
    pub(crate) topology: &'a str,
}

impl Coda<'_> {
    fn start(&self, kind: Kind, number: u32, more: &[&str]) -> Fallible<Instance> {
        Instance::start(kind, self.places, self.folder, 90_000 + number, more)
    }

    /// Starts a pipeline, which has to end by itself with this code, and to name all of these.
    async fn ends(&self, kind: Kind, number: u32, code: i32, names: &[&str]) -> Fallible {
        let more: &[&str] = if code == 0 { &["--until-end"] } else { &[] };
        let mut instance = self.start(kind, number, more)?;
        let ended =
            instance.process.end(stretched(LONGEST_REFUSAL)).await.map(|status| status.code());
        let missing: Vec<_> = names.iter().filter(|name| instance.said(name) == 0).collect();
        if ended != Some(Some(code)) || !missing.is_empty() {
            let words = instance.process.last_words();
            let what = format!(
                "{} ended with {ended:?}, expected {code}; not named: {missing:?}: {words}",
                kind.name()
            );
            self.findings.violation(&what);
        }
        self.findings.done();
        Ok(())
    }

    fn admin(&self) -> Fallible<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", self.brokers).create()?)
    }

    /// Does all of it.
    pub(crate) async fn play(&self, history: &mut History, sender: &Sender) -> Fallible {
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        self.findings.enter(self.topology, "topic made anew");
        let conversions = SystemTopic::ConversionEvents.name();
        for answer in self.admin()?.delete_topics(&[conversions], &options).await? {
            answer.map_err(|(topic, error)| format!("delete {topic}: {error}"))?;
        }
        let deadline = Instant::now() + SOON;
        while let Err(error) = Kafka::new(self.brokers)
            .create_topics(&specs(&[SystemTopic::ConversionEvents], &[]))
            .await
        {
            if Instant::now() > deadline {
                return Err(error.report().into());
            }
            sleep(POLL).await;
        }
        self.until_partitions(conversions, 4).await?;
        self.ends(Kind::Matching, 4, REFUSED, &[conversions, "begin-anew"]).await?;

        self.findings.enter(self.topology, "partitions added");
        self.leave_state(history, sender).await?;
        let ads = SystemTopic::AdEvents.name();
        let more = NewPartitions::new(ads, 9);
        for answer in self.admin()?.create_partitions([&more], &options).await? {
            answer.map_err(|(topic, error)| format!("add partitions to {topic}: {error}"))?;
        }
        self.until_partitions(ads, 9).await?;
        self.ends(Kind::Duplicates, 1, REFUSED, &["reset"]).await?;
        // One that keeps nothing but positions goes on.
        self.ends(Kind::Balance, 2, 0, &[]).await?;

        self.findings.enter(self.topology, "retention past a position");
        for _ in 0..MORE {
            sender.send(&history.next()).await?;
        }
        sender.flush().await?;
        self.delete_all_records(ads).await?;
        self.ends(Kind::Balance, 3, REFUSED, &[ads, "begin-anew"]).await
    }

    /// S4 reads some more, and ends with windows that are open.
    async fn leave_state(&self, history: &mut History, sender: &Sender) -> Fallible {
        let mut instance = self.start(Kind::Duplicates, 0, &[])?;
        for _ in 0..MORE {
            sender.send(&history.next()).await?;
        }
        sender.flush().await?;
        let deadline = Instant::now() + LONGEST_READ;
        while instance.said("assigned job=") == 0 && Instant::now() < deadline {
            sleep(POLL).await;
        }
        // Long enough that something was taken, which an end in order commits: nothing shows from outside that it was. If it
        // is not, what follows finds nothing to refuse, and says so.
        sleep(10 * POLL).await;
        instance.process.stop("TERM", LONGEST_STOP).await;
        Ok(())
    }

    async fn until_partitions(&self, topic: &str, count: usize) -> Fallible {
        let (brokers, topic) = (self.brokers.to_owned(), topic.to_owned());
        let look = move || -> Fallible<bool> {
            let asking: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", brokers).create()?;
            let deadline = Instant::now() + SOON;
            while Instant::now() < deadline {
                let metadata = asking.fetch_metadata(Some(&topic), SOON)?;
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                if partitions.filter(|at| at.leader() >= 0).count() == count {
                    return Ok(true);
                }
                std::thread::sleep(POLL);
            }
            Ok(false)
        };
        if tokio::task::spawn_blocking(look).await?? {
            Ok(())
        } else {
            Err("a topic has no leaders".into())
        }
    }

    /// As retention does, when its time has come.
    async fn delete_all_records(&self, topic: &str) -> Fallible {
        let mut list = TopicPartitionList::new();
        for partition in 0..9 {
            list.add_partition_offset(topic, partition, Offset::End)?;
        }
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        let left = self.admin()?.delete_records(&list, &options).await?;
        left.elements().iter().try_for_each(|at| Ok(at.error()?))
    }
}
