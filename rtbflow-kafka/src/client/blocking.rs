//! Blocking calls on threads of their own, so that no async thread ever waits for a broker.

use std::thread;
use std::time::Duration;

use rtbflow::{Error, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Runs `call` on a thread of its own and waits for it, no longer than this. A call that takes longer goes
/// on by itself; its result is dropped there.
pub(crate) async fn blocking<T: Send + 'static>(
    attempt: &str,
    longest: Duration,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    // Nobody waits any more for a call that took too long.
    spawn("rtbflow-kafka-call", move || drop(sender.send(call())))?;
    match timeout(longest, receiver).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::permanent(format!("{attempt}: its thread ended early"))),
        Err(_) => Err(Error::transient(format!("{attempt}: no answer within {longest:?}"))),
    }
}

/// Starts a named thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|error| Error::transient(format!("start thread {name}")).because(error))
}

/// Drops a client where it may wait for its broker.
pub(crate) fn drop_elsewhere<T: Send + 'static>(client: T) {
    // Should no thread start, the closure and with it the client is dropped right here.
    let _ = spawn("rtbflow-kafka-drop", move || drop(client));
}
