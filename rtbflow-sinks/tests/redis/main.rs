//! The Redis anchor and its sinks against a real server.
#![cfg(feature = "redis")]

mod commit;
mod laws;
mod merge_hash;
mod operations;
mod outage;
mod room;
mod server;
mod size;
