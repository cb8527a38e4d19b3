//! A window over records that have no key.
//~ no method named `window` found for struct `Flow<

use std::time::Duration;

use rtbflow::operators::window::{Late, Tumbling};
use rtbflow::{Elements, Flow};

fn counts(numbers: Flow<impl Elements<Value = u64>>) {
    let _ = numbers.window(Tumbling::of(Duration::from_secs(1)).late(Late::Drop));
}

fn main() {}
