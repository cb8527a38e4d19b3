//! The clients of a cluster, and what all of them have in common.

pub(crate) mod blocking;
pub(crate) mod context;
pub(crate) mod create;
pub(crate) mod deadline;
pub(crate) mod failure;
pub(crate) mod group;
pub(crate) mod kafka;
pub(crate) mod native;
pub(crate) mod offsets;
pub(crate) mod option;
pub(crate) mod outages;
pub(crate) mod partition_consumer;
pub(crate) mod topic_check;
pub(crate) mod topic_spec;
