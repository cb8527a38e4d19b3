//! Which keys a pipeline has written, as they are found again by their names.

/// Keys that a pipeline has written, to be removed as its job is
/// [forgotten](super::Redis::forget_with): all of one type whose names fit, in the way of Redis' `KEYS`.
///
/// ```
/// use rtbflow_sinks::redis::Pattern;
///
/// let windows = Pattern::hashes("clicks:*").having("window_start");
/// let ranking = Pattern::sorted_sets("rank:[a-z]*");
/// assert_eq!((windows.glob(), ranking.glob()), ("clicks:*", "rank:[a-z]*"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Pattern {
    glob: String,
    kind: &'static str,
    field: String,
}

impl Pattern {
    fn new(glob: impl Into<String>, kind: &'static str) -> Self {
        Self { glob: glob.into(), kind, field: String::new() }
    }

    /// Hashes.
    pub fn hashes(glob: impl Into<String>) -> Self {
        Self::new(glob, "hash")
    }

    /// Sorted sets.
    pub fn sorted_sets(glob: impl Into<String>) -> Self {
        Self::new(glob, "zset")
    }

    /// Sets.
    pub fn sets(glob: impl Into<String>) -> Self {
        Self::new(glob, "set")
    }

    /// Plain values.
    pub fn strings(glob: impl Into<String>) -> Self {
        Self::new(glob, "string")
    }

    /// Only hashes that have this field: others of such a name are somebody else's.
    pub fn having(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// What the names look like.
    #[must_use]
    pub fn glob(&self) -> &str {
        &self.glob
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn field(&self) -> &str {
        &self.field
    }
}
