//! What windows emit.

use std::time::Duration;

use serde::Serialize;

use crate::error::BadRecord;
use crate::operators::Outbox;
use crate::operators::window::aggregate::Aggregate;
use crate::operators::window::assign::Windows;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::span::{Window, Windowed};
use crate::record::Record;
use crate::refused_result::RefusedResult;

/// What comes out of windows `W` with the aggregate `A`.
pub(crate) type Out<K, T, W, A> =
    <<W as Windows>::Late as LatePolicy>::Out<Windowed<K, <A as Aggregate<T>>::Output>, T>;

/// A result of a window.
#[inline]
pub(crate) fn result<K, T, W, A>(
    key: K,
    window: Window,
    value: A::Output,
) -> Record<Out<K, T, W, A>>
where
    K: Send + 'static,
    T: Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    let last = window.end - Duration::from_millis(1);
    W::Late::result::<_, T>(Record::derived(Windowed { key, window, value }, last))
}

/// What an aggregate makes of a state, if it has a result; else a dead letter has it.
#[inline]
pub(crate) fn output<K, T, A, U>(
    (key, window): (&K, Window),
    (aggregate, state): (&A, &A::State),
    out: &mut Outbox<U>,
) -> Option<A::Output>
where
    K: Serialize,
    A: Aggregate<T>,
{
    match aggregate.check(state) {
        Ok(()) => Some(aggregate.output(state)),
        Err(reason) => {
            refuse(key, window, state, reason, out);
            None
        }
    }
}

/// Emits what an aggregate makes of the state of a key, if it has a result; else a dead letter has it.
#[inline]
pub(crate) fn emit<K, T, W, A>(
    (key, window): (&K, Window),
    made: (&A, &A::State),
    out: &mut Outbox<Out<K, T, W, A>>,
) where
    K: Clone + Serialize + Send + 'static,
    T: Send + 'static,
    W: Windows,
    A: Aggregate<T>,
{
    if let Some(value) = output((key, window), made, out) {
        out.push(result::<K, T, W, A>(key.clone(), window, value));
    }
}

/// Makes a dead letter of what has no result.
#[cold]
#[inline(never)]
fn refuse<U>(
    key: &impl Serialize,
    window: Window,
    state: &impl Serialize,
    reason: BadRecord,
    out: &mut Outbox<U>,
) {
    #[derive(Serialize)]
    struct Whole<'a, K, S> {
        key: &'a K,
        window_start: String,
        window_end: String,
        state: &'a S,
    }

    let Window { start, end } = window;
    let whole = Whole { key, window_start: start.to_string(), window_end: end.to_string(), state };
    let of = format!("the window from {start} to {end}");
    // A key or a state that JSON does not have, such as a map by pairs: the letter still says which window it was.
    let json = serde_json::to_vec(&whole).unwrap_or_else(|_| of.clone().into_bytes());
    let reason = BadRecord::new(format!("{of}: {}", reason.reason()));
    out.refuse(RefusedResult::new(json), reason);
}
