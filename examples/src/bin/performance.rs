//! Counts each campaign's impressions, clicks and conversions in ad-events.

use std::process::ExitCode;

use rtbflow_examples::{performance, pipeline, process};

fn main() -> ExitCode {
    process::run(pipeline::PERFORMANCE, performance::run)
}
