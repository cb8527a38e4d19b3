//! The test kit: laws that every operator, source and anchor must pass, clocks moved by hand, a proxy
//! that cuts connections, and a seeded simulation of whole jobs.
//!
//! What fails here fails by panicking, as assertions do, with a message that names the broken law.

pub mod builders;
mod clock;
mod drive;
pub mod laws;
mod proxy;
pub mod sim;

pub use clock::{ManualClock, TokioClock};
pub use drive::{Script, TestFlow, elements, run, timed, values};
pub use proxy::Proxy;
