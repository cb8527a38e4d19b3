//! What a sink of this place stages: arguments for the script.

use rtbflow::sink::{Place, Staged, StagedRows};

use super::operations::Arguments;

/// Staged operations, ready to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) arguments: Arguments,
    /// Why the sink can not be used at all, as far as somebody made a mistake in putting it together.
    pub(super) mistake: Option<String>,
}

impl StagedRows for Batch {}

impl Batch {
    pub(super) fn new(arguments: Arguments) -> Self {
        Self { arguments, mistake: None }
    }

    pub(super) fn staged(self, place: Place, rows: usize) -> Staged {
        Staged::new(place, rows, self)
    }
}
