//! The main job as a demonstration: traffic, the pipelines, a live view, and the proof of the money.

mod asker;
mod broker;
mod campaigns;
mod course;
mod ledger;
mod observer;
mod options;
mod pipelines;
mod progress;
mod proof;
mod servers;
mod stage;
mod traffic;
mod untransacted;
mod view;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rtbflow::{Error, Result};
use rtbflow_examples::process::{exit_code, exit_message, on_signal, start_quiet_logs};

use options::DemoOptions;

fn main() -> ExitCode {
    let options = DemoOptions::parse();
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
    start_quiet_logs(options.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::permanent("start the runtime's threads").because(error))?;
    let asked = on_signal()?;
    let ended = runtime.block_on(course::perform(options, asked));
    runtime.shutdown_background();
    ended
}
