//! The test kit: what operators make of a few elements ([`run`]), a whole pipeline driven by hand through
//! commits and crashes ([`TestDriver`]), any pipeline under a seeded storm of them
//! ([`sim::Simulation`]), the [`laws`] that every operator, source, sink and anchor must pass, clocks moved
//! by hand, and a proxy that cuts connections.
//!
//! What fails here fails by panicking, as assertions do, with a message that names the broken law.

pub mod builders;
mod clock;
mod drive;
mod driver;
pub mod laws;
mod proxy;
mod refused;
pub mod sim;
mod stored;

pub use clock::{ManualClock, TokioClock};
pub use drive::{ScriptedStream, TestFlow, elements, run, timed, values};
pub use driver::{Line, Outputs, StateBucket, TestDriver};
pub use proxy::Proxy;
pub use refused::leave_out;
pub use stored::topology_is_stored;
