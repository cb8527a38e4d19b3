//! Where a driven pipeline ends: outputs by name, which keep what was committed.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::epoch::Epoch;
use crate::record::Record;
use crate::staged::Place;
use crate::writer::Rows;

/// The ends of a driven pipeline, by name. Clones are the same.
#[derive(Clone, Default)]
pub struct Outputs(Arc<Mutex<BTreeMap<String, Output>>>);

/// One end, and what was committed of it.
struct Output {
    place: Place,
    rows: Box<dyn OutputRecords>,
    /// How many of them the test has taken.
    taken: usize,
}

/// Records whose type only the test and the pipeline know.
trait OutputRecords: Any + Send {
    fn append(&mut self, epochs: &[Epoch], place: Place);
    fn truncate(&mut self, count: usize);
    fn count(&self) -> usize;
    fn kind(&self) -> &'static str;
}

impl<T: Clone + Send + Sync + 'static> OutputRecords for Vec<Record<T>> {
    #[expect(clippy::panic, reason = "the test kit fails as assertions do")]
    fn append(&mut self, epochs: &[Epoch], place: Place) {
        match Rows::<T>::of(epochs, place) {
            Ok(rows) => self.extend(rows.cloned()),
            Err(error) => panic!("{}", error.report()),
        }
    }
    fn truncate(&mut self, count: usize) {
        Vec::truncate(self, count);
    }
    fn count(&self) -> usize {
        self.len()
    }
    fn kind(&self) -> &'static str {
        type_name::<T>()
    }
}

impl Outputs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Output>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sink of the output of this name, which is made if there was none.
    #[must_use]
    pub fn sink<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Rows<T> {
        let mut outputs = self.lock();
        let output = outputs.entry(name.to_owned()).or_insert_with(|| Output {
            place: Place::new("output"),
            rows: Box::new(Vec::<Record<T>>::new()),
            taken: 0,
        });
        Rows::new(output.place)
    }

    /// The places of all outputs.
    pub(super) fn has(&self, place: Place) -> bool {
        self.lock().values().any(|output| output.place == place)
    }

    /// Takes in what epochs have staged.
    pub(super) fn append(&self, epochs: &[Epoch]) {
        for output in self.lock().values_mut() {
            output.rows.append(epochs, output.place);
        }
    }

    /// How much there is of each.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        self.lock().iter().map(|(name, output)| (name.clone(), output.rows.count())).collect()
    }

    /// Forgets what came after there was this much of each.
    pub(super) fn truncate(&self, counts: &BTreeMap<String, usize>) {
        for (name, output) in &mut *self.lock() {
            let count = counts.get(name).copied().unwrap_or(0);
            output.rows.truncate(count);
            output.taken = output.taken.min(count);
        }
    }

    /// What was committed to an output since it was last taken.
    #[expect(clippy::panic, reason = "the test kit fails as assertions do")]
    pub(super) fn take<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Vec<Record<T>> {
        let mut outputs = self.lock();
        let names: Vec<String> = outputs.keys().cloned().collect();
        let Some(output) = outputs.get_mut(name) else {
            panic!("the pipeline has no output {name:?}; it has {names:?}");
        };
        let rows: &dyn Any = &*output.rows;
        let Some(rows) = rows.downcast_ref::<Vec<Record<T>>>() else {
            let (kind, wanted) = (output.rows.kind(), type_name::<T>());
            panic!("output {name:?} has records of {kind}, and not of {wanted}");
        };
        let since = rows.get(output.taken..).unwrap_or_default().to_vec();
        output.taken = rows.len();
        since
    }
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outputs").field(&self.counts()).finish()
    }
}
