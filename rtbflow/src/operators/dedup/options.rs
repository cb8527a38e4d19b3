//! How long ids are remembered, and what becomes of records that come later.

use std::time::Duration;

use crate::operators::late::Late;

/// How long an id is remembered, and what becomes of a record that comes later than that.
///
/// A plain [`Duration`] will do where late records pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedup {
    pub(super) within: Duration,
    pub(super) late: Option<Late>,
}

impl Dedup {
    /// Records of a key are repeats when less than this much event time lies between them and the one
    /// that was kept.
    #[must_use]
    pub fn within(within: Duration) -> Self {
        Self { within, late: None }
    }

    /// What becomes of a record that is `within` or more behind the watermark. Whatever it may repeat was
    /// forgotten; unless this says otherwise it passes.
    #[must_use]
    pub fn late(mut self, late: Late) -> Self {
        self.late = Some(late);
        self
    }
}

impl From<Duration> for Dedup {
    fn from(within: Duration) -> Self {
        Self::within(within)
    }
}
