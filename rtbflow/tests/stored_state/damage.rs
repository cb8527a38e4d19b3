//! What becomes of bytes that lie somewhere for long.

/// The bytes with each single bit changed, and cut at each place.
pub(crate) fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..8 * whole.len()).map(|bit| {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    flipped.chain((0..whole.len()).map(|at| whole[..at].to_vec()))
}
