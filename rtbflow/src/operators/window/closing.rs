//! A window that is over and still to be emitted: a portion at a time, with barriers in between.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::operators::Snapshot;
use crate::operators::window::open::{Open, Slot};
use crate::operators::window::span::Window;
use crate::state::{ChunkWriter, Format};
use crate::time::Timestamp;

/// A window that is over.
///
/// Its log keeps the order of its keys, so that how far it was emitted is a number: of the entries at the
/// beginning of the log.
pub(crate) struct Closing<K, S> {
    pub(crate) window: Window,
    pub(crate) entries: std::vec::IntoIter<(K, Slot<S>)>,
    /// How many entries there were.
    count: usize,
    /// How many of these, the first, the log has.
    logged_count: usize,
    /// How many entries of the log come before them: they were emitted before a restart.
    before: usize,
    /// How many were emitted that the log never had; not known before the first barrier.
    unlogged: Option<usize>,
    /// Whether the place has anything of it.
    pub(crate) logged: bool,
}

impl<K, S> Closing<K, S> {
    /// A window, whose entries those are, `before` of which were emitted before a restart.
    pub(crate) fn new(
        open: &Open<K, S>,
        entries: std::vec::IntoIter<(K, Slot<S>)>,
        before: usize,
    ) -> Self {
        let Open { window, logged, fresh, .. } = *open;
        let (count, logged_count) = (entries.len(), fresh - before);
        Self { window, entries, count, logged_count, before, unlogged: None, logged }
    }
}

impl<K, S> Closing<K, S>
where
    K: Serialize + DeserializeOwned + 'static,
    S: Serialize + DeserializeOwned + 'static,
{
    /// Writes what the log does not know of what is still to be emitted; returns how many entries of the log
    /// were emitted.
    pub(crate) fn write(&mut self, format: &Format, snapshot: &mut Snapshot) -> usize {
        let emitted = self.count - self.entries.len();
        let unlogged = self.unlogged.unwrap_or_else(|| {
            self.write_changed(format, snapshot);
            // Those that the log has come first.
            emitted.saturating_sub(self.logged_count)
        });
        self.unlogged = Some(unlogged);
        self.before + emitted - unlogged
    }

    fn write_changed(&mut self, format: &Format, snapshot: &mut Snapshot) {
        let changed = self.entries.as_slice().iter().filter(|(_, slot)| slot.changed);
        let mut changed = changed.peekable();
        if changed.peek().is_none() {
            return;
        }
        let mut entries = ChunkWriter::new(format.clone());
        entries.put_head::<Timestamp>(&self.window.start);
        for (key, slot) in changed {
            entries.put_as::<(K, S, u32)>(&(key, &slot.state, slot.unseen_count));
        }
        snapshot.append(self.window.end.as_millis(), entries);
        self.logged = true;
    }
}
