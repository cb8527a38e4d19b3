//! Topics as a source: one thread reads, one queue for each partition.

pub(crate) mod assignment;
pub(crate) mod begin;
pub(crate) mod connect;
pub(crate) mod end_offsets;
pub(crate) mod feed;
pub(crate) mod mailbox;
pub(crate) mod offset_commit;
pub(crate) mod partition_reader;
pub(crate) mod range;
pub(crate) mod read_again;
pub(crate) mod reader;
pub(crate) mod rebalance;
pub(crate) mod rejoin;
pub(crate) mod topic;
pub(crate) mod topic_watch;
pub(crate) mod truncation;
pub(crate) mod watchdog;

#[cfg(test)]
#[path = "../../tests/within/silent_client.rs"]
mod silent_client;
#[cfg(test)]
#[path = "../../tests/within/stalled_reader.rs"]
mod stalled_reader;
