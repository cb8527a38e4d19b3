//! What an operator's chunks hold: the version of its state, a text, and of which type the entries are.

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::hash::stable_hash;
use crate::state::format::Shape;
use crate::state::frame::header::VERSIONS;

/// What an operator's chunks hold: the version of its state and, for what the types do not say, a text.
///
/// State whose text or types differ from those of the program that reads it is refused: a sum is no count,
/// though both are numbers.
///
/// ```
/// use rtbflow::state::Format;
///
/// let format = Format::new(1, "highest value per sensor").emptied_at_end();
/// assert_eq!(format.version(), 1);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Format {
    pub(super) version: u16,
    /// That of chunks as they were once written.
    pub(super) older_version: u16,
    pub(super) of: Arc<str>,
    pub(super) emptied_at_end: bool,
    /// Whether a chunk that is stored says in words what this is.
    pub(in crate::state) said: Arc<AtomicBool>,
}

impl Format {
    /// State of this version, and what is in it.
    pub fn new(version: u16, of: impl Into<Arc<str>>) -> Self {
        let (version, said) = (version & VERSIONS, Arc::default());
        Self { version, older_version: version, of: of.into(), emptied_at_end: false, said }
    }

    /// How far an operator has come: whatever it does, that is a time.
    pub(crate) fn of_watermark(version: u16) -> Self {
        let said = Arc::new(true.into());
        Self { said, version: 0, ..Self::new(version, "watermark") }
    }

    /// Nothing is left of it at the end of all time, as of windows, which all close. So a run to the end of
    /// the input makes room for another program, and the error of whoever is refused says so.
    pub fn emptied_at_end(self) -> Self {
        Self { emptied_at_end: true, ..self }
    }

    /// The version of the operator's state.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// What is in it, in words, and of which type the entries are.
    pub(super) fn with(&self, shape: &Shape) -> String {
        if self.of.is_empty() { shape.text.clone() } else { format!("{}: {}", self.of, shape.text) }
    }

    /// Of each chunk that is not the first of its bucket it is all that says what the entries are.
    pub(super) fn mark(&self, shape: &Shape) -> [u8; 4] {
        mark(stable_hash(&*self.of) ^ shape.hash.rotate_left(1))
    }
}

/// What to do where state cannot be read.
pub(super) fn ways_out(emptied_at_end: bool) -> &'static str {
    if emptied_at_end {
        "run the program that stored it once more with `until_end`, which reads to the end, closes what is open \
         and commits, and then start this one; or reset the job, which removes its positions, state and results"
    } else {
        "go on with the program that stored it; or reset the job, which removes its positions, state and results"
    }
}

/// The mark of a type: few bytes of its hash, as each chunk has them.
pub(super) fn mark(hash: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    [a, b, c, d]
}

/// State of this version, of which nothing is said but the types.
impl From<u16> for Format {
    fn from(version: u16) -> Self {
        Self::new(version, "")
    }
}

/// Of which type the entries are that are written or read.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) of: TypeId,
    pub(super) shape: Arc<Shape>,
    pub(super) count: usize,
}
