//! A seeded simulation of whole jobs: several instances over one log, one group and one place, on one
//! thread and in virtual time, while everything goes wrong that can.
//!
//! ```text
//!   seed ─▶ Chance ─┬─▶ Group   rebalances: revoked, lost, assigned; members that come and go
//!                   ├─▶ Source  batches of any size, at any time; errors
//!                   ├─▶ Place   slow, failing, applied but the answer lost; time for each row; no right
//!                   │           for anybody for a while
//!                   └─▶ Life    crashes at any of these points; freezes and comes back as a zombie
//! ```
//!
//! Afterwards one quiet instance reads what is left, and the place must hold exactly what one
//! uninterrupted run over the same log leaves. One seed is one schedule: it is reported with the failure, and
//! `RTBFLOW_SIM_SEED` runs it again. What struck is reduced to the fewest faults that it takes, which are
//! reported in words.
//!
//! [`Simulation`] tries a pipeline in one call. A [`Scenario`] is the same for whoever brings a source or a
//! place of their own.

mod chance;
mod failure;
mod fault;
mod group;
mod life;
mod log;
mod place;
mod run;
mod scenario;
mod server;
mod simulation;
mod source;
mod truth;
mod world;

pub use chance::Chance;
pub use failure::Failure;
pub use fault::Fault;
pub use log::{SimBatch, SimLog};
pub use place::{Ledger, SimDeadLetters, SimPlace, Store};
pub use run::{check, find, run};
pub use scenario::{Conditions, Instance, Scenario};
pub use simulation::{SimFlow, Simulation};
pub use source::{SimFeed, SimSource};
