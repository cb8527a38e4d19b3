//! rtbflow
pub mod barrier;
pub mod clock;
pub mod codec;
pub mod element;
pub mod epoch;
pub mod error;
pub mod flow;
pub mod job;
pub mod operators;
pub mod sink;
pub mod source;
pub mod state;
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod topology;

pub use barrier::Barrier;
pub use clock::{Clock, SystemClock};
pub use element::{Element, Origin, Partition, Record, Topic};
pub use error::{BadRecord, Error, ErrorKind, Result};
pub use flow::{Elements, End, Flow, KeyedFlow};
pub use job::Job;
pub use time::Timestamp;
