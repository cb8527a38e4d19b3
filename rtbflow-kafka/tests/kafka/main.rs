//! The crate against a real broker. Each silent trap of the client has a test that fails when it is
//! stepped into.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::panic, reason = "a test that cannot go on has failed")]

mod accounts;
mod anew;
mod cogroups;
mod committed;
mod cuts;
mod ends;
mod group;
mod held;
mod lag;
mod laws;
mod letters;
mod member;
mod mock;
mod passed;
mod place;
mod positions;
mod pressure;
mod refused;
#[cfg(feature = "tls")]
mod secure;
mod server;
mod slow;
mod stored;
mod topics;
mod traffic;
mod writer;
