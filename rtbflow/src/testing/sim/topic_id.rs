//! The ids of topics in a simulation.

use crate::log::TopicId;

/// The id of a topic of this name, however long that is.
pub(super) fn id_of(name: &str) -> TopicId {
    let add = |id: u128, byte| id.wrapping_mul(257).wrapping_add(u128::from(byte));
    TopicId::new(name.bytes().fold(1, add))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_of_any_length_has_an_id() {
        let names: Vec<String> =
            (0..300).map(|length| "conversion-events".repeat(length)).collect();
        let ids: BTreeSet<_> = names.iter().map(|name| id_of(name)).collect();
        assert_eq!(ids.len(), names.len());
    }
}
