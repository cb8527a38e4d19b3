//! Postgres as the place: one transaction an epoch.
//!
//! A [`Postgres`] is the [anchor](rtbflow::epoch::Anchor) of a job, and makes its sinks:
//!
//! | sink | for each record |
//! |---|---|
//! | [`insert`](Postgres::insert) | a row |
//! | [`upsert`](Postgres::upsert) | a change of its key's row: set, add, max, min |
//! | [`statement`](Postgres::statement) | an element of the arrays that an SQL statement takes |
//! | [`transact`](Postgres::transact) | a place in the batch that a function takes |
//!
//! [`select`](Postgres::select) looks up rows for [`lookup`](rtbflow::KeyedFlow::lookup), outside any commit.
//!
//! Everything that sinks stage is written in the transaction that moves the positions. Sinks write in
//! the order in which the pipeline makes them; those whose rows other instances change too should come
//! last, since a row stays locked from its change to the commit.
//!
//! Written is by arrays: `insert into t (…) select … from unnest($1::text[], $2::bigint[], …)`, some
//! thousand rows a statement. Binary `COPY` was measured against it: 184 against 160 thousand rows a
//! second for a ledger of ten columns and two indexes; it costs a round trip for each table and knows
//! neither conflicts nor casts.
//!
//! # What Postgres refuses
//! A row that Postgres never takes, for what it is, becomes a dead letter with Postgres's reason, and everything
//! else of its epoch is applied, exactly once: a value that is out of range or too long for its column or
//! index, a sum that no longer fits, text that the database's encoding does not have, a constraint or a
//! trigger that says no, a key that is there already. A record is left out with all its rows, whichever
//! sink they are of. To find it among n the commit's rows are written again by halves, in a
//! transaction that is rolled back: some log₂ n statements of each sink, over no more than three times the
//! rows, for one record; two or three for each where they lie close together. No transaction has more
//! than 60 savepoints.
//!
//! A row whose foreign key names a row that is not there waits for it, and holds back the commits of its
//! task, while those of others go on; the log names constraint and key, once a minute. What Postgres refuses for reasons of its own
//! (rights, a missing table, a full disk) is no reason to leave anything out: it is an error, or waited for.
//!
//! # Poolers
//! PgBouncer may stand before the server, with its default settings, pooling sessions or transactions: every
//! transaction brings its settings with it, advisory locks end with their transaction, and no statement is
//! prepared by name. Where sessions are pooled each instance holds two of the pool's for as long as it
//! runs. A pooler of single statements is refused as the job starts, since a commit is a transaction.

mod address;
mod batch;
mod cell;
mod chunks;
mod columns;
mod commit;
mod date;
mod failure;
mod forget;
mod groups;
mod identifier;
mod insert;
mod json;
mod look;
mod needs;
mod options;
mod pipeline;
mod positions;
mod probe;
mod search;
mod select;
mod session;
mod settings;
mod statement;
mod tables;
mod tls;
mod totals;
mod transact;
mod transaction;
mod upsert;
mod value;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::state::Chunk;
use rtbflow::{Error, Result};

pub use date::Date;
pub use insert::Insert;
pub use options::Options;
pub use statement::Statement;
pub use transact::{Records, Transact};
pub use transaction::Transaction;
pub use upsert::Upsert;
pub use value::{Element, FromColumn, Row, Value};

use failure::{Blame, blamed};
use needs::Needs;
use session::{Lease, Seat, Server};

/// A Postgres: the place of a job's results, state and positions. A clone is another handle on it.
///
/// Two connections are used, one for commits and one for everything else; they are made when they are
/// needed and made again when they break.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    server: Server,
    call_timeout: Duration,
    creates_tables: bool,
    committer: Seat,
    reader: Seat,
    /// The sinks' names in the order in which they were first made.
    ranks: Arc<Mutex<Vec<String>>>,
    /// What the sinks will need, as far as the pipeline was drawn.
    needs: Needs,
}

impl Postgres {
    /// Options for the Postgres at a URL: `postgres://user:password@host:port/database`, with options of
    /// libpq behind a question mark.
    ///
    /// `sslmode` is `disable`, `prefer` (the default: TLS if the server has it, without proof of who it
    /// is) or `require`, `verify-ca`, `verify-full` (TLS with a certificate that verifies: all three are
    /// as strict as the last).
    pub fn connect_to(url: &str) -> Options {
        Options::new(url)
    }

    fn new(server: Server, call_timeout: Duration, creates_tables: bool) -> Self {
        let inner = Inner {
            place: Place::new("postgres"),
            server,
            call_timeout,
            creates_tables,
            committer: Seat::default(),
            reader: Seat::default(),
            ranks: Arc::default(),
            needs: Needs::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Another handle on the same place with connections of its own, where a clone shares them: its calls
    /// do not wait for those of this one.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        let Inner { place, server, call_timeout, creates_tables, ranks, needs, .. } = &*self.inner;
        let inner = Inner {
            place: *place,
            server: server.clone(),
            call_timeout: *call_timeout,
            creates_tables: *creates_tables,
            committer: Seat::default(),
            reader: Seat::default(),
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
    fn rank(&self, name: &str) -> usize {
        let mut ranks = self.inner.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        ranks.iter().position(|have| have == name).unwrap_or_else(|| {
            ranks.push(name.to_owned());
            ranks.len() - 1
        })
    }

    fn needs(&self) -> Needs {
        self.inner.needs.clone()
    }

    fn server(&self) -> &str {
        &self.inner.server.name
    }

    async fn reader(&self) -> Result<Lease<'_>> {
        self.inner.reader.lease(&self.inner.server).await
    }

    async fn committer(&self) -> Result<Lease<'_>> {
        self.inner.committer.lease(&self.inner.server).await
    }

    /// The outer deadline of every call. What it interrupts loses its connection.
    async fn within<V>(
        &self,
        seat: &Seat,
        attempted: &str,
        call: impl Future<Output = Result<V>> + Send,
    ) -> Result<V> {
        self.within_more(seat, Duration::ZERO, attempted, call).await
    }

    /// A call that has timed out, here or on the server, gets more time when it is made again.
    async fn within_more<V>(
        &self,
        seat: &Seat,
        more: Duration,
        attempted: &str,
        call: impl Future<Output = Result<V>> + Send,
    ) -> Result<V> {
        let timeout = self.inner.call_timeout.saturating_add(more);
        let timeout = timeout.saturating_mul(seat.patience.times());
        let answer = tokio::time::timeout(timeout, call).await;
        match &answer {
            Ok(Ok(_)) => seat.patience.shorten(),
            Ok(Err(error)) if blamed(error).0 == Blame::Time => seat.patience.lengthen(),
            Ok(Err(_)) => {}
            Err(_) => seat.patience.lengthen(),
        }
        answer.unwrap_or_else(|_| {
            let server = self.server();
            Err(Error::transient(format!(
                "{attempted} Postgres at {server}: no answer in {timeout:?}; the next attempt may take longer"
            )))
        })
    }

    async fn claim_positions(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let attempted = || format!("claim positions in Postgres at {}", self.server());
        let lease = self.reader().await?;
        let client = lease.client();
        lease.begin(&attempted()).await?;
        forget::share(client, self.server(), job).await?;
        // The positions first: behind their locks no former owner can write state any more.
        let positions = positions::claim(client, self.server(), job, claim).await?;
        chunks::check_layout(client, self.server(), job, claim.task).await?;
        lease.run("commit", &attempted()).await?;
        lease.keep();
        Ok(positions)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({})", options::shown(&self.inner.server.config))
    }
}

/// What a commit may take beside the deadline of a call, by its size: with a fixed deadline a commit that
/// is too large for a slow server would be tried for ever.
fn time_to_write(epochs: &[Epoch]) -> Duration {
    const ROWS_A_SECOND: usize = 5_000;
    const BYTES_A_SECOND: usize = 2 << 20;
    let rows: usize = epochs.iter().flat_map(|epoch| &epoch.staged).map(|staged| staged.rows).sum();
    let bytes: usize = epochs.iter().flat_map(|epoch| &epoch.chunks).map(Chunk::len).sum();
    let seconds = rows / ROWS_A_SECOND + bytes / BYTES_A_SECOND;
    Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))
}

impl Anchor for Postgres {
    fn place(&self) -> Place {
        self.inner.place
    }

    async fn prepare(&self, _job: &JobName) -> Result<()> {
        self.within(&self.inner.reader, "prepare", async {
            let lease = self.reader().await?;
            look::look(&lease, &self.inner.needs.all(), self.inner.creates_tables).await?;
            lease.keep();
            Ok(())
        })
        .await
    }

    async fn probe(&self) -> Result<()> {
        self.within(&self.inner.reader, "reach", async {
            let lease = self.reader().await?;
            lease.run("select 1", &format!("reach Postgres at {}", lease.server)).await?;
            lease.keep();
            Ok(())
        })
        .await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let claimed = self.claim_positions(job, claim);
        self.within(&self.inner.reader, "claim positions in", claimed).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.within(&self.inner.reader, "restore state from", async {
            let lease = self.reader().await?;
            let page = chunks::read_page(&lease, job, task, from.as_deref()).await?;
            lease.keep();
            Ok(page)
        })
        .await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        if epochs.is_empty() {
            return Ok(Vec::new());
        }
        let more = time_to_write(epochs);
        self.within_more(&self.inner.committer, more, "commit epochs to", async {
            let lease = self.committer().await?;
            let search = self.inner.call_timeout / 3;
            let target = commit::Target { lease: &lease, place: self.inner.place, job, search };
            let verdicts = commit::commit(target, epochs).await;
            if verdicts.as_ref().err().is_none_or(|error| !error.refusals().is_empty()) {
                lease.keep();
            }
            verdicts
        })
        .await
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.within(&self.inner.reader, "look for what is kept in", async {
            let lease = self.reader().await?;
            let kept = forget::kept(&lease, job).await?;
            lease.keep();
            Ok(kept)
        })
        .await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.forget_with(job, |_| Box::pin(std::future::ready(Ok(())))).await
    }
}
