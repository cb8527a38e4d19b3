//! Ranks the live campaigns of campaign-events by placement and category.

use std::process::ExitCode;

use rtbflow_examples::{pipeline, process, ranking};

fn main() -> ExitCode {
    process::run(pipeline::RANKING, ranking::run)
}
