//! The operators beside Apache Flink and Kafka Streams: the same inputs, element by element.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its cases has failed")]
#![expect(clippy::expect_used, reason = "a test whose barrier is lost has failed")]

#[allow(dead_code, reason = "what one operator's tests do not need, another's do")]
mod cases;
mod dedup;
mod joins;
mod windows;
