//! Charges every click in ad-events to its advertiser.

use std::process::ExitCode;

use rtbflow_examples::{balance, pipeline, process};

fn main() -> ExitCode {
    process::run(pipeline::BALANCE, balance::run)
}
