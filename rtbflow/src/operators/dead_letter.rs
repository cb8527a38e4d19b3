//! Sends the records that failed a step to the dead-letter topic.

use std::sync::Arc;

use crate::barrier::{Barrier, Class, Reject};
use crate::error::BadRecord;
use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

impl<S, T> Flow<S>
where
    S: Elements<Value = Result<T, BadRecord>>,
    T: Send + 'static,
{
    /// Keeps the values; a record with a [`BadRecord`] goes to the dead-letter topic, unchanged as it was
    /// read, with the reason.
    ///
    /// What does not decode goes there by itself; this is for a check of one's own. A record that an
    /// operator made of several, such as a window's result, was not read anywhere: it is only dropped.
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::BadRecord;
    /// use rtbflow::testing::{run, values};
    ///
    /// let priced = run(values([3, -1, 5]), |flow| {
    ///     flow.map(|price: i64| if price < 0 { Err(BadRecord::new("negative price")) } else { Ok(price) })
    ///         .dead_letter()
    /// });
    /// assert_eq!(priced, [3, 5]);
    /// ```
    pub fn dead_letter(self) -> Flow<impl Elements<Value = T>> {
        self.step("dead_letter", DeadLetterStep::default())
    }
}

#[derive(Default)]
struct DeadLetterStep {
    rejects: Vec<(Reject, Class)>,
}

impl<T: Send + 'static> StatelessStep<Result<T, BadRecord>> for DeadLetterStep {
    type Out = T;

    #[inline]
    fn step(&mut self, record: Record<Result<T, BadRecord>>, _: Timestamp) -> Outcome<T> {
        let (timestamp, origin) = (record.timestamp, record.origin);
        match record.value {
            Ok(value) => Outcome::Emitted(Record { value, timestamp, origin }),
            Err(reason) => {
                let reject = origin.map(|origin| Reject { origin, reason });
                self.rejects.extend(reject.map(|reject| (reject, Class::DeadLettered)));
                Outcome::Rejected
            }
        }
    }

    fn pass(&mut self, barrier: &Barrier, operator: &Arc<str>) {
        if !self.rejects.is_empty() {
            barrier.gather_of(operator, |epoch| epoch.reject(self.rejects.drain(..)));
        }
    }
}
