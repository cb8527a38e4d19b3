//! The signals that ask a process to end: Ctrl-C, and on Unix SIGTERM.

use std::future::{Future, pending};
use std::io;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Takes the process's signals: a future that is ready at the first one from here on, and one at the second.
///
/// They are awaited on a thread of their own, which ends when both futures are dropped: the runtime that the job runs
/// in may have no driver for input and output, without which it takes no signals.
///
/// # Errors
/// If the system refuses.
pub(crate) fn take() -> Result<(impl Future<Output = ()> + Send, impl Future<Output = ()> + Send)> {
    let failed = |error: io::Error| {
        Error::permanent(
            "take the signals that ask the process to end; where it takes none, run the job by \
             `run_until`, which ends when a future is ready",
        )
        .because(error)
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let taken = listen(&runtime).map_err(failed)?;
    let (first, second) = (oneshot::channel(), oneshot::channel());
    let forward = forward(taken, [first.0, second.0]);
    let thread = thread::Builder::new().name("rtbflow-signals".to_owned());
    thread.spawn(move || runtime.block_on(forward)).map_err(failed)?;
    Ok((came(first.1), came(second.1)))
}

/// Reports one signal after the other, for as long as somebody waits for it.
async fn forward(mut taken: Taken, reports: [oneshot::Sender<()>; 2]) {
    for mut report in reports {
        tokio::select! {
            () = report.closed() => return,
            () = taken.next() => {}
        }
        // Whoever waited may have ended meanwhile.
        let _ = report.send(());
    }
}

async fn came(signal: oneshot::Receiver<()>) {
    if signal.await.is_err() {
        pending().await
    }
}

#[cfg(unix)]
struct Taken {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn listen(runtime: &Runtime) -> io::Result<Taken> {
    use tokio::signal::unix::{SignalKind, signal};

    let _entered = runtime.enter();
    let interrupt = signal(SignalKind::interrupt())?;
    Ok(Taken { interrupt, terminate: signal(SignalKind::terminate())? })
}

#[cfg(unix)]
impl Taken {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Taken(tokio::signal::windows::CtrlC);

#[cfg(windows)]
fn listen(runtime: &Runtime) -> io::Result<Taken> {
    let _entered = runtime.enter();
    tokio::signal::windows::ctrl_c().map(Taken)
}

#[cfg(windows)]
impl Taken {
    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}
