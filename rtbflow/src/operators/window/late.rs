//! What becomes of late records: said once, where the windows are laid.

use std::fmt;
use std::time::Duration;

use crate::either::Either;
use crate::operators::Outbox;
use crate::record::Record;
use crate::time::Timestamp;

/// What happens to late records has not been said yet.
#[derive(Debug, Clone, Copy)]
pub struct Undecided;

/// What becomes of a late record. To have them as a flow, take [`LateFlow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It goes to the dead-letter topic, with a reason that says so.
    DeadLetter,
    /// It is dropped, and counted.
    Drop,
}

/// Late records come out beside the results: the aggregate's flow is one of [`Either`] a result or a
/// late record, of which [`split`](crate::Flow::split) makes two flows.
///
/// They are as they came, with their origin, and are accounted for where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateFlow;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Late {}
    impl Sealed for super::LateFlow {}
}

/// A decision about late records: [`Late`] or [`LateFlow`].
#[diagnostic::on_unimplemented(
    message = "the window does not say what happens to late records",
    label = "decide here",
    note = "add `.late(Late::DeadLetter)` to send them to the dead-letter topic, `.late(Late::Drop)` to drop and count them, or `.late(LateFlow)` to go on with them in a flow of their own"
)]
pub trait LatePolicy: sealed::Sealed + fmt::Debug + Copy + Send + 'static {
    /// What the aggregate puts out.
    type Out<R: Send + 'static, T: Send + 'static>: Send + 'static;

    /// A result.
    fn result<R: Send + 'static, T: Send + 'static>(result: Record<R>) -> Record<Self::Out<R, T>>;

    /// A record that came when the watermark had passed the end of its last window, and the allowed
    /// lateness too.
    fn late<R: Send + 'static, T: Send + 'static>(
        self,
        record: Record<T>,
        end: Timestamp,
        allowed: Duration,
        out: &mut Outbox<Self::Out<R, T>>,
    );
}

impl LatePolicy for Late {
    type Out<R: Send + 'static, T: Send + 'static> = R;

    #[inline]
    fn result<R: Send + 'static, T: Send + 'static>(result: Record<R>) -> Record<R> {
        result
    }

    #[cold]
    fn late<R: Send + 'static, T: Send + 'static>(
        self,
        record: Record<T>,
        end: Timestamp,
        allowed: Duration,
        out: &mut Outbox<R>,
    ) {
        let watermark = out.watermark_before();
        out.late(self, record.origin, watermark.since(end + allowed), || {
            format!("its window ended at {end}, the watermark is {watermark}")
        });
    }
}

impl LatePolicy for LateFlow {
    type Out<R: Send + 'static, T: Send + 'static> = Either<R, T>;

    #[inline]
    fn result<R: Send + 'static, T: Send + 'static>(result: Record<R>) -> Record<Either<R, T>> {
        result.map(Either::Left)
    }

    fn late<R: Send + 'static, T: Send + 'static>(
        self,
        record: Record<T>,
        _end: Timestamp,
        _allowed: Duration,
        out: &mut Outbox<Either<R, T>>,
    ) {
        out.push(record.map(Either::Right));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::operators::window::{Count, Tumbling};
    use crate::testing::{laws, run, timed};

    #[test]
    fn late_records_are_a_flow_of_their_own() {
        let five = Tumbling::of(Duration::from_millis(5)).late(LateFlow);
        let input = || timed([('a', 1), ('b', 5), ('c', 2), ('d', 6)]);
        let (mut counts, mut late) = (Vec::new(), Vec::new());
        for out in run(input(), |flow| flow.key_by(|_| 0).window(five).aggregate("counts", Count)) {
            match out {
                Either::Left(windowed) => counts.push(windowed.value),
                Either::Right(letter) => late.push(letter),
            }
        }
        assert_eq!((counts, late), (vec![1, 2], vec!['c']));
        laws::operator(input(), move |flow| {
            flow.key_by(|_| 0).window(five).aggregate("counts", Count)
        });
    }
}
