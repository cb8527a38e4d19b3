//! What wakes an operator after a while: operators know no runtime and no clock.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

/// Makes futures that are ready after a while. The job's is the runtime's; that of a flow which belongs to
/// no job never rings.
#[derive(Clone)]
pub(crate) struct Alarm(Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>);

impl Alarm {
    pub(crate) fn new(
        after: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(after))
    }

    /// Ready after this long.
    pub(crate) fn after(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (self.0)(duration)
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new(|_| pending().boxed())
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}
