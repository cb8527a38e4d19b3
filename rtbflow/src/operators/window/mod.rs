//! Windows over event time: what belongs together, when it is emitted, and what becomes of late records.
//!
//! A window `[start, end)` is emitted when the watermark reaches its end. A record is *late* for it once
//! `end + allowed lateness ≤ watermark`; what happens to late records must be said, or the pipeline
//! does not compile:
//!
//! ```compile_fail
//! use std::time::Duration;
//! use rtbflow::operators::window::{Count, Tumbling};
//! use rtbflow::testing::{run, values};
//!
//! run(values([1, 2]), |flow| {
//!     flow.key_by(|n| n % 2).window(Tumbling::of(Duration::from_mins(5))).aggregate("counts", Count)
//! });
//! ```

mod aggregate;
mod assign;
mod calendar;
mod closing;
mod count_window;
mod distinct;
mod early;
mod emitted;
mod extremes;
mod field;
mod flow;
mod grid;
mod lane;
mod late_policy;
mod lateness;
mod logic;
mod numbers;
mod open;
mod open_results;
mod parts;
mod passage;
mod quantiles;
mod recent;
mod results;
mod session;
mod session_logic;
mod shorthands;
mod slices;
mod sliding;
mod sliding_log;
mod sliding_logic;
mod sliding_results;
mod span;
mod stacks;
#[cfg(feature = "time-zones")]
mod time_zone;
#[cfg(feature = "time-zones")]
mod time_zone_rules;
mod top_n;
mod tumbling;
mod visits;

pub use aggregate::{Aggregate, Count, Fold, Merge, Reduce};
pub use assign::{Aggregation, Apply, Assigner, Decided, Windows};
pub use calendar::Calendar;
pub use count_window::{CountWindow, SlidingCount};
pub use distinct::{Distinct, Registers};
pub use extremes::{Max, Min};
pub use flow::WindowedFlow;
pub use late_policy::LatePolicy;
pub use numbers::{Mean, Number, Sum};
pub use quantiles::Quantiles;
pub use session::Session;
pub use sliding::Sliding;
pub use span::{Window, Windowed};
#[cfg(feature = "time-zones")]
pub use time_zone_rules::TimeZoneRules;
pub use top_n::TopN;
pub use tumbling::Tumbling;

pub use crate::operators::late::{Late, LateFlow, Undecided};
pub use crate::sketch::Sketch;
