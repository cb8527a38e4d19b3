//! A hash that is the same in every process.

use std::hash::{Hash, Hasher};

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// [FNV-1a](http://www.isthe.com/chongo/tech/comp/fnv/), with the last step of MurmurHash3 that spreads
/// it over all bits.
struct Stable(u64);

/// The hash of a value: the same after a restart and in another process, for what is chosen or kept by it.
pub(crate) fn stable_hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = Stable(FNV_OFFSET);
    value.hash(&mut hasher);
    hasher.finish()
}

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    fn finish(&self) -> u64 {
        let hash = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        hash ^ (hash >> 33)
    }
}
