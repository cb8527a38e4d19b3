//! A source that a service pushes records into.

use std::fmt;

use futures::SinkExt;
use futures::channel::mpsc;

use crate::error::{Error, Result};
use crate::source::StreamSource;

/// A source of what is pushed into a channel, and the end to push into.
///
/// The channel holds `capacity` values, and one more for each [`Pusher`]; who pushes faster than the job
/// commits is held back. It ends, and the job with it, when the last pusher is gone.
///
/// It cannot be read again, as [`StreamSource`] says: what was pushed and is not committed when the
/// process ends is lost. An empty channel stands at its end: after the job's
/// [idle time-out](crate::Job::idle_timeout) its event time goes on with the wall clock.
///
/// # Examples
/// ```
/// use rtbflow::epoch::Memory;
/// use rtbflow::source::channel;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (mut pusher, orders) = channel::<u64>("orders", 100);
/// let place = Memory::new();
/// let out = place.collected::<u64>();
/// let job = rtbflow::Job::new("orders").source(orders).anchor(place.clone()).pipeline({
///     let out = out.clone();
///     move |orders| orders.filter(|order| *order > 10).to(out.sink())
/// });
/// let job = tokio::spawn(job.run());
/// // In the handlers of a service:
/// for order in [7, 11, 12] {
///     pusher.push(order).await?;
/// }
/// drop(pusher);
/// job.await??;
/// assert_eq!(out.values(), [11, 12]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn channel<T>(topic: &str, capacity: usize) -> (Pusher<T>, StreamSource<T>)
where
    T: Clone + Send + Sync + 'static,
{
    let (pusher, values) = mpsc::channel(capacity);
    (Pusher(pusher), StreamSource::new(topic, values).pending_is_end(true))
}

/// The end of a [`channel`] that is pushed into. Clones push into the same.
pub struct Pusher<T>(mpsc::Sender<T>);

impl<T> Clone for Pusher<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Pusher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pusher(closed: {})", self.0.is_closed())
    }
}

impl<T> Pusher<T> {
    /// Pushes a value; waits for room. That it returns says that the value is in the channel, and not
    /// that it is committed.
    ///
    /// # Errors
    /// A permanent one if the source is gone, and its job with it.
    pub async fn push(&mut self, value: T) -> Result<()> {
        let sent = self.0.send(value).await;
        sent.map_err(|_| Error::permanent("push a record: the job that reads it has ended"))
    }

    /// Pushes a value if there is room.
    ///
    /// # Errors
    /// The value itself, if there is none, or if the source [is gone](Self::is_closed).
    pub fn try_push(&mut self, value: T) -> std::result::Result<(), T> {
        self.0.try_send(value).map_err(mpsc::TrySendError::into_inner)
    }

    /// Whether the source is gone, so that nothing can be pushed any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_channel_gives_the_value_back_and_a_closed_one_says_so() {
        let (mut pusher, source) = channel("numbers", 1);
        let held = (0..10).take_while(|n| pusher.try_push(*n).is_ok()).count();
        assert_eq!(held, 2, "the capacity, and one for the pusher");
        assert_eq!(pusher.try_push(7), Err(7));
        assert!(!pusher.is_closed());
        drop(source);
        assert!(pusher.is_closed());
        assert!(pusher.push(8).await.is_err());
    }
}
