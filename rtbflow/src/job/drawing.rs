//! A job's pipeline as it is drawn before anything is read, and all that is wrong in what was set.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::activity::Activity;
use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::Job;
use crate::job::intake::{Bounds, Intake};
use crate::source::{Batch, Source};
use crate::staged::Place;
use crate::topology::{Drawing, Tip, Topology};

impl<S, A, P> Job<S, A, P>
where
    S: Source,
    S::Batch: Batch,
    A: Anchor,
    P: Fn(Flow<Intake<S::Batch>>) -> End,
{
    /// What the pipeline is made of, without running it: nothing is connected or read.
    ///
    /// # Errors
    /// A configuration error that names everything in what was set that cannot be used: of the job, its source,
    /// its place, its writers, the operators and the sinks.
    pub fn topology(&self) -> Result<Topology> {
        let Drawing { topology, places, faults } = self.draw();
        let set = [self.setup.validate(), self.source.validate(), self.anchor.validate()];
        let fits = [self.setup.renames.fit(&topology), self.know(&places), self.read_once()];
        Error::all(set.into_iter().chain(faults.into_iter().map(Err)).chain(fits))?;
        Ok(topology)
    }

    /// Builds the pipeline once, for a task that has nothing.
    fn draw(&self) -> Drawing {
        let tip = Tip::source(&self.source.topics());
        let now = (self.setup.clock.now(), Activity::default());
        let (intake, _) = Intake::new(&[], self.bounds(), |_| Duration::ZERO, now);
        (self.pipeline)(Flow { stream: intake, tip }).tip.finish()
    }

    /// Whether the source names each of its topics once.
    fn read_once(&self) -> Result<()> {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        self.source.topics().into_iter().for_each(|topic| *times.entry(topic).or_default() += 1);
        Error::all(times.iter().map(|(topic, times)| {
            Error::unless(*times == 1, || {
                format!("read topic {topic:?}: the source names it {times} times; name it once, and split the flow")
            })
        }))
    }

    /// Whether each place that a sink writes to is the job's own or that of one writer.
    fn know(&self, places: &[Place]) -> Result<()> {
        let writers = || self.setup.writers.iter().map(|writer| writer.place());
        let of = |place: Place| {
            writers().chain([self.anchor.place()]).filter(|own| *own == place).count()
        };
        let fault = |place: &Place, found: &str| {
            let (job, place) = (&self.setup.name, place.kind());
            Err(Error::config(format!("run job {job}: a sink writes to {place}, which is {found}")))
        };
        Error::all(places.iter().map(|place| match of(*place) {
            0 => fault(place, "neither the job's anchor nor one of its writers"),
            1 => Ok(()),
            _ => fault(place, "set more than once, as the job's anchor or a writer; each row would be written as often"),
        }))
    }
}

impl<S: Source, A, P> Job<S, A, P> {
    pub(super) fn bounds(&self) -> Bounds {
        let settings = &self.setup.settings;
        Bounds {
            idle_timeout: settings.idle_timeout,
            max_ahead: settings.max_ahead(self.source.is_bounded()),
        }
    }
}
