//! What every operator, source, sink and anchor must do, as suites that their own tests call.
//!
//! A law is a behaviour that the rest of the library relies on. Whoever writes an operator, a source,
//! a sink or an anchor, here or elsewhere, hands it to its suite and has its tests.

mod anchor;
mod operator;
mod sink;
mod source;

pub use anchor::{AnchorUnderTest, anchor};
pub use operator::{operator, operator_with};
pub use sink::sink;
pub use source::{SourceUnderTest, source};

use std::future::Future;
use std::time::Duration;

/// How long one law may take before it counts as broken: a place that hangs breaks it too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says on stderr which law was being checked when it was broken.
struct Law(&'static str);

impl Drop for Law {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broken law: {}", self.0);
        }
    }
}

/// Checks one law of something that does not wait.
fn law_now(name: &'static str, check: impl FnOnce()) {
    let _named = Law(name);
    check();
}

/// Checks one law, within a deadline.
async fn law(name: &'static str, check: impl Future<Output = ()>) {
    let _named = Law(name);
    let kept = tokio::time::timeout(PATIENCE, check).await.is_ok();
    assert!(kept, "{name}: no answer within {PATIENCE:?}");
}
