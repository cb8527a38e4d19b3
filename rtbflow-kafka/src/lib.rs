#![doc = include_str!("../README.md")]
//!
//! ## Where things are
//!
//! ```text
//!   kafka.rs   the cluster and its options        option.rs  which options are whose, and secret
//!   topic.rs   a topic to read, how it is opened  feed.rs    an opened topic, as the job sees it
//!   reader.rs  the thread that reads              inlet.rs   one partition on its way to its task
//!   native.rs  the native queues (all `unsafe`)   ends.rs    where partitions end, asked and proved
//!   layout.rs  which partitions make a task       range.rs   where reading begins
//!   dead_letter.rs, create.rs  topics to write    mailbox.rs what others ask of the reading thread
//! ```

mod blocking;
mod context;
mod create;
mod dead_letter;
mod deadline;
mod ends;
mod failure;
mod feed;
mod inlet;
mod kafka;
mod layout;
mod mailbox;
mod native;
mod option;
mod range;
mod reader;
mod topic;
mod watchdog;

pub use create::{TopicCount, TopicSpec};
pub use dead_letter::DeadLetterTopic;
pub use feed::KafkaFeed;
pub use kafka::Kafka;
pub use topic::KafkaTopic;
