//! Pages to read: how time is understood, what is stored of a program and how it may change, and what the constructs of other stream processors become here.

#[doc = include_str!("../docs/time.md")]
pub mod time {}

#[doc = include_str!("../docs/state.md")]
pub mod state {}

#[doc = include_str!("../docs/kafka-streams.md")]
pub mod kafka_streams {}

#[doc = include_str!("../docs/flink.md")]
pub mod flink {}

#[doc = include_str!("../docs/watching.md")]
pub mod watching {}

#[doc = include_str!("../docs/what-happens-if.md")]
pub mod what_happens_if {}
