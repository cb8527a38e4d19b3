//! Postgres as the place: one transaction per epoch.
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
//! thousand rows per statement. Binary `COPY` was measured against it: 184 against 160 thousand rows per
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
mod anchor;
mod batch;
mod calendar;
mod cell;
mod cells;
mod chunks;
mod claim;
mod columns;
mod commit;
mod date;
mod failure;
mod forget;
mod groups;
mod identifier;
mod json;
mod look;
mod needs;
mod options;
mod pipeline;
mod place;
mod plain_columns;
mod positions;
mod probe;
mod restore;
mod row;
mod rows;
mod search;
mod select;
mod session;
mod settings;
mod sinks;
mod standing;
mod tables;
mod target;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod tls;
mod totals;
mod transaction;
mod value;

pub use date::Date;
pub use options::Options;
pub use place::Postgres;
pub use row::{FromColumn, Row};
pub use sinks::{Insert, Records, Statement, Transact, Upsert};
pub use transaction::Transaction;
pub use value::{Scalar, Value};
