//! What a window does with late records, by the decision that was made.

use std::fmt;
use std::time::Duration;

use crate::either::Either;
use crate::operators::late::{Late, LateFlow};
use crate::operators::stateful::Outbox;
use crate::record::Record;
use crate::time::Timestamp;

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
    /// What the aggregate emits.
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
