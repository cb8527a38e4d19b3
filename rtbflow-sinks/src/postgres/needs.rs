//! What the pipeline's sinks will need of the server, for a look at it before anything is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::postgres::cell::Kind;
use crate::postgres::settings::Version;
use crate::postgres::value::Value;

/// What one sink needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Need {
    /// What it does, for messages.
    pub(crate) attempted: String,
    /// The table that rows are added to.
    pub(crate) table: Option<NeededTable>,
    /// Statements that will run, with parameters of the types that they will have.
    pub(crate) statements: Vec<(String, Vec<Value>)>,
    /// The oldest server that they work with.
    pub(crate) oldest: Option<Version>,
}

/// A table that rows are added to.
#[derive(Debug, Clone)]
pub(crate) struct NeededTable {
    /// Quoted, with its schema if it is given.
    pub(crate) quoted: String,
    /// Its columns by name, as the pipeline wrote it, with the type that comes for them; those that an
    /// expression fills have none.
    pub(crate) columns: Vec<(String, Option<Kind>)>,
}

/// The needs of all sinks, by the sinks' rank.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs(Arc<Mutex<BTreeMap<usize, Need>>>);

impl Needs {
    /// Notes what a sink needs, in the place of what it needed before.
    pub(crate) fn note(&self, rank: usize, need: Need) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(rank, need);
    }

    pub(crate) fn all(&self) -> Vec<Need> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
