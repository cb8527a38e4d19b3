//! What becomes of offsets when the client that asks for them has lost its brokers for good.

use std::sync::Arc;
use std::time::Duration;

use rtbflow::clock::{Clock, SystemClock};
use rtbflow::{Partition, Topic};

use crate::client::deadline::Deadline;
use crate::source::end_offsets::{CLIENT, OffsetLookup};
use crate::source::mailbox::ReaderMailbox;
use crate::source::topic_watch::TopicWatch;
use crate::{Kafka, TopicSpec};

#[tokio::test(flavor = "multi_thread")]
async fn another_client_asks_where_one_has_lost_its_brokers() {
    let address = std::env::var("RTBFLOW_TEST_KAFKA");
    let address =
        address.expect("RTBFLOW_TEST_KAFKA is not set: the tests need a broker; run ./dev test");
    let kafka = Kafka::new(address);
    let name = format!("test-silent-{}", SystemClock.now().as_millis());
    let topic = TopicSpec::new(&name, 1, Duration::from_secs(3600));
    kafka.create_topics(&[topic]).await.unwrap();
    // Nobody listens there, nor ever will.
    let lost = Kafka::new("127.0.0.1:1").query_client(CLIENT).unwrap();
    let watch = TopicWatch { kafka, topics: Vec::new(), pause: Duration::from_secs(3600) };
    let mailbox = Arc::new(ReaderMailbox::default());
    let (clock, every) = (Arc::new(SystemClock), Duration::from_millis(50));
    let lookup = OffsetLookup::start(lost, clock, every, watch, Arc::clone(&mailbox)).unwrap();
    let partition = Partition::new(Topic::new(&name), 0);
    lookup.watch(vec![partition]);
    let deadline = Deadline::after(Duration::from_secs(60));
    let ends = loop {
        if let Some(found) = mailbox.read(|slots| slots.ends.take()) {
            break found.ends;
        }
        assert!(!deadline.is_over(), "nobody has answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ends.get(&partition), Some(&0));
}
