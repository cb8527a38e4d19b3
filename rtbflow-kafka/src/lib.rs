#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod anchor;
mod client;
mod producer;
mod source;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use anchor::KafkaAnchor;
pub use client::group::Member;
pub use client::kafka::Kafka;
pub use client::topic_spec::{TopicCount, TopicSpec};
pub use producer::dead_letter::DeadLetterTopic;
pub use producer::records::KafkaSinkBuilder;
pub use producer::sink::KafkaSink;
pub use producer::writer::KafkaWriter;
pub use source::feed::KafkaFeed;
pub use source::topic::KafkaTopic;
