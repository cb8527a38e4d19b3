//! A dedup that does not say for how long it keeps what it has seen.
//~ this method takes 2 arguments but 1 argument was supplied

use rtbflow::{Elements, Flow};

fn once(numbers: Flow<impl Elements<Value = u64>>) {
    let _ = numbers.key_by(|n| *n).dedup("seen");
}

fn main() {}
