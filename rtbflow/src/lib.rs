//! Stream processing for Rust services, exactly once, and exact at the database.
//!
//! A [`Job`] reads a [source], sends its records through [operators] and writes
//! the results into a [place](epoch::Anchor), such as Postgres or Redis. Results, the operators' state and
//! the positions in the input move in **one atomic step**, so that a crash, a rebalance or a lost
//! answer neither loses nor doubles anything.
//!
//! A statement is a plain function from [`Flow`] to [`Flow`], and can be tried without any server:
//!
//! ```
//! use std::time::Duration;
//! use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
//! use rtbflow::testing::{run, timed};
//! use rtbflow::{Elements, Flow};
//!
//! /// Clicks per advertiser and five minutes.
//! fn clicks(ads: Flow<impl Elements<Value = u32>>) -> Flow<impl Elements<Value = Windowed<u32, u64>>> {
//!     ads.key_by(|advertiser| *advertiser)
//!         .window(Tumbling::of(Duration::from_mins(5)).late(Late::DeadLetter))
//!         .aggregate("clicks", Count)
//! }
//!
//! let counts = run(timed([(7, 10_000), (8, 20_000), (7, 200_000), (7, 300_000)]), clicks);
//! let counts: Vec<_> = counts.iter().map(|count| (count.key, count.value)).collect();
//! assert_eq!(counts, [(7, 2), (8, 1), (7, 1)]);
//! ```
//!
//! # Exactly once
//! Each record of the input takes effect in the place once, whatever happens to the processes: killed at any
//! point, run twice, frozen, cut off in the middle of a commit. Not more is meant: code runs again for what was
//! read and not committed, and what lies beside the place is written at least once. [Places and
//! guarantees](guide::places) has each place with what it covers, and what not.
//!
//! # The rooms
//! In the order in which data walks: [`source`] and [`codec`], [`flow`] and [`operators`], [`sink`],
//! [`epoch`], and around them the [`job`]. The words they share are in [`element`], [`barrier`], [`time`]
//! and [`state`]. The [`guide`] is a book of short chapters, in an order to read, with pages for whoever comes
//! from Kafka Streams or Flink.
//!
//! # Features
//! None is on unless it is asked for. `testing`: the test kit, for dev-dependencies. `time-zones`: windows
//! of the days and months of a time zone. `csv`: files and records of comma-separated values.
//!
//! # What it knows of time
//! Each record has an event time. The watermark of a partition is its highest event time less the
//! out-of-orderness that the source allows; that of a task is the lowest of its partitions. A window is
//! emitted when the watermark reaches its end, and a record that comes after that, and after the allowed
//! lateness, is late: what becomes of it has to be said. A partition that is *proved* to stand at its
//! end lets its event time go on with the wall clock, so that the last window closes when traffic
//! stops; one that is merely slow never does.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod activity;
mod alarm;
pub mod barrier;
mod bounded;
mod broken;
mod chunk;
pub mod clock;
pub mod codec;
mod dead_letter;
pub mod either;
pub mod element;
pub mod epoch;
pub mod error;
pub mod flow;
pub mod guide;
mod hash;
pub mod job;
mod log;
pub mod lookup;
pub mod operators;
mod position;
mod raw_record;
pub mod record;
mod refused_result;
mod samples;
pub mod sink;
mod sketch;
pub mod source;
mod staged;
pub mod state;
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod topology;
pub mod writer;

pub use barrier::Barrier;
pub use clock::{Clock, SystemClock};
pub use either::Either;
pub use element::Element;
pub use error::{BadRecord, Error, ErrorKind, Result};
pub use flow::{Elements, End, Flow, KeyedFlow};
pub use job::Job;
pub use record::{Origin, Partition, Record, Topic};
pub use time::Timestamp;
