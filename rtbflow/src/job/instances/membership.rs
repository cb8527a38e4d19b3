//! Under which name a job runs at the moment, if its instances have names.

use std::future::pending;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::job::health::Health;
use crate::job::instances::{Held, Instances, Standby};
use crate::position::JobName;

/// Under which name a job runs at the moment; without names it always runs, under none.
pub(crate) struct Membership<A> {
    standby: Option<Standby<A>>,
    held: Option<Held>,
}

impl<A: Anchor> Membership<A> {
    pub(crate) fn new(job: &JobName, anchor: &A, instances: &Instances, health: &Health) -> Self {
        let has_names = !instances.names.is_empty();
        let standby = || Standby::new(job.clone(), anchor, instances.clone(), health.clone());
        Self { standby: has_names.then(standby), held: None }
    }

    /// Waits until this process may run: at once, unless it has to stand by for a name. Whether it had to.
    ///
    /// # Errors
    /// If there are names and the place cannot hold them.
    pub(crate) async fn obtain(&mut self) -> Result<bool> {
        let Some(standby) = &mut self.standby else { return Ok(false) };
        if self.held.as_ref().is_some_and(Held::is_lost) {
            self.held = None;
            standby.lost();
        }
        if self.held.is_some() {
            return Ok(false);
        }
        self.held = Some(standby.take().await?);
        Ok(true)
    }

    /// The name.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.held.as_ref().map(Held::name)
    }

    /// Ends with a transient error once the name is another's.
    pub(crate) fn lost(&self) -> BoxFuture<'static, Result<()>> {
        match &self.held {
            Some(held) => held.lost().boxed(),
            None => pending().boxed(),
        }
    }

    /// Whether the job runs again after this error. Under a name it may be fenced by whoever took the name, or by a
    /// former holder that does not know yet: the name says which of them goes on.
    pub(crate) fn survives(&self, error: &Error) -> bool {
        error.is_transient() || (self.held.is_some() && error.is_fenced())
    }

    /// Gives the name back.
    pub(crate) async fn give_back(self) {
        if let Some(held) = self.held {
            held.give_back().await;
        }
    }
}
