//! A join of flows whose keys are of different types.
//~ expected `u64`, found `String`

use rtbflow::{Elements, Flow};

fn joined(left: Flow<impl Elements<Value = u64>>, right: Flow<impl Elements<Value = u64>>) {
    let _ = left.key_by(|n| n % 2).connect(right.key_by(|n| n.to_string()));
}

fn main() {}
