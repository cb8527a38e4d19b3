//! The frame of every binary: options in, logs and exit code out, and an end within ten seconds.
//!
//! ```text
//!  options ──▶ logs ──▶ metrics, health ──▶ pipeline ──▶ accounting line ──▶ exit code
//!                                               ▲
//!  SIGTERM, Ctrl-C ──▶ shutdown ────────────────┘   a second one, or ten seconds: the end, at once
//! ```

mod accounting;
mod endpoint;
mod exit;
mod logs;
mod memory;
mod signals;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use rtbflow::job::Report;
use rtbflow::{Error, Result};

pub use accounting::accounting_line;
pub use endpoint::Probed;
pub use exit::{exit_code, exit_message};
pub use logs::{start_logs, start_quiet_logs};
pub use signals::{Shutdown, on_signal};

use crate::options::{Common, Options};
use crate::pipeline::Pipeline;

/// How a pipeline's run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It ran to its end: the account of every record.
    Ran(Report),
    /// It ended with an error; what it committed until then is accounted for.
    Failed(Report, Error),
    /// It only described itself, or what it did instead of running.
    Described(String),
    /// It said what it would do if that were confirmed.
    Unconfirmed(String),
}

/// Runs a binary: reads its options, starts `run` with them, and says how it ended.
///
/// `run` gets the options and a future that is ready when the process is asked to end; it then has nine
/// seconds. Wrong options end with exit code 2 before it is called.
pub fn run<P, R, F>(pipeline: Pipeline, run: R) -> ExitCode
where
    P: Args,
    R: FnOnce(Options<P>, Shutdown) -> F,
    F: Future<Output = Result<Outcome>>,
{
    let Pipeline { name, about, group, .. } = pipeline;
    let options = match Options::read(name, about, group, std::env::args_os()) {
        Ok(options) => options,
        Err(refusal) if refusal.is_error() => return say_wrong(&refusal.to_string()),
        Err(help) => return print(&help.to_string()),
    };
    match start(&options.common).and_then(|runtime| {
        let shutdown = on_signal(signals::LONGEST_SHUTDOWN, || {})?;
        let ended = runtime.block_on(run(options, shutdown));
        // What still runs on a blocking thread has nothing more to commit.
        runtime.shutdown_background();
        ended
    }) {
        Ok(Outcome::Described(text)) => print(&text),
        Ok(Outcome::Unconfirmed(text)) => {
            // That nothing was done is the answer, whether or not anybody reads what it would have been.
            let _ = print(&text);
            ExitCode::from(exit::CONFIG)
        }
        Ok(Outcome::Ran(report)) => print(&accounting_line(name, &report)),
        Ok(Outcome::Failed(report, error)) => {
            // The error says how it ended, whether or not anybody reads the account.
            let _ = print(&accounting_line(name, &report));
            say(name, &error)
        }
        Err(error) => say(name, &error),
    }
}

/// Logs, metrics and the runtime, in this order: what comes later is logged and measured.
fn start(common: &Common) -> Result<tokio::runtime::Runtime> {
    if common.print_topology {
        return runtime();
    }
    start_logs(common.verbose)?;
    if let Some(address) = common.metrics {
        endpoint::serve(address, common.probed.clone())?;
    }
    let runtime = runtime()?;
    memory::give_back_free(&runtime);
    Ok(runtime)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::permanent("start the runtime's threads").because(error))
}

/// Writes the last line on stdout. A closed stdout is no reason to fail after all is committed, but it
/// is a reason not to end well.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn say_wrong(text: &str) -> ExitCode {
    // If stderr is closed too, there is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(exit::CONFIG)
}

fn say(name: &str, error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "{name}: {}", exit_message(error));
    exit_code(error)
}
