//! Watches what campaigns spend by day in ad-events, and pauses them at the end of their budget.

use std::process::ExitCode;

use rtbflow_examples::{budget, pipeline, process};

fn main() -> ExitCode {
    process::run(pipeline::BUDGET, budget::run)
}
