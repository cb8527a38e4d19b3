//! The contract of what is written beside the place.

use futures::future::BoxFuture;

use crate::epoch::Epoch;
use crate::error::Result;
use crate::staged::Place;

/// Writes what is staged for another place than the anchor's, before the epochs commit. May be called
/// again with the same epochs: it must be idempotent, or its place takes them at least once.
pub trait Writer: Send + Sync + 'static {
    /// The place that it writes to; its sinks carry the same.
    fn place(&self) -> Place;

    /// The topics that results are meant for: one that is refused becomes a dead letter beside its topic. None,
    /// unless overridden.
    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the writer is put together rightly: asked as the job starts, before anything is connected. Right
    /// unless overridden.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Looks whether everything is there that its sinks need. Called once before anything is read. Has a
    /// deadline of its own.
    ///
    /// # Errors
    /// A configuration error that names all that is missing; transient if the server is away.
    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes what the epochs have staged for this place, but for rows that are [refused](crate::sink::Staged::refused).
    ///
    /// # Errors
    /// Transient if it is to be tried again; [refused](crate::Error::refused) if the place will never take some of
    /// the rows: the caller then writes again without them.
    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>>;
}
