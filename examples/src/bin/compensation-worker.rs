//! Pays every refund in compensation-events to its advertiser.

use std::process::ExitCode;

use rtbflow_examples::{pipeline, process, refund};

fn main() -> ExitCode {
    process::run(pipeline::COMPENSATION, refund::run)
}
