//! Tables that an earlier release has made.

use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, Log, Position, TopicId, Verdict};

use crate::schema::{Owner, Schema, job};

fn moved(owner: &Owner, to: Position) -> Epoch {
    let to = Position { commit: owner.at.commit + 1, ..to };
    let advance = Advance::new(owner.partition, owner.at, to);
    Epoch::new(owner.task, vec![advance], Gathered::default())
}

/// What an earlier release did not keep is added to its table, and its positions go on.
#[tokio::test]
async fn positions_that_do_not_name_their_logs_go_on_and_take_them_on() {
    let schema = Schema::new().await;
    let mut owner = Owner::claim(&schema.place().await, 0, 1).await;
    let epoch = moved(&owner, Position { offset: Some(7), ..owner.at });
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    let forget = "alter table rtbflow_positions drop column topic_id, drop column leader_epoch, drop column checksum";
    schema.reader().await.batch_execute(forget).await.unwrap();
    let mut owner = Owner::claim(&schema.place().await, 0, 2).await;
    let stood = Position { offset: Some(7), commit: 3, owner: 2, ..Position::default() };
    assert_eq!(owner.at, stood);
    let log = Some(Log { topic_id: TopicId::new(5), leader_epoch: Some(3) });
    let epoch = moved(&owner, Position { log, ..owner.at });
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    let claim = Claim::new(owner.task, vec![owner.partition], 3);
    assert_eq!(owner.postgres.claim(&job(), &claim).await.unwrap()[0].log, log);
}
