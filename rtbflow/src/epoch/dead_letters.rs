//! The contract of who writes dead letters.

use futures::future::BoxFuture;

use crate::dead_letter::DeadLetter;
use crate::error::Result;

/// Writes dead letters, before the epochs that skip their records commit.
pub trait DeadLetters: Send + Sync + 'static {
    /// Whether it is put together rightly: asked as the job starts, before anything is connected. Right
    /// unless overridden.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Looks whether everything is there that letters of records of these topics need. Called once before
    /// anything is read. Has a deadline of its own.
    ///
    /// # Errors
    /// A configuration error that names all that is missing; transient if the server is away.
    fn prepare<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<()>> {
        let _ = topics;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes them and returns when they are durable.
    fn deliver<'a>(&'a self, job: &'a str, letters: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>>;
}
