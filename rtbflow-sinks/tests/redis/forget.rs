//! A job is forgotten together with its results, in steps that keep nobody waiting.

use rtbflow::epoch::{Anchor, Claim, Verdict};
use rtbflow_sinks::redis::Pattern;

use crate::namespace::Namespace;

#[tokio::test]
async fn results_are_found_by_their_names_and_kinds() {
    let namespace = Namespace::new("reset").await;
    let mut owner = namespace.claim(0).await;
    let staged = namespace.stage_with(|namespace, operations| {
        for number in 0..2_500 {
            operations.set(namespace.key(&format!("win:{number}")), &[("end", &1), ("sum", &2)]);
        }
        operations.set(namespace.key("win:foreign"), &[("sum", &2)]);
        operations.add_member(namespace.key("win:set"), "a", 1.0);
        operations.set(namespace.key("other"), &[("end", &1)]);
    });
    owner.write(staged).await;
    let windows = [Pattern::hashes(namespace.key("win:*")).having("end")];
    assert_eq!(namespace.redis.count(&windows).await.unwrap(), 2_500);
    assert_eq!(namespace.redis.forget_with(&namespace.job, &windows).await.unwrap(), 2_500);
    let mut left: Vec<String> = namespace.ask(&["KEYS", &namespace.key("*")]).await;
    left.sort();
    assert_eq!(left, ["other", "win:foreign", "win:set"].map(|name| namespace.key(name)));
    let straggler = owner.epoch(namespace.stage_with(|namespace, operations| {
        operations.set(namespace.key("win:1"), &[("end", &1)]);
    }));
    assert_eq!(owner.commit(&straggler).await.unwrap(), Verdict::Fenced);
    assert_eq!(namespace.redis.count(&windows).await.unwrap(), 0);
    assert_eq!(namespace.claim(0).await.at.offset, None);
    namespace.clean().await;
}

/// Whatever step it was interrupted in: nobody starts from what is left, and it can be made again.
#[tokio::test]
async fn an_interrupted_one_lets_nobody_claim_until_it_is_made_again() {
    let namespace = Namespace::new("interrupted").await;
    let mut owner = namespace.claim(0).await;
    let key = namespace.key("win:1");
    owner
        .write(namespace.stage_with(|namespace, operations| {
            operations.set(namespace.key("win:1"), &[("end", &1)]);
        }))
        .await;
    // As it stands behind the first step.
    namespace.ask::<()>(&["SET", &format!("rtbflow:{}:forgetting", namespace.job), "1"]).await;
    namespace.ask::<()>(&["DEL", &format!("rtbflow:{}:positions", namespace.job)]).await;
    let claim = Claim::new(owner.task, vec![owner.partition], 7);
    let error = namespace.redis.claim(&namespace.job, &claim).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("Forget it again"), "{error:?}");
    // What the message says.
    let results = [Pattern::hashes(key.as_str())];
    assert_eq!(namespace.redis.forget_with(&namespace.job, &results).await.unwrap(), 1);
    assert_eq!(namespace.claim(0).await.at.offset, None);
    namespace.clean().await;
}
