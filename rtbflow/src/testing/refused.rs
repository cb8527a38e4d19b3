//! Leaves out of epochs what an anchor or a writer has refused, as a job does before it commits again.

use crate::dead_letter::DeadLetter;
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::job::refusing::refuse;

/// Leaves the rows that `refused` names out of these epochs, and every other row of the same records. Returns
/// the dead letters of results that were read nowhere; records have none here, since only a job has kept what
/// they were read as.
///
/// # Errors
/// If no row is left out by it: then the place refuses what it was not given.
pub fn leave_out(epochs: &mut [Epoch], refused: &Error) -> Result<Vec<DeadLetter>> {
    refuse(epochs, refused.refusals())?;
    Ok(epochs.iter_mut().flat_map(|epoch| std::mem::take(&mut epoch.dead_letters)).collect())
}
