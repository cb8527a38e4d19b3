//! Whether topics are there, looked at before anything is read or written.

use std::time::Duration;

use rtbflow::{Error, Result};

use crate::client::blocking::blocking;
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;

/// How long a look may take.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// What it may take beside that until it counts as stuck.
const GRACE: Duration = Duration::from_secs(5);
/// How long topics that were just made may be unknown to a broker, all of them together.
const LONGEST_BIRTH: Duration = Duration::from_secs(3);

impl Kafka {
    /// Looks whether these topics are there. `what` says what they are for, such as `read`.
    ///
    /// # Errors
    /// A configuration error that names all that are missing; transient if no broker answers.
    pub(crate) async fn are_there(&self, what: &str, topics: Vec<String>) -> Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let (kafka, attempt) =
            (self.clone(), format!("look for the topics to {what} in Kafka at {}", self.servers()));
        let look = move || {
            let asking = kafka.asking_client("topics")?;
            let born = Deadline::after(LONGEST_BIRTH);
            let mut missing = Vec::new();
            for topic in topics {
                if kafka.partitions(&asking, &topic, born.left())?.is_none() {
                    missing.push(topic);
                }
            }
            Ok(missing)
        };
        let missing = blocking(&attempt, LONGEST_LOOK + GRACE, look).await?;
        match &*missing {
            [] => Ok(()),
            [topic] => Err(Error::config(format!(
                "{what} topic {topic}: Kafka at {} has no such topic; create it first",
                self.servers()
            ))),
            several => Err(Error::config(format!(
                "{what} topics {}: Kafka at {} has no such topics; create them first",
                several.join(", "),
                self.servers()
            ))),
        }
    }
}
