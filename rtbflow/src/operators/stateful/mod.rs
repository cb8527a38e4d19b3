//! The one poll loop behind all operators with state, and the contract of their logic.

mod behind;
mod logic;
mod operator;
mod outbox;
mod passage;

use crate::flow::{Elements, Flow};

pub use crate::state::Snapshot;
pub use logic::Logic;
pub(super) use operator::Stateful;
pub use outbox::Outbox;

impl<S: Elements> Flow<S> {
    /// An operator of one's own: `kind` is what the topology calls it, `name` what its state is kept by.
    /// The name must be unique in the pipeline and stay the same from release to release.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::operators::{Logic, Outbox, Snapshot};
    /// use rtbflow::state::{Chunk, ChunkReader, ChunkWriter};
    /// use rtbflow::testing::{run, values};
    /// use rtbflow::{Record, Result};
    ///
    /// /// Numbers the records.
    /// #[derive(Default)]
    /// struct Count(u64);
    ///
    /// impl Logic for Count {
    ///     type In = &'static str;
    ///     type Out = (u64, &'static str);
    ///     const VERSION: u16 = 1;
    ///
    ///     fn on_record(&mut self, record: Record<&'static str>, out: &mut Outbox<Self::Out>) {
    ///         self.0 += 1;
    ///         out.push(record.map(|value| (self.0, value)));
    ///     }
    ///     fn snapshot(&mut self, snapshot: &mut Snapshot) {
    ///         let mut count = ChunkWriter::new(Self::VERSION);
    ///         count.put(&self.0);
    ///         snapshot.replace(0, count);
    ///     }
    ///     fn restore(&mut self, chunk: &Chunk) -> Result<()> {
    ///         self.0 = ChunkReader::open(chunk, Self::VERSION)?.only_entry()?.unwrap_or(0);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let counted = run(values(["a", "b"]), |flow| flow.logic("count", "my-count", Count::default()));
    /// assert_eq!(counted, [(1, "a"), (2, "b")]);
    /// ```
    pub fn logic<L>(
        self,
        kind: &'static str,
        name: &str,
        logic: L,
    ) -> Flow<impl Elements<Value = L::Out>>
    where
        L: Logic<In = S::Value>,
    {
        let tip = self.tip.then_named(kind, name, "");
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}
