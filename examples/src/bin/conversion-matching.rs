//! Attributes each conversion in conversion-events to the last click before it.

use std::process::ExitCode;

use rtbflow_examples::{matching, pipeline, process};

fn main() -> ExitCode {
    process::run(pipeline::MATCHING, matching::run)
}
