//! The crate against three brokers that are killed, frozen and come back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod brokers;
mod claimed;
mod outage;
mod traffic;
mod unclean;
mod watched;
