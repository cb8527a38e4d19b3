//! The seven pipelines under fire: real instances of them, seeded traffic with the disorder of real logs, a seeded
//! schedule of faults, and a checker of all that they leave, which shares no code with them.

mod checker;
mod coda;
mod course;
mod faults;
mod findings;
mod fleet;
mod instance;
mod load;
mod options;
mod pipelines;
mod positions;
mod report;
mod schedule;
mod servers;
mod silence;
mod topology;
mod traffic;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use options::NemesisOptions;

/// What any step of the nemesis returns: whatever fails here ends the run with its message.
pub(crate) type Fallible<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = NemesisOptions::parse();
    if options.servers {
        say(&topology::brokers(&options.topologies).join(" "));
        return ExitCode::SUCCESS;
    }
    match start(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("nemesis: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was violated.
fn start(options: &NemesisOptions) -> Fallible<bool> {
    // Servers and instances end with the thread that started them: all are started by these, which stay.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut course = tokio::spawn(course::perform(options.clone()));
        tokio::select! {
            ended = &mut course => ended?,
            _ = terminate.recv() => give_up(course).await,
            _ = interrupt.recv() => give_up(course).await,
        }
    });
    runtime.shutdown_background();
    ended
}

/// Ends all that was started.
async fn give_up(course: JoinHandle<Fallible<bool>>) -> Fallible<bool> {
    course.abort();
    // That it was aborted is no news.
    let _ = course.await;
    Err("it was asked to end".into())
}

/// Writes a line to the standard output.
pub(crate) fn say(line: &str) {
    // If it is closed, there is nobody left to tell of it.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
