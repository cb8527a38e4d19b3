//! The operators beside Apache Flink and Kafka Streams: the same inputs, element by element.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its cases has failed")]
#![expect(clippy::expect_used, reason = "a test whose barrier is lost has failed")]

#[allow(dead_code, reason = "what one operator's tests do not need, another's do")]
mod cases;
mod dedup;
mod joins;
mod windows;

use cases::{check_all, count_all};

/// A test for each file of cases, and one that no file is left out.
macro_rules! operators {
    ($($test:ident: $operator:literal, $run:path;)+) => {
        $(#[test]
        fn $test() {
            check_all($operator, $run);
        })+

        #[test]
        fn every_case_of_every_file_is_run() {
            assert_eq!(count_all(&[$($operator),+]), 736);
        }
    };
}

operators! {
    tumbling_as_flink: "tumbling", windows::tumbling;
    sliding_as_flink: "sliding", windows::sliding;
    session_as_flink: "session", windows::session;
    count_window_as_flink: "count-window", windows::count_window;
    window_topn_as_flink: "window-topn", windows::window_topn;
    window_as_kafka_streams: "kstreams-window", windows::kstreams_window;
    window_join_as_flink: "window-join", joins::window_join;
    interval_join_as_flink: "interval-join", joins::interval_join;
    interval_join_as_kafka_streams: "kstreams-join", joins::kstreams_join;
    deduplication_as_flink: "dedup", dedup::dedup;
}
