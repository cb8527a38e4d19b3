//! The guide: a book of short chapters, in an order to read, and pages to look things up.
//!
//! 1. [Your first pipeline](first_pipeline): source, operators, sink and place, and how they are tried.
//! 2. [Time](time): event time, watermarks, and what each operator keeps for how long.
//! 3. [Windows](windows): kinds of windows, aggregates, early and late results.
//! 4. [Joins](joins): partners near in time, in one window, or of a table.
//! 5. [State and evolution](state): what is stored of a program, and how it may change.
//! 6. [Places and guarantees](places): what "exactly once" means here, and what it does not.
//! 7. [Kafka](kafka): settings, transactions, isolation, and what other clients read.
//! 8. [Dead letters](dead_letters): what becomes of records and results that cannot be used.
//! 9. [Testing and simulation](testing): from values in and out to a storm of faults.
//! 10. [Running it](running): deployment, rolling restarts, sizing, the oldest servers.
//! 11. [Metrics, health and alerts](watching): what a job says of itself, with a rule for each alert.
//! 12. [Errors](errors): each kind with what to do.
//! 13. [Operators and sinks of your own](own_operators), and
//!     [sources, writers and places of your own](own_places).
//! 14. [Checking the numbers with other tools](checking): what these do otherwise, with versions.
//!
//! To look things up: [what happens if](what_happens_if), [bounds] of every queue and wait, for whoever comes from [Flink](flink), and for whoever
//! comes from [Kafka Streams](kafka_streams).
//!
//! Chapters about servers have examples that need `rtbflow-kafka` and `rtbflow-sinks`; they are compiled with the
//! examples of the repository.

#[doc = include_str!("../docs/first-pipeline.md")]
pub mod first_pipeline {}

#[doc = include_str!("../docs/time.md")]
pub mod time {}

#[doc = include_str!("../docs/windows.md")]
pub mod windows {}

#[doc = include_str!("../docs/joins.md")]
pub mod joins {}

#[doc = include_str!("../docs/state.md")]
pub mod state {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/places.md"))]
#[cfg_attr(doctest, doc = "Its examples are compiled in the package `rtbflow-examples`.")]
pub mod places {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/kafka.md"))]
#[cfg_attr(doctest, doc = "Its examples are compiled in the package `rtbflow-examples`.")]
pub mod kafka {}

#[doc = include_str!("../docs/dead-letters.md")]
pub mod dead_letters {}

#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/running.md"))]
#[cfg_attr(doctest, doc = "Its examples are compiled in the package `rtbflow-examples`.")]
pub mod running {}

#[doc = include_str!("../docs/watching.md")]
pub mod watching {}

#[doc = include_str!("../docs/bounds.md")]
pub mod bounds {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/own-operators.md")]
pub mod own_operators {}

#[doc = include_str!("../docs/own-places.md")]
pub mod own_places {}

#[doc = include_str!("../docs/checking.md")]
pub mod checking {}

#[doc = include_str!("../docs/what-happens-if.md")]
pub mod what_happens_if {}

#[doc = include_str!("../docs/flink.md")]
pub mod flink {}

#[doc = include_str!("../docs/kafka-streams.md")]
pub mod kafka_streams {}
