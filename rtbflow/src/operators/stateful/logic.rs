//! The contract of an operator with state.

use crate::chunk::Chunk;
use crate::error::Result;
use crate::operators::stateful::outbox::Outbox;
use crate::record::Record;
use crate::state::Snapshot;
use crate::time::Timestamp;

/// What an operator with state does: pure logic, without waiting.
///
/// Given the same records, watermarks and barriers in the same order it must do the same again, from
/// any state that it has handed over: that is what makes a restart exact.
pub trait Logic: Send + 'static {
    /// The values that come in.
    type In: Send + 'static;
    /// The values that go out.
    type Out: Send + 'static;

    /// The version of what [`snapshot`](Self::snapshot) writes.
    const VERSION: u16;

    /// A record came.
    fn on_record(&mut self, record: Record<Self::In>, out: &mut Outbox<Self::Out>);

    /// The lowest watermark that has to be reported by [`on_watermark`](Self::on_watermark) before a record:
    /// all, unless a logic says otherwise. One below it passes on as it is, and is reported later, at the
    /// latest before a barrier; [`Outbox::watermark_before`] knows it.
    #[inline]
    fn due(&self) -> Timestamp {
        Timestamp::MIN
    }

    /// The watermark rose. Returns the watermark to pass on after what was emitted: mostly the same.
    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let _ = out;
        Some(watermark)
    }

    /// Emits more of what the watermark made due, as many records at a time as there is
    /// [`room`](Outbox::room) for, so that the outbox stays small: called after
    /// [`on_watermark`](Self::on_watermark) until it emits nothing and says so.
    fn more(&mut self, out: &mut Outbox<Self::Out>) -> bool {
        let _ = out;
        false
    }

    /// Whether a barrier may pass, and so a snapshot be taken, while [`more`](Self::more) has more to emit.
    /// What the snapshots say has to be exact then as well: what was emitted is not emitted again after a
    /// restart, and what is still due becomes due by the first watermark. Where it may not, all that a
    /// watermark makes due is one epoch, however many results that is.
    ///
    /// Neither [`on_record`](Self::on_record) nor [`on_barrier`](Self::on_barrier) is called before the last
    /// result was emitted. Nor is `on_barrier` called while an operator behind this one has results to emit: it is
    /// at the next barrier, which is asked for.
    const RESUMES: bool = false;

    /// The lowest watermark by which results become due: asked where the logic [`RESUMES`](Self::RESUMES),
    /// so that such a watermark comes alone, and not with a record behind it that the barrier would have to
    /// wait for. Unless a logic says otherwise, it is what [`due`](Self::due) says.
    #[inline]
    fn results_due(&self) -> Timestamp {
        self.due()
    }

    /// Whether the logic itself says by [`Outbox::due_at`] when a record has made results due earlier than
    /// before. Unless it does, [`results_due`](Self::results_due) is asked after each record, which is a part of
    /// what a record costs where that is little.
    const SAYS_DUE: bool = false;

    /// A barrier came, with a reading of the wall clock; what is emitted now still belongs to the epoch
    /// that it ends.
    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        let _ = (wall_clock, out);
    }

    /// Hands over what changed since the last call.
    fn snapshot(&mut self, snapshot: &mut Snapshot);

    /// Takes back what was handed over, chunk by chunk: in order within each bucket.
    ///
    /// # Errors
    /// If the chunk cannot be read; see [`ChunkReader`](crate::state::ChunkReader).
    fn restore(&mut self, chunk: &Chunk) -> Result<()>;

    /// The last chunk was brought back: what has to be emitted at the beginning, such as a watermark.
    fn restored(&mut self, out: &mut Outbox<Self::Out>) {
        let _ = out;
    }
}
