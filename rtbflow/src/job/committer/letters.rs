//! Dead letters, on their way out before the epochs that have them are committed.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::barrier::Reject;
use crate::dead_letter::{DeadLetter, Original};
use crate::epoch::{Anchor, DeadLetters, Epoch};
use crate::error::{BadRecord, Error, Result};
use crate::job::committer::Committer;
use crate::record::Origin;

/// Where records go that cannot be used.
#[derive(Clone, Default)]
pub(crate) enum Rejected {
    /// To a dead-letter topic.
    Delivered(Arc<dyn DeadLetters>),
    /// Nowhere; they are counted.
    #[default]
    Skipped,
    /// The job ends with an error that names the record.
    Fatal,
}

/// Reads records of the source again.
pub(crate) type ReadAgain =
    Box<dyn Fn(Vec<Origin>) -> BoxFuture<'static, Result<Vec<Option<Original>>>> + Send + Sync>;

impl<A: Anchor> Committer<A> {
    /// Delivers the dead letters of epochs and takes them out, so that none is delivered twice.
    pub(super) async fn deliver(&self, epochs: &mut [Epoch]) -> Result<()> {
        self.read_again(epochs).await?;
        let letters = epochs.iter().flat_map(|epoch| &epoch.dead_letters);
        let count = letters.clone().count();
        if count == 0 {
            return Ok(());
        }
        match &self.rejected {
            Rejected::Skipped => {}
            Rejected::Fatal => letters.into_iter().try_for_each(|letter| Err(unusable(letter)))?,
            Rejected::Delivered(to) => {
                let letters: Vec<_> = letters.cloned().collect();
                to.deliver(self.job.as_str(), &letters).await?;
            }
        }
        self.measures.dead_letters(count);
        // Taken out with their delivery: when the commit behind it fails, they are not delivered by the next attempt.
        epochs.iter_mut().for_each(|epoch| epoch.dead_letters.clear());
        Ok(())
    }

    /// Reads the records again that are to be dead letters and were read in an earlier epoch.
    async fn read_again(&self, epochs: &mut [Epoch]) -> Result<()> {
        for epoch in epochs.iter_mut().filter(|epoch| !epoch.unread.is_empty()) {
            let origins: Vec<_> = epoch.unread.iter().map(|reject| reject.origin).collect();
            let mut found = (self.read_again)(origins).await?.into_iter();
            for Reject { origin, reason } in epoch.unread.drain(..) {
                // A source that does not have it any more, or does not say: the letter still says which it was.
                let original = found.next().flatten();
                let reason = match original {
                    Some(_) => reason,
                    None => {
                        BadRecord::new(format!("{reason} (its source does not have it any more)"))
                    }
                };
                let letter = DeadLetter::record(origin, original.unwrap_or_default(), reason);
                epoch.dead_letters.push(letter);
            }
        }
        Ok(())
    }
}

/// The error of a record that cannot be used, where that ends the job.
#[cold]
fn unusable(letter: &DeadLetter) -> Error {
    Error::permanent(format!(
        "use the record of {}: {}; look at it, then skip it or send it to the dead-letter topic",
        letter.origin, letter.reason
    ))
}
