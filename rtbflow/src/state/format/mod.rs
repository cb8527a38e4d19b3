//! How a value is written in a chunk: by the names of its fields and variants, with the type of each number.
//!
//! What serde's data model distinguishes is distinguished here: an option in an option, a `u8` and a `u16`, a
//! field that was left out. So a type that is read by looking at what comes (`untagged`, `flatten`, an inner
//! tag) can be, and a value that does not come back as it was is found by writing it once more.

mod decode;
mod decode_parts;
mod difference;
mod encode;
mod encode_parts;
mod failure;
mod names;
mod node;
mod shape;
mod tags;
mod trace;
mod trace_parts;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use decode::ValueDecoder;
pub(super) use encode::Encoder;
pub(super) use failure::FormatFailure;
pub(super) use names::Names;
pub(super) use shape::Shape;
pub(super) use tags::SHAPE;

/// Whether what was written comes back as it was: reads it as an `E`, and compares.
pub(super) fn check<E: Serialize + DeserializeOwned>(
    written: &[u8],
    names: &[&'static str],
    dynamic: bool,
) -> Result<(), FormatFailure> {
    let mut decoder = ValueDecoder::new(written, names.to_vec(), dynamic);
    let value = E::deserialize(&mut decoder).map_err(|failure| FormatFailure {
        reason: format!("cannot be read back: {}", failure.reason),
        ..failure
    })?;
    if !decoder.rest().is_empty() {
        return Err(FormatFailure::new("is not read to its end"));
    }
    compare(&value, (written, names), dynamic)
}

/// Writes a value once more, and compares that with what it was read from.
pub(super) fn compare<E: Serialize>(
    value: &E,
    (written, names): (&[u8], &[&str]),
    dynamic: bool,
) -> Result<(), FormatFailure> {
    let (mut again, mut known) = (Vec::with_capacity(written.len()), Names::new(names));
    value.serialize(Encoder::new(&mut again, &mut known, dynamic))?;
    if again == written { Ok(()) } else { difference::same((written, &again), names) }
}
