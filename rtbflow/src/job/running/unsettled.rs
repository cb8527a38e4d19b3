//! What a run that has failed leaves under way.

use tokio::task::JoinSet;

use crate::error::{Error, Result};

/// What a committer has under way whose tasks are gone.
#[derive(Default)]
pub(crate) struct Unsettled(pub(super) JoinSet<Result<()>>);

impl Unsettled {
    /// Waits until nothing is left whose outcome is not known; for as long as the place is away. Cancel safe.
    ///
    /// # Errors
    /// If something cannot be committed for good.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended.map_err(|error| {
                Error::permanent("run the committer: it panicked").because(error)
            })??;
        }
        Ok(())
    }
}
