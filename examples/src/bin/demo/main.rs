//! The main job as a demonstration: traffic, the pipelines, who kills them, a live view, and the proof of
//! the money.

mod arrivals;
mod asker;
mod broker;
mod campaigns;
mod chaos;
mod course;
mod ledger;
mod logs;
mod observer;
mod options;
mod pipelines;
mod progress;
mod proof;
mod reader;
mod role;
mod servers;
mod stage;
mod traffic;
mod untransacted;
mod view;
mod worker;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rtbflow::{Error, Result};
use rtbflow_examples::process::{exit_code, exit_message, on_signal, start_quiet_logs};

use options::DemoOptions;

/// When it is interrupted, what was sent is still read and proved, though a pipeline may just have been
/// killed. `./dev` waits for a second longer.
const LONGEST_END: Duration = Duration::from_secs(14);

fn main() -> ExitCode {
    if let Some(ended) = role::run() {
        return ended;
    }
    let options = DemoOptions::parse();
    view::leave_on_panic();
    let ended = start(&options);
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If stderr is closed, there is nobody left to tell.
            let _ = writeln!(std::io::stderr().lock(), "demo: {}", exit_message(&error));
            exit_code(&error)
        }
    }
}

/// Runs the demonstration; whether the proof holds.
fn start(options: &DemoOptions) -> Result<bool> {
    start_quiet_logs(options.verbose, || logs::Lines)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::permanent("start the runtime's threads").because(error))?;
    let asked = on_signal(LONGEST_END, view::leave)?;
    let ended = runtime.block_on(course::perform(options, asked));
    runtime.shutdown_background();
    ended
}
