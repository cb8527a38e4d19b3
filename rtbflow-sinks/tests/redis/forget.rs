//! A job is forgotten together with its results, in steps that keep nobody waiting.

use rtbflow::epoch::{Anchor, Claim, Verdict};
use rtbflow_sinks::redis::Pattern;

use crate::room::Room;

#[tokio::test]
async fn results_are_found_by_their_names_and_kinds() {
    let room = Room::new("reset").await;
    let mut owner = room.claim(0).await;
    let staged = room.stage_with(|room, operations| {
        for number in 0..2_500 {
            operations.set(room.key(&format!("win:{number}")), &[("end", &1), ("sum", &2)]);
        }
        operations.set(room.key("win:foreign"), &[("sum", &2)]);
        operations.add_member(room.key("win:set"), "a", 1.0);
        operations.set(room.key("other"), &[("end", &1)]);
    });
    owner.write(staged).await;
    let windows = [Pattern::hashes(room.key("win:*")).having("end")];
    assert_eq!(room.redis.count(&windows).await.unwrap(), 2_500);
    assert_eq!(room.redis.forget_with(&room.job, &windows).await.unwrap(), 2_500);
    let mut left: Vec<String> = room.ask(&["KEYS", &room.key("*")]).await;
    left.sort();
    assert_eq!(left, ["other", "win:foreign", "win:set"].map(|name| room.key(name)));
    let straggler = owner.epoch(room.stage_with(|room, operations| {
        operations.set(room.key("win:1"), &[("end", &1)]);
    }));
    assert_eq!(owner.commit(&straggler).await.unwrap(), Verdict::Fenced);
    assert_eq!(room.redis.count(&windows).await.unwrap(), 0);
    assert_eq!(room.claim(0).await.at.offset, None);
    room.clean().await;
}

/// Whatever step it was interrupted in: nobody starts from what is left, and it can be made again.
#[tokio::test]
async fn an_interrupted_one_lets_nobody_claim_until_it_is_made_again() {
    let room = Room::new("interrupted").await;
    let mut owner = room.claim(0).await;
    let key = room.key("win:1");
    owner
        .write(room.stage_with(|room, operations| {
            operations.set(room.key("win:1"), &[("end", &1)]);
        }))
        .await;
    // As it stands behind the first step.
    room.ask::<()>(&["SET", &format!("rtbflow:{}:forgetting", room.job), "1"]).await;
    room.ask::<()>(&["DEL", &format!("rtbflow:{}:positions", room.job)]).await;
    let claim = Claim::new(owner.task, vec![owner.partition], 7);
    let error = room.redis.claim(&room.job, &claim).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("Forget it again"), "{error:?}");
    // What the message says.
    let results = [Pattern::hashes(key.as_str())];
    assert_eq!(room.redis.forget_with(&room.job, &results).await.unwrap(), 1);
    assert_eq!(room.claim(0).await.at.offset, None);
    room.clean().await;
}
