//! One instance of a pipeline: a process of its binary.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::Fallible;
use crate::pipelines::{Kind, Places};
use crate::servers::Process;

/// An instance ends in order within ten seconds; on a loaded machine the process's own end takes a moment more.
pub(crate) const LONGEST_STOP: Duration = Duration::from_secs(12);

/// What an instance says at its end of every record that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Account {
    pub(crate) records_in: i64,
    pub(crate) decoded: i64,
    pub(crate) filtered: i64,
    pub(crate) late: i64,
    pub(crate) duplicates: i64,
    pub(crate) dead_lettered: i64,
    pub(crate) skipped: i64,
    pub(crate) pending: i64,
}

impl Account {
    /// Each class by its name; without what is pending.
    pub(crate) fn classes(&self) -> [(&'static str, i64); 6] {
        [
            ("decoded", self.decoded),
            ("filtered", self.filtered),
            ("late", self.late),
            ("duplicates", self.duplicates),
            ("dead_lettered", self.dead_lettered),
            ("skipped", self.skipped),
        ]
    }

    /// Whether each record ended in one class.
    pub(crate) fn adds_up(&self) -> bool {
        self.classes().iter().map(|(_, count)| count).sum::<i64>() + self.pending == self.records_in
    }

    /// Takes in what another instance has.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records_in += other.records_in;
        self.decoded += other.decoded;
        self.filtered += other.filtered;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
        self.skipped += other.skipped;
        self.pending += other.pending;
    }
}

/// A process of a pipeline.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    pub(crate) frozen: bool,
}

impl Instance {
    /// Starts one; `number` is its own among all of the run.
    pub(crate) fn start(
        kind: Kind,
        places: &Places,
        folder: &Path,
        number: u32,
        more: &[&str],
    ) -> Fallible<Self> {
        // The binaries are built together, into one folder.
        let program = std::env::current_exe()?.with_file_name(kind.name());
        let mut line = vec![program.into_os_string()];
        line.extend(places.arguments(kind).into_iter().map(Into::into));
        line.extend(more.iter().map(Into::into));
        let name = format!("{}-{number}", kind.name());
        let process = Process::new(&name, line, &folder.join("instances").join(&name))?;
        let mut process = process.environment(places.environment(kind));
        process.start()?;
        Ok(Self { kind, process, frozen: false })
    }

    /// The account that it has left, once it has ended.
    pub(crate) fn account(&self) -> Option<Account> {
        let said = std::fs::read_to_string(self.process.output()).ok()?;
        serde_json::from_str(said.lines().last()?).ok()
    }

    /// How often this was logged.
    pub(crate) fn said(&self, text: &str) -> usize {
        let log = std::fs::read(self.process.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).matches(text).count()
    }
}
