//! Who looks at a place after each of its steps, and what instances say that they have done.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::Account;
use crate::record::Partition;
use crate::testing::sim::chance::Chance;

/// Looks at a world after a step of its place. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Option<Look>>>);

/// Looks at what has become of these partitions; of all, anew, if the place went back.
type Look = Box<dyn FnMut(Option<&[Partition]>) -> Result<(), String> + Send>;

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}

impl Steps {
    /// From now on this looks.
    pub(crate) fn look(
        &self,
        look: impl FnMut(Option<&[Partition]>) -> Result<(), String> + Send + 'static,
    ) {
        *self.lock() = Some(Box::new(look));
    }

    /// Looks at what has become of these partitions; of all, anew, if the place went back.
    pub(crate) fn check(&self, partitions: Option<&[Partition]>, chance: &Chance) {
        if let Some(look) = &mut *self.lock()
            && let Err(what) = look(partitions)
        {
            chance.violated(what);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The accounts of all instances that ever were.
pub(crate) type Accounts = Arc<Mutex<Vec<Account>>>;

/// Records that instances say are committed.
pub(crate) fn accounted(accounts: &Accounts) -> u64 {
    let accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
    let committed = accounts.iter().map(|account| {
        let report = account.report();
        report.records_in() - report.pending
    });
    committed.sum()
}
