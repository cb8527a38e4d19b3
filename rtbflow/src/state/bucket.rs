//! When the log of a bucket has outgrown its live content.

/// Counts what a bucket's log holds in the place, and says when one fresh chunk is cheaper.
///
/// The rule is that of a log-structured store with one level: the log is rewritten once it holds more
/// than twice as many entries as are alive, and at least 64 of them, so that each entry is written
/// at most three times on average and a restart reads at most twice what is alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    logged_count: usize,
}

impl Bucket {
    /// Whether a bucket with this many live entries, `changed` of which are to be written now, should
    /// be written whole. Counts what will be written either way.
    pub fn rewrites(&mut self, live: usize, changed: usize) -> bool {
        const LEAST: usize = 64;
        let after = self.logged_count + changed;
        let rewrite = after > LEAST.max(live.saturating_mul(2));
        self.logged_count = if rewrite { live } else { after };
        rewrite
    }

    /// Counts entries that were read back from the place.
    pub fn restored(&mut self, count: usize) {
        self.logged_count += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_holds_more_than_twice_what_is_alive() {
        let mut bucket = Bucket::default();
        let mut written = 0;
        for _ in 0..1000 {
            written += if bucket.rewrites(200, 50) { 200 } else { 50 };
            assert!(bucket.logged_count <= 400);
        }
        assert!(written < 1000 * 50 * 3, "{written}");
    }
}
