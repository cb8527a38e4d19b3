#![doc = include_str!("../README.md")]
//!
//! ## Where things are
//!
//! ```text
//!   kafka.rs   the cluster and its options        option.rs  which options are whose, and secret
//!   topic.rs   a topic to read, or several        opening.rs how it is opened, and the group joined
//!   feed.rs    an opened topic, as the job sees it
//!   reader.rs  the thread that reads              mailbox.rs what others ask of that thread
//!   given.rs   what the group has given           inlet.rs   one partition on its way to its task
//!   native/    the native calls (all `unsafe`)     ends.rs    where partitions end, asked and proved
//!   range.rs, cut.rs  where reading begins        told.rs    what the group is told
//!   members.rs who is alive, what the group notes
//!   present.rs whether topics are there, before anything is read
//!   dead_letter.rs, create.rs  topics to write    again.rs   what was read, once more
//!   records.rs what a sink writes, outgoing.rs    writer.rs  writes it before the epochs commit
//!   results.rs the topics it is written to         refusal.rs which records a broker refuses
//!   anchor/    writes it in the step that commits produce.rs sending, and waiting for the answers
//! ```

mod again;
mod anchor;
mod blocking;
mod context;
mod create;
mod cut;
mod dead_letter;
mod deadline;
mod ends;
mod failure;
#[cfg(test)]
mod faults;
mod feed;
mod given;
mod inlet;
mod kafka;
mod mailbox;
mod members;
mod native;
mod opening;
mod option;
mod outages;
mod outgoing;
mod present;
mod produce;
mod range;
mod reader;
mod records;
mod refusal;
mod results;
mod told;
mod topic;
mod watchdog;
mod writer;

pub use anchor::KafkaAnchor;
pub use create::{TopicCount, TopicSpec};
pub use dead_letter::DeadLetterTopic;
pub use feed::KafkaFeed;
pub use kafka::Kafka;
pub use members::Member;
pub use records::{KafkaSink, Records};
pub use topic::KafkaTopic;
pub use writer::KafkaWriter;
