//! The pipelines of a CPC real-time-bidding system: their records, statements and command line.

pub mod events;
