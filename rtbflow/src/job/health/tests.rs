//! What a job's health says as the job starts, commits, fails and ends.

use tokio::time::advance;

use super::*;

fn why(answer: Result<(), Unhealthy>) -> String {
    answer.map_or_else(|why| why.reason().to_owned(), |()| "fine".to_owned())
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_its_tasks_can_commit() {
    let health = Health::default();
    health.starting("prepare the place");
    health.not_started(&Error::transient("connect to the place").because("refused"));
    assert_eq!(why(health.ready()), "starting: prepare the place: connect to the place: refused");
    health.turned(Tasks::Awaited);
    assert!(why(health.ready()).contains("no task is assigned yet"));
    health.turned(Tasks::Claiming);
    assert!(why(health.ready()).contains("claimed"));
    let (one, other) = (health.restoring(), health.restoring());
    health.turned(Tasks::Held(2));
    assert!(why(health.ready()).contains("restored"));
    drop(one);
    assert_eq!(why(health.ready()), "fine");
    drop(other);
    health.turned(Tasks::Held(0));
    assert_eq!(why(health.ready()), "fine", "it stands by");
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_while_commits_fail_or_do_not_come_back() {
    let health = Health::default();
    health.starting("open the source");
    health.turned(Tasks::Held(1));
    let attempt = health.commits();
    advance(LONGEST_COMMIT).await;
    assert_eq!(why(health.ready()), "fine");
    advance(Duration::from_secs(2)).await;
    assert!(why(health.ready()).contains("under way for 7 s"), "{:?}", health.ready());
    drop(attempt);
    health.not_committed(&Error::transient("commit to the place"));
    advance(Duration::from_secs(3)).await;
    health.not_committed(&Error::transient("commit again"));
    assert_eq!(why(health.ready()), "commits have failed for 3 s: commit again");
    assert_eq!(why(health.live()), "fine", "no restart would help");
    assert_eq!(health.commit_age(), Some(Duration::from_secs(10)));
    health.one_not_committed(&Error::transient("commit one"));
    assert_eq!(why(health.ready()), "commits have failed for 3 s: commit one");
    health.committed();
    health.one_not_committed(&Error::transient("commit one"));
    assert_eq!((why(health.ready()), health.commit_age()), ("fine".into(), Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_committed_the_place_is_asked() {
    let health = Health::default();
    health.starting("open the source");
    health.turned(Tasks::Held(1));
    assert!(!health.is_quiet());
    advance(QUIET).await;
    assert!(health.is_quiet());
    health.probed(Some(&Error::transient("reach the place").because("refused")));
    assert_eq!(why(health.ready()), "the place does not answer: reach the place: refused");
    health.probed(None);
    assert_eq!(why(health.ready()), "fine");
    health.probed(Some(&Error::transient("reach the place")));
    let attempt = health.commits();
    assert!(!health.is_quiet(), "the commit will tell");
    drop(attempt);
    health.committed();
    assert_eq!(why(health.ready()), "fine");
}

#[tokio::test(start_paused = true)]
async fn it_is_alive_until_it_ends_or_its_loop_stops_turning() {
    let health = Health::default();
    assert_eq!(why(health.live()), "fine");
    health.turned(Tasks::Held(1));
    advance(LONGEST_SILENCE).await;
    assert_eq!(why(health.live()), "fine");
    advance(Duration::from_secs(1)).await;
    assert!(why(health.live()).contains("stuck"));
    health.ended(Some(&Error::permanent("run the pipeline")));
    assert!(why(health.live()).contains("run the pipeline"));
    health.ended(None);
    assert_eq!(why(health.ready()), "the job has ended");
}
