//! Which partitions make a task: co-groups of topics whose records have the same keys.

use crate::position::Task;
use crate::record::{Partition, Topic};

/// The co-groups of topics that are read together: which partitions make a task.
///
/// The same key has the same hash `h`, and `h mod 8` and `h mod 4` agree modulo 4, their greatest
/// common divisor. So partition `p` of one topic belongs with every partition of another that is equal
/// to `p` modulo the greatest common divisor of all counts: that many tasks there are. A single topic
/// is the plain case of one task per partition.
///
/// ```
/// use rtbflow::Topic;
/// use rtbflow::source::Layout;
///
/// let layout = Layout::new(vec![(Topic::new("conversions"), 4), (Topic::new("ads"), 8)]);
/// let (_, members) = layout.and_then(|layout| layout.task(1)).ok_or("four tasks")?;
/// let members: Vec<_> = members.iter().map(ToString::to_string).collect();
/// assert_eq!(members, ["conversions/1", "ads/1", "ads/5"]);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    topics: Vec<(Topic, u32)>,
    tasks: u32,
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Layout {
    /// The layout of these topics, each with the count of its partitions; `None` if there is no topic, or
    /// one without a partition, or with more than can be numbered.
    #[must_use]
    pub fn new(topics: Vec<(Topic, u32)>) -> Option<Self> {
        let numbers = 1..=i32::MAX.unsigned_abs();
        let whole = !topics.is_empty() && topics.iter().all(|(_, count)| numbers.contains(count));
        let counts = topics.iter().map(|(_, count)| *count);
        let tasks = counts.fold(0, greatest_common_divisor);
        whole.then_some(Self { topics, tasks })
    }

    /// The topics with the counts of their partitions, in the order in which they were named.
    #[must_use]
    pub fn topics(&self) -> &[(Topic, u32)] {
        &self.topics
    }

    /// How many tasks there are.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// The task with this number, with all its partitions in a fixed order: topic by topic, and by number
    /// within each. `None` if there is no such task.
    #[must_use]
    pub fn task(&self, number: u32) -> Option<(Task, Vec<Partition>)> {
        let members = self.topics.iter().flat_map(|(topic, count)| {
            let numbers = (number..*count).step_by(self.tasks as usize);
            numbers.map(|number| Partition::new(*topic, number.cast_signed()))
        });
        (number < self.tasks).then(|| (Task { number, of: self.tasks }, members.collect()))
    }

    /// All partitions of all topics, task by task.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let tasks = (0..self.tasks).filter_map(|number| self.task(number));
        tasks.flat_map(|(_, members)| members).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: &[(&str, u32)], tasks: &[&[&str]]) {
        let topics = counts.iter().map(|(name, count)| (Topic::new(name), *count));
        let layout = Layout::new(topics.collect()).unwrap();
        let found: Vec<Vec<String>> = (0..layout.tasks())
            .map(|number| {
                let (task, members) = layout.task(number).unwrap();
                assert_eq!(task, Task { number, of: layout.tasks() });
                members.iter().map(ToString::to_string).collect()
            })
            .collect();
        assert_eq!(found, tasks);
        let mut all = layout.partitions();
        all.sort_unstable();
        all.dedup();
        let counted: u32 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(u32::try_from(all.len()).unwrap(), counted, "every partition once");
        assert!(layout.task(layout.tasks()).is_none());
    }

    #[test]
    fn partitions_that_agree_modulo_the_greatest_common_divisor_make_a_task() {
        check(&[("a", 3)], &[&["a/0"], &["a/1"], &["a/2"]]);
        check(&[("c", 2), ("a", 4)], &[&["c/0", "a/0", "a/2"], &["c/1", "a/1", "a/3"]]);
        check(
            &[("a", 6), ("b", 4)],
            &[&["a/0", "a/2", "a/4", "b/0", "b/2"], &["a/1", "a/3", "a/5", "b/1", "b/3"]],
        );
        check(&[("a", 2), ("b", 2)], &[&["a/0", "b/0"], &["a/1", "b/1"]]);
        check(&[("a", 3), ("b", 2)], &[&["a/0", "a/1", "a/2", "b/0", "b/1"]]);
        check(
            &[("a", 4), ("b", 2), ("c", 3)],
            &[&["a/0", "a/1", "a/2", "a/3", "b/0", "b/1", "c/0", "c/1", "c/2"]],
        );
    }

    #[test]
    fn without_partitions_there_is_no_task() {
        assert!(Layout::new(vec![(Topic::new("a"), 6), (Topic::new("none"), 0)]).is_none());
        assert!(Layout::new(Vec::new()).is_none());
    }
}
