//! The place: a Postgres, its connections, and what its sinks have in common.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtbflow::sink::Place;
use rtbflow::{Error, Result};

use crate::postgres::address::shown;
use crate::postgres::failure::{Blame, blamed};
use crate::postgres::needs::Needs;
use crate::postgres::session::{Lease, Server, Slot};
use crate::postgres::tables;

/// A Postgres: the place of a job's results, state and positions. A clone is another handle on it.
///
/// Two connections are used, one for commits and one for everything else; they are made when they are
/// needed and made again when they break.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) inner: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) place: Place,
    pub(crate) server: Server,
    pub(crate) call_timeout: Duration,
    pub(crate) creates_tables: bool,
    pub(crate) committer: Slot,
    pub(crate) reader: Slot,
    /// The sinks' names in the order in which they were first made.
    pub(crate) ranks: Arc<Mutex<Vec<String>>>,
    /// What the sinks will need, as far as the pipeline was drawn.
    pub(crate) needs: Needs,
}

impl Postgres {
    pub(crate) fn new(server: Server, call_timeout: Duration, creates_tables: bool) -> Self {
        let inner = Shared {
            place: Place::new("postgres"),
            server,
            call_timeout,
            creates_tables,
            committer: Slot::default(),
            reader: Slot::default(),
            ranks: Arc::default(),
            needs: Needs::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Another handle on the same place with connections of its own, where a clone shares them: its calls
    /// do not wait for those of this one.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        let Shared { place, server, call_timeout, creates_tables, ranks, needs, .. } = &*self.inner;
        let inner = Shared {
            place: *place,
            server: server.clone(),
            call_timeout: *call_timeout,
            creates_tables: *creates_tables,
            committer: Slot::default(),
            reader: Slot::default(),
            // Of all handles together: the sinks of one pipeline may be made by several.
            ranks: Arc::clone(ranks),
            needs: needs.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs statements that make the pipeline's own tables, such as `create table if not exists …`, in one
    /// transaction and one instance after the other: safe when all start at once.
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error if it refuses.
    pub async fn create_table(&self, sql: &str) -> Result<()> {
        self.within(&self.inner.reader, "create tables in", async {
            let lease = self.reader().await?;
            tables::create(&lease, sql).await?;
            lease.keep();
            Ok(())
        })
        .await
    }

    /// The number of a sink by its name: sinks are numbered as they are first made, which is the same
    /// in every instance since every task makes the same ones.
    pub(crate) fn rank(&self, name: &str) -> usize {
        // Every task draws the pipeline anew: a name that is there already is the same sink once more.
        let mut ranks = self.inner.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        ranks.iter().position(|have| have == name).unwrap_or_else(|| {
            ranks.push(name.to_owned());
            ranks.len() - 1
        })
    }

    pub(crate) fn needs(&self) -> Needs {
        self.inner.needs.clone()
    }

    pub(crate) fn server(&self) -> &str {
        &self.inner.server.name
    }

    pub(crate) async fn reader(&self) -> Result<Lease<'_>> {
        self.inner.reader.lease(&self.inner.server).await
    }

    pub(crate) async fn committer(&self) -> Result<Lease<'_>> {
        self.inner.committer.lease(&self.inner.server).await
    }

    /// The outer deadline of every call. What it interrupts loses its connection.
    pub(crate) async fn within<V>(
        &self,
        slot: &Slot,
        attempted: &str,
        call: impl Future<Output = Result<V>> + Send,
    ) -> Result<V> {
        self.within_more(slot, Duration::ZERO, attempted, call).await
    }

    /// A call that has timed out, here or on the server, gets more time when it is made again.
    pub(crate) async fn within_more<V>(
        &self,
        slot: &Slot,
        more: Duration,
        attempted: &str,
        call: impl Future<Output = Result<V>> + Send,
    ) -> Result<V> {
        let timeout = self.inner.call_timeout.saturating_add(more);
        let timeout = timeout.saturating_mul(slot.patience.times());
        // A call that is dropped here has its lease in it: the connection is cut, and the server rolls back.
        let answer = tokio::time::timeout(timeout, call).await;
        match &answer {
            Ok(Ok(_)) => slot.patience.shorten(),
            Ok(Err(error)) if blamed(error).0 == Blame::Time => slot.patience.lengthen(),
            // It did not fail for want of time, and says nothing of how long the next one takes.
            Ok(Err(_)) => {}
            Err(_) => slot.patience.lengthen(),
        }
        answer.unwrap_or_else(|_| {
            let server = self.server();
            Err(Error::transient(format!(
                "{attempted} Postgres at {server}: no answer in {timeout:?}; the next attempt may take longer"
            )))
        })
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({})", shown(&self.inner.server.config))
    }
}
