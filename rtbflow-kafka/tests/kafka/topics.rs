//! Topics on demand.

use futures::future::join_all;
use rtbflow::epoch::DeadLetters;
use rtbflow_kafka::{DeadLetterTopic, TopicSpec};

use crate::server::{HOUR, kafka, unique};

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_may_create_the_same_topics_at_once() {
    let name = unique("race");
    let specs = [TopicSpec::dead_letter(&name), TopicSpec::new(&name, 6, HOUR)];
    let kafka = kafka();
    let all = join_all((0..5).map(|_| kafka.create_topics(&specs))).await;
    for made in all {
        let made = made.unwrap();
        assert_eq!(made.iter().map(|topic| topic.partitions).collect::<Vec<_>>(), [6, 6]);
    }
    let other = kafka.create_topics(&[TopicSpec::new(&name, 8, HOUR)]).await.unwrap();
    assert_eq!((other[0].partitions, other[0].wanted), (6, 8), "one that exists is left as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_that_are_missing_are_named_at_once() {
    let topics = ["one", "another", "third"].map(unique);
    let error = kafka().dead_letters().prepare(&topics).await.unwrap_err();
    let report = error.report();
    assert!(error.is_config(), "{report}");
    assert!(topics.iter().all(|topic| report.contains(&DeadLetterTopic::name(topic))), "{report}");
}
