//! A join that does not say what becomes of late records.
//~ does not say what happens to late records

use std::time::Duration;

use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::{Elements, Flow};

fn joined(left: Flow<impl Elements<Value = u64>>, right: Flow<impl Elements<Value = u64>>) {
    let near = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_secs(1)));
    let _ = left.key_by(|n| *n).connect(right.key_by(|n| *n)).interval_join("near", near);
}

fn main() {}
