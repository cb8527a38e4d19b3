//! Answers for many keys by one call.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::error::{BadRecord, Error, Result};

/// Why a call gave no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failed {
    /// The record cannot be used: it becomes a dead letter, and the flow goes on.
    BadRecord(BadRecord),
    /// The call failed. If the error is [transient](Error::is_transient) it is made again; after the last
    /// attempt, or if the error is of another kind, the task ends with it, and nothing of its epoch is
    /// committed. A job begins again after a transient error, from where it was committed.
    Error(Error),
}

impl From<BadRecord> for Failed {
    fn from(reason: BadRecord) -> Self {
        Self::BadRecord(reason)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Fetches many keys by one call: what is asked for at the same time becomes one round trip.
///
/// For what can be asked for several keys at once, such as a database or a service with an interface for
/// lists; a call per key needs nothing but a closure. To be used by [`lookup`](crate::KeyedFlow::lookup) or
/// [`map_async`](crate::Flow::map_async), whose number of calls at a time bounds how many keys come
/// together. Clones fetch together.
///
/// ```
/// use std::collections::HashMap;
/// use std::num::NonZeroUsize;
/// use futures::executor::block_on;
/// use futures::future::try_join3;
/// use rtbflow::operators::Batched;
///
/// // A service that knows even numbers, and says how many it was asked for.
/// const MOST: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// let halves = Batched::new(MOST, |keys: Vec<u32>| async move {
///     let even = keys.iter().filter(|key| *key % 2 == 0);
///     Ok(even.map(|key| (*key, (key / 2, keys.len()))).collect::<HashMap<_, _>>())
/// });
/// let found = block_on(try_join3(halves.get(4), halves.get(5), halves.get(6)));
/// assert_eq!(found.ok(), Some((Some((2, 3)), None, Some((3, 3)))));
/// ```
pub struct Batched<K, V>(Arc<BatchedFetch<K, V>>);

struct BatchedFetch<K, V> {
    most: NonZeroUsize,
    fetch: Box<dyn Fn(Vec<K>) -> Fetched<K, V> + Send + Sync>,
    open: Mutex<Option<Open<K, V>>>,
}

type Fetched<K, V> = BoxFuture<'static, Result<HashMap<K, V>>>;
/// What all who asked together wait for. It goes on for as long as anybody waits.
type Answers<K, V> = BoxFuture<'static, Result<Arc<HashMap<K, V>>, Arc<Error>>>;

/// The keys of a call; none once it has set out.
type Keys<K> = Arc<Mutex<Option<Vec<K>>>>;

/// A call that has not set out, as far as is known.
struct Open<K, V> {
    keys: Keys<K>,
    answers: WeakShared<Answers<K, V>>,
}

impl<K, V> Clone for Batched<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Batched<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batched(at most {})", self.0.most)
    }
}

impl<K, V> Batched<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Fetches by this function, at most this many keys at a time. It answers with what it found; keys that are not there
    /// are left out.
    ///
    /// None would be too few, and no pipeline could refuse that as it is drawn, since it calls a closure that calls
    /// this: so the type has no zero.
    #[must_use]
    pub fn new<F, R>(most: NonZeroUsize, fetch: F) -> Self
    where
        F: Fn(Vec<K>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<HashMap<K, V>>> + Send + 'static,
    {
        let fetch = Box::new(move |keys| fetch(keys).boxed());
        Self(Arc::new(BatchedFetch { most, fetch, open: Mutex::new(None) }))
    }

    /// What a key stands for, if it is there.
    ///
    /// # Errors
    /// If the call fails: all that asked for a key of it receive the error.
    pub fn get(
        &self,
        key: K,
    ) -> impl Future<Output = Result<Option<V>, Failed>> + Send + 'static + use<K, V> {
        let batched = self.clone();
        async move {
            let (answers, gate) = batched.join(key.clone());
            if let Some(gate) = gate {
                after_the_others().await;
                drop(gate);
            }
            match answers.await {
                Ok(answers) => Ok(answers.get(&key).cloned()),
                Err(error) => Err(Error::new(error.kind(), error.report()).into()),
            }
        }
    }

    /// Joins the call that is open, or opens one: then with what it waits for to be dropped.
    fn join(&self, key: K) -> (Shared<Answers<K, V>>, Option<oneshot::Sender<()>>) {
        let mut slot = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*slot
            && let Some(answers) = open.answers.upgrade()
            && let Some(keys) = &mut *open.keys.lock().unwrap_or_else(PoisonError::into_inner)
            && keys.len() < self.0.most.get()
        {
            keys.push(key);
            return (answers, None);
        }
        let keys = Arc::new(Mutex::new(Some(vec![key])));
        let (gate, opened) = oneshot::channel::<()>();
        let (inner, asked) = (Arc::clone(&self.0), Arc::clone(&keys));
        let answers = async move {
            // Whoever opened the call lets it set out, or is gone.
            let _ = opened.await;
            let keys = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
            let again = || Arc::new(Error::broken("a call sets out a second time"));
            (inner.fetch)(keys.ok_or_else(again)?).await.map(Arc::new).map_err(Arc::new)
        };
        let answers = answers.boxed().shared();
        *slot = answers.downgrade().map(|answers| Open { keys, answers });
        (answers, Some(gate))
    }
}

/// Lets those have their turn that are about to ask as well.
async fn after_the_others() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::future::{join_all, pending};
    use futures::poll;

    use super::*;

    /// Answers with the number of the call; how many keys each had is noted.
    const TEN: NonZeroUsize = NonZeroUsize::new(10).unwrap();

    fn counting(most: usize) -> (Batched<u32, usize>, Arc<Mutex<Vec<usize>>>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&calls);
        let most = NonZeroUsize::new(most).unwrap();
        let batched = Batched::new(most, move |keys: Vec<u32>| {
            let mut noted = noted.lock().unwrap();
            noted.push(keys.len());
            let number = noted.len();
            async move { Ok(keys.into_iter().map(|key| (key, number)).collect()) }
        });
        (batched, calls)
    }

    fn all(batched: &Batched<u32, usize>, keys: std::ops::Range<u32>) -> Vec<usize> {
        let found = block_on(join_all(keys.map(|key| batched.get(key))));
        found.into_iter().map(|found| found.unwrap().unwrap()).collect()
    }

    #[test]
    fn what_is_asked_for_together_is_one_call() {
        let (batched, calls) = counting(1_000);
        assert_eq!(all(&batched, 0..300), vec![1; 300]);
        assert_eq!(all(&batched, 0..2), [2, 2], "it is over: another one");
        assert_eq!(*calls.lock().unwrap(), [300, 2]);
    }

    #[test]
    fn a_call_has_no_more_keys_than_it_may() {
        let (batched, calls) = counting(4);
        assert_eq!(all(&batched, 0..10), [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
        assert_eq!(*calls.lock().unwrap(), [4, 4, 2]);
    }

    #[test]
    fn a_call_goes_on_without_who_opened_it() {
        let (batched, calls) = counting(10);
        let answer = block_on(async {
            let (mut first, mut second) = (batched.get(1).boxed(), batched.get(2).boxed());
            assert!(poll!(&mut first).is_pending());
            assert!(poll!(&mut second).is_pending(), "it waits for the first");
            drop(first);
            second.await.unwrap()
        });
        assert_eq!(answer, Some(1));
        assert_eq!(*calls.lock().unwrap(), [2]);
    }

    #[test]
    fn what_nobody_waits_for_any_more_ends_and_the_next_begins_anew() {
        let asked = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&asked);
        let batched: Batched<u32, u32> = Batched::new(TEN, move |keys| {
            *counter.lock().unwrap() += 1;
            let hangs = keys.contains(&0);
            async move { if hangs { pending().await } else { Ok(HashMap::new()) } }
        });
        let found = block_on(async {
            let mut hanging = batched.get(0).boxed();
            for _ in 0..3 {
                assert!(poll!(&mut hanging).is_pending());
            }
            drop(hanging);
            batched.get(1).await.unwrap()
        });
        assert_eq!(found, None);
        assert_eq!(*asked.lock().unwrap(), 2);
    }

    #[test]
    fn all_learn_why_a_call_failed() {
        let batched: Batched<u32, u32> =
            Batched::new(TEN, |_| async { Err(Error::transient("ask the service")) });
        for failed in block_on(join_all([batched.get(1), batched.get(2)])) {
            let Err(Failed::Error(error)) = failed else { panic!("{failed:?}") };
            assert!(error.is_transient() && error.to_string().contains("ask the service"));
        }
    }
}
