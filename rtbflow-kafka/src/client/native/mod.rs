//! The native calls that rdkafka has no face for: a queue for each partition, read in batches, and one
//! for a producer's reports.
//!
//! This folder is the only one of the libraries with `unsafe` code. Everything rests on three facts of librdkafka: a client
//! may be used from any thread, and so may a message; queues and messages must be destroyed before their
//! client, which [`Queue`] and the batches that come out of it see to by holding the consumer; and a message is ours
//! from the moment a batch call returns it until it is destroyed.
#![expect(unsafe_code, reason = "the native calls; each is explained where it stands")]

mod describe;
mod leader_epoch;
mod message;
mod queue;
mod reports;

pub(crate) use describe::{TopicDescription, describe};
pub(crate) use leader_epoch::{leader_epoch_of, set_leader_epoch};
pub(crate) use message::PartitionFailure;
pub(crate) use queue::{OffsetRange, Queue, Taken};
pub(crate) use reports::Reports;
