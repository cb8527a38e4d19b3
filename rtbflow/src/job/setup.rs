//! What a job is besides its source, its place and its pipeline.

use std::fmt;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::epoch::{DeadLetters, Writer};
use crate::error::{Error, Result};
use crate::job::committer::Rejected;
use crate::job::health::Health;
use crate::job::instances::Instances;
use crate::job::notes::Notes;
use crate::job::renaming::Renames;
use crate::job::report::Account;
use crate::job::settings::Settings;
use crate::position::JobName;

/// What a job is besides its source, its place and its pipeline, right or wrong.
pub(crate) struct Setup {
    pub(crate) name: JobName,
    pub(crate) settings: Settings,
    pub(crate) instances: Instances,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writers: Vec<Arc<dyn Writer>>,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) fails_on_bad_records: bool,
    pub(crate) account: Account,
    pub(crate) health: Health,
    pub(crate) notes: Notes,
    pub(crate) renames: Renames,
}

impl Setup {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: JobName::unchecked(name),
            settings: Settings::default(),
            instances: Instances::default(),
            clock: Arc::new(SystemClock),
            writers: Vec::new(),
            dead_letters: None,
            fails_on_bad_records: false,
            account: Account::default(),
            health: Health::default(),
            notes: Notes::default(),
            renames: Renames::default(),
        }
    }

    /// Where records go that cannot be used.
    pub(crate) fn rejected(&self) -> Rejected {
        match &self.dead_letters {
            Some(to) => Rejected::Delivered(Arc::clone(to)),
            None if self.fails_on_bad_records => Rejected::Fatal,
            None => Rejected::Skipped,
        }
    }

    /// Whether all of it can be used, as far as it does not depend on the pipeline.
    ///
    /// # Errors
    /// With all that is wrong.
    pub(crate) fn validate(&self) -> Result<()> {
        let both = self.fails_on_bad_records && self.dead_letters.is_some();
        let rejected = match both {
            false => Ok(()),
            true => Err(Error::config(
                "choose what becomes of records that cannot be used: both `dead_letters` and \
                 `fail_on_bad_records` are set; leave out one of them",
            )),
        };
        let writers = self.writers.iter().map(|writer| writer.validate());
        let letters = self.dead_letters.iter().map(|to| to.validate());
        let instances = self.instances.validate();
        let own = [self.name.check(), self.settings.validate(), instances, rejected];
        Error::all(own.into_iter().chain(writers).chain(letters))
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
