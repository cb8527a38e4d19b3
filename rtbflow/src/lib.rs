//! rtbflow
pub mod barrier;
pub mod clock;
pub mod codec;
pub mod element;
pub mod epoch;
pub mod error;
pub mod sink;
pub mod source;
pub mod state;
pub mod time;

pub use barrier::Barrier;
pub use clock::{Clock, SystemClock};
pub use element::{Element, Origin, Partition, Record, Topic};
pub use error::{BadRecord, Error, ErrorKind, Result};
pub use time::Timestamp;
