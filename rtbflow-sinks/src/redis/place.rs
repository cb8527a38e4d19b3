//! The place: a Redis, its connection and its scripts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtbflow::sink::Place;

use crate::redis::follow_ups::FollowUps;
use crate::redis::library::{Library, Text};
use crate::redis::session::Server;

/// A place in Redis. Clones are handles on the same place, over the same connection.
///
/// Nothing is connected before the first call; a connection that breaks is made again.
///
/// ```
/// use rtbflow_sinks::redis::Redis;
///
/// let redis = Redis::connect_to("redis://user:secret@127.0.0.1:6379/2").build()?;
/// assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:6379, database 2)");
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Clone)]
pub struct Redis {
    pub(crate) shared: Arc<Shared>,
    pub(crate) server: Arc<Server>,
}

pub(crate) struct Shared {
    pub(crate) place: Place,
    pub(crate) library: Library,
    pub(crate) follow_ups: FollowUps,
    pub(crate) claim: Text,
    pub(crate) restore: Text,
    pub(crate) forget: Text,
    pub(crate) remove: Text,
    pub(crate) check: Text,
    pub(crate) page_bytes: usize,
    /// What the names of results' keys begin with, and the commands that are run on them.
    pub(crate) uses: Vec<(String, Vec<&'static str>)>,
    /// Whether operations were committed: the user may, or might.
    pub(crate) may_write: AtomicBool,
}

impl Redis {
    /// Another handle on the same place, with a connection of its own.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), server: Arc::new(self.server.separate()) }
    }

    pub(crate) fn place(&self) -> Place {
        self.shared.place
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn library(&self) -> &Library {
        &self.shared.library
    }

    pub(crate) fn follow_ups(&self) -> &FollowUps {
        &self.shared.follow_ups
    }

    pub(crate) fn claim_text(&self) -> &Text {
        &self.shared.claim
    }

    pub(crate) fn restore_text(&self) -> &Text {
        &self.shared.restore
    }

    pub(crate) fn forget_text(&self) -> &Text {
        &self.shared.forget
    }

    pub(crate) fn remove_text(&self) -> &Text {
        &self.shared.remove
    }

    pub(crate) fn check_text(&self) -> &Text {
        &self.shared.check
    }

    pub(crate) fn uses(&self) -> &[(String, Vec<&'static str>)] {
        &self.shared.uses
    }

    /// Whether operations have been committed before.
    pub(crate) fn may_write(&self) -> bool {
        self.shared.may_write.load(Ordering::Relaxed)
    }

    /// This many operations were committed.
    pub(crate) fn has_written(&self, operations: usize) {
        // An epoch without any has shown nothing of what the user may do to results.
        if operations > 0 {
            self.shared.may_write.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.shared.page_bytes
    }
}

impl fmt::Debug for Redis {
    /// Host, port and database; never the user or the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({:?})", self.server)
    }
}
