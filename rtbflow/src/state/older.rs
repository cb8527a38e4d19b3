//! Entries as they were written before: in MessagePack, a struct's fields by their position.
//!
//! Nothing in them says of which type they are, and a field that was left out is no more than one value less.
//! So an entry is taken only if it says the same once it is written again, with no field left out.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::format::{Encoder, Names};

/// The next entry; `None` after the last.
pub(super) fn next_entry<E: Serialize + DeserializeOwned>(
    entries: &mut &[u8],
) -> Result<Option<E>, String> {
    if entries.is_empty() {
        return Ok(None);
    }
    let before = *entries;
    let entry: E = rmp_serde::decode::from_read(&mut *entries)
        .map_err(|error| format!("it was stored as another type ({error})"))?;
    let written = before.get(..before.len() - entries.len());
    let written = written.ok_or("more of it was read than there is")?;
    let again = rmp_serde::to_vec(&entry)
        .map_err(|error| format!("it was stored as another type ({error})"))?;
    if !same(written, &again) {
        return Err("it was stored as another type".into());
    }
    let mut names = Names::default();
    // A value that this cannot write is none that leaves out a field.
    _ = entry.serialize(Encoder::new(&mut Vec::new(), &mut names, false));
    if let Some((of, field)) = names.left_out() {
        return Err(format!(
            "an earlier release wrote fields by position, and `{of}` leaves out `{field}`: which of its fields \
             were stored cannot be known"
        ));
    }
    Ok(Some(entry))
}

/// Whether two values are one. What has no order of its own may come in another one.
fn same(written: &[u8], again: &[u8]) -> bool {
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    written == again || written.len() == again.len() && sorted(written) == sorted(again)
}
