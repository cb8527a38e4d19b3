//! Whether topics exist, checked before anything is read or written.

use std::time::Duration;

use rtbflow::{Error, Result};

use crate::client::blocking::blocking;
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// What it may take beside that until it counts as stuck.
const GRACE: Duration = Duration::from_secs(5);
/// How long topics that were just made may be unknown to a broker, all of them together.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(3);

impl Kafka {
    /// Checks that these topics exist. `what` says what they are for, such as `read`.
    ///
    /// # Errors
    /// A configuration error that names all that are missing; transient if no broker answers.
    pub(crate) async fn check_topics_exist(&self, what: &str, topics: Vec<String>) -> Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let (kafka, attempt) =
            (self.clone(), format!("look for the topics to {what} in Kafka at {}", self.servers()));
        let check = move || {
            let client = kafka.query_client("topics")?;
            let propagated = Deadline::after(PROPAGATION_TIMEOUT);
            let mut missing = Vec::new();
            for topic in topics {
                if kafka.partitions(&client, &topic, propagated.left())?.is_none() {
                    missing.push(topic);
                }
            }
            Ok(missing)
        };
        let missing = blocking(&attempt, CHECK_TIMEOUT + GRACE, check).await?;
        missing_topics(what, self.servers(), &missing)
    }
}

fn missing_topics(what: &str, servers: &str, missing: &[String]) -> Result<()> {
    match missing {
        [] => Ok(()),
        [topic] => Err(Error::config(format!(
            "{what} topic {topic}: Kafka at {servers} has no such topic; create it first"
        ))),
        several => Err(Error::config(format!(
            "{what} topics {}: Kafka at {servers} has no such topics; create them first",
            several.join(", ")
        ))),
    }
}
