//! Epochs on their way to the place, and the groups in which they are committed.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::epoch::{Epoch, Verdict};
use crate::job::backoff::Backoff;
use crate::job::report::Status;
use crate::position::Task;

/// An epoch on its way to the place, and where its verdict is awaited.
pub(crate) struct Submission {
    pub(crate) epoch: Epoch,
    pub(crate) verdict: oneshot::Sender<Verdict>,
    /// Of the life of the task that it comes from.
    pub(crate) status: Arc<Status>,
}

/// Who waits for the verdict on an epoch.
pub(super) type Waiting = (oneshot::Sender<Verdict>, Arc<Status>);

/// Epochs that are committed in one step.
pub(super) struct Group {
    // Two lists and not one of pairs, as the place is given the epochs as a slice. Here alone they are made, cut and
    // thinned out, both at once.
    pub(super) epochs: Vec<Epoch>,
    pub(super) waiting: Vec<Waiting>,
    /// Whether the place was asked, and may have applied some of it.
    pub(super) asked: bool,
    /// How many commits there were when it failed last, of whatever it was a part of then.
    pub(super) failed_behind: Option<u64>,
    /// How often it fails while others are committed.
    pub(super) backoff: Backoff,
}

impl Group {
    pub(super) fn new(submissions: Vec<Submission>) -> Self {
        let (epochs, waiting) = submissions
            .into_iter()
            .map(|Submission { epoch, verdict, status }| (epoch, (verdict, status)))
            .unzip();
        Self { epochs, waiting, asked: false, failed_behind: None, backoff: Backoff::default() }
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = Task> {
        self.epochs.iter().map(|epoch| epoch.task)
    }

    /// What the place has to write, in rows; a change of state counts as one.
    pub(super) fn rows(&self) -> usize {
        self.epochs.iter().map(rows_of).sum()
    }

    /// The same of the epoch that has the most.
    pub(super) fn most_rows(&self) -> usize {
        self.epochs.iter().map(rows_of).max().unwrap_or(0)
    }

    /// The second half of the epochs, as a group of its own; none of a single epoch.
    pub(super) fn split_off_half(&mut self) -> Option<Self> {
        // The first half is the larger: of three, two are tried before one.
        let half = self.epochs.len().div_ceil(2);
        (self.epochs.len() > 1).then(|| Self {
            epochs: self.epochs.split_off(half),
            waiting: self.waiting.split_off(half),
            backoff: self.backoff.clone(),
            ..*self
        })
    }

    /// Drops the epochs whose task is gone: it was revoked, and nobody may commit for it any more.
    pub(super) fn drop_orphans(&mut self) {
        let all =
            std::mem::take(&mut self.epochs).into_iter().zip(std::mem::take(&mut self.waiting));
        (self.epochs, self.waiting) = all.filter(|(_, (verdict, _))| !verdict.is_closed()).unzip();
    }
}

fn rows_of(epoch: &Epoch) -> usize {
    epoch.staged.iter().map(|staged| staged.rows).sum::<usize>() + epoch.chunks.len()
}

/// The first epoch of each task that has none under way, at most this many, and of more than one no more than these
/// rows; the tasks are under way then. A group has one epoch of a task at most: were there two, and the answer lost, the
/// place would stand behind the second, and the first could not be distinguished from one that was fenced.
pub(super) fn first_of_each_task(
    waiting: &mut Vec<Submission>,
    busy: &mut HashSet<Task>,
    (most, most_rows): (usize, usize),
) -> Vec<Submission> {
    let (mut taken, mut rows) = (Vec::new(), 0);
    let mut passed = HashSet::new();
    // In the order in which they came, so that no task is passed over by others that hand in more.
    for submission in std::mem::take(waiting) {
        let (task, own) = (submission.epoch.task, rows_of(&submission.epoch));
        let fits = taken.is_empty() || (taken.len() < most && rows + own <= most_rows);
        // One that does not fit is the first of the next group: its task's later ones do not overtake it.
        if fits && !passed.contains(&task) && busy.insert(task) {
            rows += own;
            taken.push(submission);
        } else {
            passed.insert(task);
            waiting.push(submission);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Gathered;
    use crate::staged::{Place, Staged, StagedRows};

    struct Rows;

    impl StagedRows for Rows {}

    fn submission((number, rows): (u32, usize)) -> Submission {
        let mut epoch = Epoch::new(Task { number, of: 3 }, Vec::new(), Gathered::default());
        epoch.staged.push(Staged::new(Place::new("test"), rows, Rows));
        Submission { epoch, verdict: oneshot::channel().0, status: Arc::default() }
    }

    #[test]
    fn a_group_has_the_rows_of_one_commit_and_what_does_not_fit_is_the_next() {
        let mut waiting: Vec<_> =
            [(0, 600), (1, 600), (2, 300), (1, 1), (0, 5_000)].map(submission).into();
        let mut groups = Vec::new();
        for _ in 0..4 {
            let group = first_of_each_task(&mut waiting, &mut HashSet::new(), (64, 1_000));
            let of = |Submission { epoch, .. }: &Submission| (epoch.task.number, rows_of(epoch));
            groups.push(group.iter().map(of).collect::<Vec<_>>());
        }
        // Those of a task stay in order, and one that is too large for any group is one by itself.
        assert_eq!(
            groups,
            [vec![(0, 600), (2, 300)], vec![(1, 600)], vec![(1, 1)], vec![(0, 5_000)]]
        );
    }
}
