//! What instances account for together when the answer of a commit is lost and another takes over.

use std::time::Duration;

use rtbflow::Job;
use rtbflow::source::{IteratorSource, channel};
use rtbflow::testing::Proxy;
use rtbflow_sinks::redis::Redis;

use crate::namespace::Namespace;
use crate::server::PrivateServer;

const SOON: Duration = Duration::from_secs(30);

async fn counted(namespace: &Namespace, count: u64) {
    let counted = async {
        while namespace.ask::<Option<u64>>(&["HGET", "count", "n"]).await != Some(count) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, counted).await.expect("the epoch is applied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_accounts_of_all_instances_add_up_though_an_answer_is_lost_and_another_takes_over() {
    let server = PrivateServer::start(&[]).await;
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.port)).await.unwrap();
    let by_proxy = Redis::connect_to(format!("redis://{}", proxy.address()))
        .call_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let namespace = Namespace::over(by_proxy.clone(), &server.url(), "accounts").await;
    // Each seventh number is found to be a duplicate, in Redis only.
    const COUNT: &str = "
        if ARGV[1] % 7 == 0 then return 'duplicate' end
        redis.call('HINCRBY', KEYS[1], 'n', 1)";
    let count = |redis: &Redis| {
        redis.script("count", COUNT, |n: &u64, call| {
            call.key("count").argument(n);
        })
    };
    let (mut pusher, numbers) = channel::<u64>("numbers", 100);
    let former = Job::new(namespace.job.as_str()).source(numbers).anchor(by_proxy.clone());
    let former = former.pipeline(move |numbers| numbers.to(count(&by_proxy)));
    let account = former.account();
    let former = tokio::spawn(former.run_until(std::future::pending()));
    for number in 1..=7 {
        pusher.push(number).await.unwrap();
    }
    counted(&namespace, 6).await;
    proxy.cut_after("count");
    for number in 8..=15 {
        pusher.push(number).await.unwrap();
    }
    proxy.until_planned_cuts(1).await;
    // No way back for it until another has come.
    proxy.cut();
    let applied: u64 = namespace.ask(&["HGET", "count", "n"]).await;
    assert!(applied > 6, "the request arrived: {applied}");
    let direct = Redis::connect_to(server.url()).build().unwrap();
    let source = IteratorSource::new("numbers", || 1..=40_u64);
    let next = Job::new(namespace.job.as_str()).source(source).anchor(direct.clone());
    let next = next.pipeline(move |numbers| numbers.to(count(&direct)));
    let next = next.run_until(std::future::pending()).await.unwrap();
    proxy.mend();
    // It learns what became of its epoch, and that it may not commit the next.
    pusher.push(16).await.unwrap();
    let error = tokio::time::timeout(SOON, former).await.expect("it ends").unwrap().unwrap_err();
    assert!(error.is_fenced(), "{error:?}");
    let former = account.report();
    println!("{former:?}\n{next:?}");
    assert_eq!(namespace.ask::<u64>(&["HGET", "count", "n"]).await, 35);
    assert_eq!((former.decoded + next.decoded, former.duplicates + next.duplicates), (35, 5));
    assert_eq!(former.records_out + next.records_out, 35);
}
