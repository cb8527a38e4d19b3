//! The pipelines of a CPC real-time-bidding system: their records, statements and command line.

pub mod balance;
pub mod budget;
pub mod duplicate_clicks;
pub mod events;
pub mod generator;
pub mod launch;
pub mod matching;
pub mod options;
pub mod performance;
pub mod pipeline;
pub mod process;
pub mod ranking;
mod reach;
pub mod refund;
pub mod reset;
pub mod topics;
pub mod won;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Chapters of the guide whose examples need a connector.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../rtbflow/docs/places.md")]
    struct Places;

    #[doc = include_str!("../../rtbflow/docs/kafka.md")]
    struct Kafka;

    #[doc = include_str!("../../rtbflow/docs/running.md")]
    struct Running;
}
