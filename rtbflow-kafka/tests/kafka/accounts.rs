//! What instances account for together when the answer of a commit is lost and another takes over.

use std::time::Duration;

use rtbflow::Job;
use rtbflow::source::{IteratorSource, channel};
use rtbflow_kafka::KafkaAnchor;
use tokio::time::timeout;

use crate::committed::committed;
use crate::cuts::{END_TRANSACTION, kafka_behind_a_proxy};
use crate::server::{SOON, kafka, topic, unique};

async fn written(topic: &str, count: usize) {
    let written = async { while committed(topic).await.len() < count {} };
    timeout(SOON, written).await.expect("the epoch is committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_accounts_of_all_instances_add_up_though_an_answer_is_lost_and_another_takes_over() {
    let (topic, name) = (topic("accounts", 1).await, unique("accounts"));
    let (proxy, by_proxy) = kafka_behind_a_proxy().await;
    let by_proxy = by_proxy.anchor().call_timeout(Duration::from_secs(3));
    let to = topic.clone();
    let records = move |place: &KafkaAnchor| place.records::<u64>(to.as_str()).json();
    let (mut pusher, numbers) = channel::<u64>("numbers", 100);
    let former = Job::new(&name).source(numbers).anchor(by_proxy.clone());
    let to_former = records.clone();
    let former = former.pipeline(move |numbers| numbers.to(to_former(&by_proxy)));
    let account = former.account();
    let former = tokio::spawn(former.run_until(std::future::pending()));
    for number in 0..10 {
        pusher.push(number).await.unwrap();
    }
    written(&topic, 10).await;
    proxy.cut_after(END_TRANSACTION);
    for number in 10..20 {
        pusher.push(number).await.unwrap();
    }
    proxy.until_planned_cuts(1).await;
    // No way back for it until another has come.
    proxy.cut();
    let direct = kafka().anchor();
    let source = IteratorSource::new("numbers", || 0..50_u64);
    let next = Job::new(&name).source(source).anchor(direct.clone());
    let next = next.pipeline(move |numbers| numbers.to(records(&direct)));
    let next = next.run_until(std::future::pending()).await.unwrap();
    proxy.mend();
    // It learns what became of its epoch, and that it may not commit the next.
    pusher.push(20).await.unwrap();
    let ended = timeout(3 * SOON, former).await.expect("it ends");
    let error = ended.unwrap().unwrap_err();
    assert!(error.is_fenced(), "{error:?}");
    let former = account.report();
    println!("{former:?}\n{next:?}");
    assert!(former.decoded > 10, "the answer was lost, not the commit");
    assert_eq!(former.decoded + next.decoded, 50);
    let mut values: Vec<u64> = committed(&topic)
        .await
        .into_iter()
        .map(|seen| seen.value.unwrap().parse().unwrap())
        .collect();
    values.sort_unstable();
    assert_eq!(values, (0..50).collect::<Vec<_>>());
}
