//! Which partitions make a task: co-groups of topics whose records have the same keys.
//!
//! The same key has the same hash `h`, and `h mod 8` and `h mod 4` agree modulo 4, their greatest
//! common divisor. So partition `p` of one topic belongs with every partition of another that is equal
//! to `p` modulo the greatest common divisor of all counts: that many tasks there are. A single topic
//! is the plain case of one task a partition.

use rtbflow::epoch::Task;
use rtbflow::{Partition, Topic};

/// The topics of a job and their partition counts. The first is the lead: the group hands out its
/// partitions, and each stands for a task.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    topics: Vec<(Topic, u32)>,
    tasks: u32,
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Layout {
    /// The layout of these topics. The lead must have as many partitions as there are tasks; `None` if
    /// it has not, or if a topic has no partition.
    pub(crate) fn new(topics: Vec<(Topic, u32)>) -> Option<Self> {
        let tasks =
            topics.iter().fold(0, |tasks, (_, count)| greatest_common_divisor(tasks, *count));
        let lead = topics.first().map(|(_, count)| *count);
        let whole = tasks > 0 && lead == Some(tasks) && topics.iter().all(|(_, count)| *count > 0);
        whole.then_some(Self { topics, tasks })
    }

    /// The task that a partition of the lead stands for, with all its partitions in a fixed order;
    /// `None` if there is no such partition.
    pub(crate) fn task(&self, lead: i32) -> Option<(Task, Vec<Partition>)> {
        let number = u32::try_from(lead).ok().filter(|number| *number < self.tasks)?;
        let step = usize::try_from(self.tasks).ok()?;
        let members = self.topics.iter().flat_map(|(topic, count)| {
            let numbers = (number..*count).step_by(step);
            numbers.filter_map(|p| Some(Partition::new(*topic, i32::try_from(p).ok()?)))
        });
        Some((Task { number, of: self.tasks }, members.collect()))
    }

    /// The topic whose partitions the group hands out.
    pub(crate) fn lead(&self) -> Option<Topic> {
        self.topics.first().map(|(topic, _)| *topic)
    }

    /// How many tasks there are.
    pub(crate) fn tasks(&self) -> u32 {
        self.tasks
    }

    /// All partitions of all topics.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        let leads = (0..self.tasks).filter_map(|number| i32::try_from(number).ok());
        leads.filter_map(|lead| self.task(lead)).flat_map(|(_, members)| members).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(layout: &Layout, lead: i32) -> Vec<String> {
        let (_, members) = layout.task(lead).unwrap();
        members.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn eight_against_four() {
        let topics = vec![(Topic::new("conversions"), 4), (Topic::new("ads"), 8)];
        let layout = Layout::new(topics).unwrap();
        assert_eq!(layout.tasks(), 4);
        assert_eq!(members(&layout, 1), ["conversions/1", "ads/1", "ads/5"]);
        assert_eq!(layout.partitions().len(), 12);
        assert!(layout.task(4).is_none() && layout.task(-1).is_none());
    }

    #[test]
    fn one_topic_is_one_task_a_partition() {
        let layout = Layout::new(vec![(Topic::new("ads"), 3)]).unwrap();
        assert_eq!(members(&layout, 2), ["ads/2"]);
        assert_eq!(layout.task(2).unwrap().0, Task { number: 2, of: 3 });
    }

    #[test]
    fn a_lead_of_another_count_stands_for_no_task() {
        assert!(Layout::new(vec![(Topic::new("a"), 6), (Topic::new("b"), 4)]).is_none());
        assert!(Layout::new(vec![(Topic::new("none"), 0)]).is_none());
        assert!(Layout::new(Vec::new()).is_none());
    }
}
