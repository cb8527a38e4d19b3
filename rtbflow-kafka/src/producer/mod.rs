//! Records, results and dead letters on their way to topics.

pub(crate) mod batch;
pub(crate) mod dead_letter;
pub(crate) mod letter;
pub(crate) mod letter_topics;
pub(crate) mod produce;
pub(crate) mod records;
pub(crate) mod refusal;
pub(crate) mod result_topics;
pub(crate) mod sink;
pub(crate) mod staged;
pub(crate) mod writer;
