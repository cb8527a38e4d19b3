//! The Postgres anchor and its sinks, against a real server.

mod cuts;
mod errors;
mod increments;
mod laws;
mod schema;
mod sinks;
