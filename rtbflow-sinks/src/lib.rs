//! x
#[cfg(feature = "redis")]
pub mod redis;
