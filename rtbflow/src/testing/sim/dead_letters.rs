//! A dead-letter topic that takes letters at least once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::dead_letter::DeadLetter;
use crate::epoch::DeadLetters;
use crate::error::{Error, Result};
use crate::record::Partition;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::life::Life;

/// A dead-letter topic in memory, for one life of one instance: it takes letters at least once.
#[derive(Clone)]
pub struct SimDeadLetters {
    letters: Letters,
    life: Life,
}

/// What has arrived in it, and how often.
pub(crate) type Letters = Arc<Mutex<BTreeMap<Letter, u64>>>;

/// What a letter is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Letter {
    /// A record.
    Record(Partition, i64),
    /// A result, which was read nowhere: what it carries.
    Result(String),
}

impl Letter {
    fn of(letter: &DeadLetter) -> Self {
        match &letter.value {
            Some(result) => Self::Result(String::from_utf8_lossy(result).into_owned()),
            None => Self::Record(letter.origin.partition(), letter.origin.offset()),
        }
    }
}

impl SimDeadLetters {
    pub(crate) fn new(letters: Letters, life: Life) -> Self {
        Self { letters, life }
    }
}

impl fmt::Debug for SimDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDeadLetters(of {})", self.life.name)
    }
}

impl DeadLetters for SimDeadLetters {
    fn deliver<'a>(
        &'a self,
        _job: &'a str,
        letters: &'a [DeadLetter],
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            self.life.pass("sends dead letters").await;
            let what = "to send dead letters, but for some";
            let fault = self.life.chance.strikes(FaultKind::Error, &self.life.name, what);
            let fails = fault.is_some();
            let count = fault.map_or(letters.len(), |mut fault| fault.below(letters.len() + 1));
            for letter in letters.iter().take(count) {
                let mut arrived = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
                *arrived.entry(Letter::of(letter)).or_default() += 1;
            }
            self.life.pass("sent dead letters").await;
            if fails { Err(Error::transient("send dead letters")) } else { Ok(()) }
        }
        .boxed()
    }
}
