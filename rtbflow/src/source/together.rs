//! Two sources without a group, read together by co-groups of their partitions.

use std::time::Duration;

use crate::dead_letter::Original;
use crate::either::Either;
use crate::error::{Error, Result};
use crate::record::{Origin, Topic};
use crate::source::{Context, FixedFeed, Source};

/// Two sources without a group that are read together: see [`Source::with`].
#[derive(Debug)]
pub struct Together<L, R> {
    left: L,
    right: R,
}

impl<L, R> Together<L, R> {
    pub(super) fn new(left: L, right: R) -> Self {
        Self { left, right }
    }
}

impl<L, R> Source for Together<L, R>
where
    L: Source<Feed = FixedFeed<<L as Source>::Batch>>,
    R: Source<Feed = FixedFeed<<R as Source>::Batch>>,
{
    type Batch = Either<L::Batch, R::Batch>;
    type Feed = FixedFeed<Self::Batch>;

    fn is_bounded(&self) -> bool {
        self.left.is_bounded() && self.right.is_bounded()
    }

    fn topics(&self) -> Vec<String> {
        self.left.topics().into_iter().chain(self.right.topics()).collect()
    }

    fn out_of_orderness(&self, topic: Topic) -> Duration {
        if self.left.topics().iter().any(|name| name == topic.name()) {
            self.left.out_of_orderness(topic)
        } else {
            self.right.out_of_orderness(topic)
        }
    }

    fn validate(&self) -> Result<()> {
        Error::all([self.left.validate(), self.right.validate()])
    }

    async fn check(&self) -> Result<()> {
        Error::all([self.left.check().await, self.right.check().await])
    }

    async fn read_again(&self, origins: &[Origin]) -> Result<Vec<Option<Original>>> {
        let left = self.left.read_again(origins).await?;
        let right = self.right.read_again(origins).await?;
        Ok(left.into_iter().zip(right).map(|(left, right)| left.or(right)).collect())
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        let left = self.left.open(context.clone()).await?;
        left.with(self.right.open(context).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::dead_letter::DeadLetter;
    use crate::position::JobName;
    use crate::source::MemorySource;
    use crate::testing::builders::letter;
    use crate::testing::laws::{self, SourceUnderTest};
    use crate::time::Timestamp;

    /// Six partitions, four and two: two tasks of six partitions each.
    struct Three;

    const SIX: [usize; 6] = [3, 0, 1, 2, 5, 1];
    const FOUR: [usize; 4] = [0, 1, 700, 3];
    const TWO: [usize; 2] = [4, 2];

    fn lists<T: Clone>(value: T, counts: &[usize]) -> Vec<Vec<T>> {
        counts.iter().map(|count| vec![value.clone(); *count]).collect()
    }

    impl SourceUnderTest for Three {
        type Source =
            Together<Together<MemorySource<u8>, MemorySource<char>>, MemorySource<String>>;

        fn source(&self) -> Self::Source {
            let six = MemorySource::new("six", lists(6, &SIX));
            let four = MemorySource::new("four", lists('4', &FOUR));
            six.with(four).with(MemorySource::new("two", lists("two".to_owned(), &TWO)))
        }

        fn records(&self) -> Vec<DeadLetter> {
            let letters = |topic: &'static str, counts: &[usize]| {
                let mut letters = Vec::new();
                for (count, number) in counts.iter().zip(0..) {
                    let offsets = 0..i64::try_from(*count).unwrap();
                    letters.extend(offsets.map(|offset| letter(topic, number, offset)));
                }
                letters
            };
            [letters("six", &SIX), letters("four", &FOUR), letters("two", &TWO)].concat()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_sources() {
        laws::source(&Three).await;
    }

    #[test]
    fn each_source_keeps_its_own_out_of_orderness() {
        let source = |topic, seconds| {
            MemorySource::new(topic, vec![vec![1_u8]])
                .event_time(|_| Timestamp::MIN, Duration::from_secs(seconds))
        };
        let both = source("one", 1).with(source("two", 2)).with(source("three", 3));
        let bound = |topic| both.out_of_orderness(Topic::new(topic)).as_secs();
        assert_eq!((bound("one"), bound("two"), bound("three")), (1, 2, 3));
        assert_eq!(both.topics(), ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_topic_is_not_read_together_with_itself() {
        let source = || MemorySource::new("one", vec![vec![1_u8]]);
        let context = Context {
            job: JobName::new("job").unwrap(),
            clock: std::sync::Arc::new(SystemClock),
            until_end: true,
            idle_timeout: Duration::from_secs(1),
            instance: None,
        };
        let error = source().with(source()).open(context).await.unwrap_err();
        assert!(error.is_config() && error.report().contains("one"), "{error:?}");
    }
}
