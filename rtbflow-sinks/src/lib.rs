//! Postgres and Redis as places: results, state and positions move in one transaction, or in one script.

#[cfg(feature = "postgres")]
pub mod postgres;
