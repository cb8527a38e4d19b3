//! Finds repeated clicks in ad-events and sends their refunds to compensation-events.

use std::process::ExitCode;

use rtbflow_examples::{duplicate_clicks, pipeline, process};

fn main() -> ExitCode {
    process::run(pipeline::DUPLICATES, duplicate_clicks::run)
}
