//! A sink that takes other records than those of the flow.
//~ does not take records of `u64`
//~ put a `map` before it

use rtbflow::epoch::Memory;
use rtbflow::{Elements, End, Flow};

fn end(numbers: Flow<impl Elements<Value = u64>>) -> End {
    numbers.to(Memory::new().collected::<String>().sink())
}

fn main() {}
