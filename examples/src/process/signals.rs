//! Signals: the first asks for an end in order, the second ends at once.
//!
//! They are taken on a thread of their own, so that a busy pipeline cannot keep anybody waiting.

use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use rtbflow::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Ready when the process is asked to end.
pub type Shutdown = Shared<BoxFuture<'static, ()>>;

/// An end in order of a pipeline takes no longer than this, however the servers are; ten seconds are promised.
pub(super) const LONGEST_SHUTDOWN: Duration = Duration::from_millis(9_500);

const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;
const FAILED: i32 = 1;

/// Takes SIGTERM and Ctrl-C from here on: the first makes the future ready, the second ends the process, and
/// so does the end of the `longest` time from the first. `leave` is called before the process ends like that.
///
/// # Errors
/// If the system refuses.
pub fn on_signal(longest: Duration, leave: fn()) -> Result<Shutdown> {
    let failed = |error| Error::permanent("take signals").because(error);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    drop(guard);
    let (ask, asked) = oneshot::channel();
    let take = move || {
        runtime.block_on(async {
            next(&mut terminate, &mut interrupt).await;
            tracing::info!("asked to end: finishing the epoch; a second signal ends at once");
            // Nobody listens any more: the end has come by itself.
            let _ = ask.send(());
            let code = tokio::select! {
                code = next(&mut terminate, &mut interrupt) => code,
                () = tokio::time::sleep(longest) => {
                    tracing::error!(
                        "not ended after {longest:?}: giving up what is not committed; \
                         it is read again after the next start"
                    );
                    FAILED
                }
            };
            leave();
            std::process::exit(code);
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(take).map_err(failed)?;
    Ok(asked.map(|_| ()).boxed().shared())
}

/// Waits for one of the signals; the exit code that goes with it.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => TERMINATED,
        _ = interrupt.recv() => INTERRUPTED,
    }
}
