//! A seeded simulation of whole jobs: several instances over one log, one group and one place, on one
//! thread and in virtual time, while everything goes wrong that can.
//!
//! ```text
//!   seed ─▶ Chance ─┬─▶ Group   rebalances: revoked, lost, assigned; members that come and go
//!                   ├─▶ Source  batches of any size, at any time; errors; what was read already comes again
//!                   ├─▶ Log     markers, leaders' terms, a partition without a leader, retention of what is
//!                   │           committed, topics that are deleted and made anew
//!                   ├─▶ Place   slow, silent, failing, applied but the answer lost; time for each row; no right
//!                   │           for anybody for a while; locks that a frozen session keeps; a server that takes
//!                   │           over and is behind; positions, state and results removed by hand
//!                   └─▶ Life    crashes wherever it waits; freezes and comes back as a zombie; a wall clock that
//!                               is set by an hour
//! ```
//!
//! After each step of the place it must hold that each row is one of an uninterrupted run, that no position goes back,
//! names a log that it is not of or stands past a record whose dead letter was not sent, that as many records have
//! ended as positions say were read, and that no instance accounts for one twice. Afterwards one quiet instance
//! reads what is left, and the place must hold exactly what one uninterrupted run over the same log leaves.
//!
//! One seed is one schedule: it is reported with the failure, and `RTBFLOW_SIM_SEED` runs it again. What struck is
//! reduced to the fewest faults that it takes, which are reported in words.
//!
//! [`Simulation`] tries a pipeline in one call. A [`Scenario`] is the same for whoever brings a source or a
//! place of their own.

mod any_anchor;
mod broker;
mod chance;
mod dead_letters;
mod expected;
mod failure;
mod fault;
mod group;
mod invariants;
mod life;
mod log;
mod place;
mod run;
mod scenario;
mod server;
mod simulation;
mod source;
mod steps;
mod topic_id;
mod truth;
mod wall_clock;
mod world;

pub use any_anchor::AnyAnchor;
pub use chance::Chance;
pub use dead_letters::SimDeadLetters;
pub use failure::Failure;
pub use fault::Fault;
pub use log::{SimBatch, SimLog};
pub use place::{Ledger, SimPlace, Store};
pub use run::{check, find, run};
pub use scenario::{Always, Conditions, Instance, Scenario};
pub use simulation::{SimFlow, Simulation};
pub use source::{SimFeed, SimSource};
