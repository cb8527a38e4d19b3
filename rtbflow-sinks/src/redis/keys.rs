//! The keys that the anchor keeps beside the results.

use rtbflow::epoch::{JobName, Task};

/// The names of a job's own keys. A job's name has no colon, so no two jobs share a key.
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn of(job: &JobName) -> Self {
        Self { prefix: format!("rtbflow:{job}:") }
    }

    /// Hash: partition → position.
    pub(crate) fn positions(&self) -> String {
        format!("{}positions", self.prefix)
    }

    /// Hash: partition → position as it stood when another owner claimed it last.
    pub(crate) fn claimed(&self) -> String {
        format!("{}claimed", self.prefix)
    }

    /// Set of the tasks that have state, as `number/of`.
    pub(crate) fn tasks(&self) -> String {
        format!("{}tasks", self.prefix)
    }

    /// A note that the job is being forgotten: nobody may claim.
    pub(crate) fn forgetting(&self) -> String {
        format!("{}forgetting", self.prefix)
    }

    /// What the names begin with of keys that are put aside while a script runs.
    pub(crate) fn aside(&self) -> String {
        format!("{}aside", self.prefix)
    }

    /// What all of them begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the keys of the tasks' indexes begin with.
    pub(crate) fn indexes(&self) -> String {
        format!("{}state:", self.prefix)
    }

    /// Sorted set of a task's buckets. The list of a bucket's chunks is this key, a colon and the
    /// bucket.
    pub(crate) fn index(&self, task: Task) -> String {
        format!("{}state:{}", self.prefix, task_text(task))
    }
}

/// A task, as it stands in keys and sets.
pub(crate) fn task_text(task: Task) -> String {
    format!("{}/{}", task.number, task.of)
}

/// A bucket of an operator, as it stands in keys and sets. The number comes first, so that the
/// operator's name may have any characters.
pub(crate) fn bucket_text(bucket: i64, operator: &str) -> String {
    format!("{bucket}:{operator}")
}

/// Reads a bucket back: its number and its operator.
pub(crate) fn parse_bucket(text: &str) -> Option<(i64, &str)> {
    let (bucket, operator) = text.split_once(':')?;
    Some((bucket.parse().ok()?, operator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_read_back_whatever_its_operator_is_called() {
        for (bucket, operator) in [(i64::MIN, "windows"), (0, ""), (7, "a:b c 한")] {
            assert_eq!(parse_bucket(&bucket_text(bucket, operator)), Some((bucket, operator)));
        }
        assert_eq!(parse_bucket("windows"), None);
        assert_eq!(parse_bucket("x:windows"), None);
    }
}
