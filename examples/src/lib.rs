//! The pipelines of a CPC real-time-bidding system: their records, statements and command line.

pub mod events;
pub mod generator;
pub mod options;
pub mod pipeline;
pub mod process;
pub mod topics;
