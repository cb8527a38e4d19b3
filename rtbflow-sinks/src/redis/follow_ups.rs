//! What a pipeline does behind its commits, as it is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::redis::arguments::Call;
use crate::redis::library::Text;

/// What a pipeline does behind its commits. Every task adds it as it is put together; equal ones are kept once.
#[derive(Default)]
pub(crate) struct FollowUps(Mutex<Vec<FollowUp>>);

#[derive(Clone)]
pub(crate) struct FollowUp {
    pub(crate) name: &'static str,
    pub(crate) lua: Text,
    pub(crate) call: Call,
}

impl FollowUps {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<FollowUp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
