//! Each bit of what lies in Redis, and each place where it can be cut: what is damaged is an error that names it.

#[path = "../../../rtbflow/tests/stored_state/damage.rs"]
mod bytes;

use rtbflow::Timestamp;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, Log, TopicId, Verdict};
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};

use self::bytes::damaged;
use crate::namespace::{Namespace, Owner};

/// One epoch that moves the whole of a position and keeps a chunk.
fn moved(owner: &Owner, namespace: &Namespace) -> Epoch {
    let mut epoch = owner.epoch(vec![]);
    let from = epoch.advances[0].from;
    let mut to = epoch.advances[0].to;
    to.event_time = Some(Timestamp::from_millis(1_700_000_000_123));
    to.log = Some(Log { topic_id: TopicId::new(7), leader_epoch: Some(3) });
    epoch.advances = vec![Advance::new(epoch.advances[0].partition, from, to)];
    let mut writer = ChunkWriter::new(1);
    writer.put(&(namespace.job.to_string(), 7_i64));
    let change = BucketChange::Append(writer.finish().unwrap());
    epoch.chunks = vec![Chunk { operator: "windows".into(), bucket: 7, change }];
    epoch
}

#[tokio::test]
async fn a_position_that_is_damaged_anywhere_is_an_error_that_names_it() {
    let namespace = Namespace::new("damage").await;
    let mut owner = namespace.claim(0).await;
    let epoch = moved(&owner, &namespace);
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    let key = format!("rtbflow:{}:positions", namespace.job);
    let partition = epoch.advances[0].partition;
    let field = partition.to_string();
    let whole: Vec<u8> = namespace.ask(&["HGET", &key, &field]).await;
    let claim = Claim::new(owner.task, vec![partition], 99);
    for bytes in damaged(&whole) {
        namespace.ask::<()>(&[b"HSET", key.as_bytes(), field.as_bytes(), &bytes]).await;
        let shown = String::from_utf8_lossy(&bytes);
        let claimed = namespace.redis.claim(&namespace.job, &claim).await.expect_err(&shown);
        assert!(claimed.report().contains(&field), "{shown}: {}", claimed.report());
        let read = namespace.redis.probe(&namespace.job, &[partition]).await.expect_err(&shown);
        assert!(read.report().contains(&field), "{shown}: {}", read.report());
        // What a commit stands on is compared with what the task knows: it never goes through by mistake.
        let next = owner.epoch(vec![]);
        let committed = owner.commit(&next).await;
        assert!(!matches!(committed, Ok(Verdict::Committed(_))), "{shown}: {committed:?}");
    }
    namespace.ask::<()>(&[b"HSET", key.as_bytes(), field.as_bytes(), &whole]).await;
    assert_eq!(namespace.redis.claim(&namespace.job, &claim).await.unwrap()[0].commit, 3);
    namespace.clean().await;
}

#[tokio::test]
async fn a_chunk_that_is_damaged_anywhere_is_an_error_that_names_its_bucket() {
    let namespace = Namespace::new("damage").await;
    let mut owner = namespace.claim(0).await;
    let epoch = moved(&owner, &namespace);
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    let index = format!("rtbflow:{}:state:{}/{}", namespace.job, owner.task.number, owner.task.of);
    let list = format!("{index}:7:windows");
    let whole: Vec<Vec<u8>> = namespace.ask(&["LRANGE", &list, "0", "-1"]).await;
    for bytes in damaged(&whole[0]) {
        namespace.ask::<()>(&[b"LSET", list.as_bytes(), b"0", &bytes]).await;
        let page = namespace.redis.restore(&namespace.job, owner.task, None).await.unwrap();
        let error = ChunkReader::open(&page.chunks[0], 1).unwrap_err().to_string();
        assert!(error.contains("\"windows\", bucket 7"), "{error}");
    }
    // A name in the index that has another bit.
    namespace.ask::<()>(&["DEL", &list]).await;
    let error = namespace.redis.restore(&namespace.job, owner.task, None).await.unwrap_err();
    assert!(error.to_string().contains("7:windows"), "{error}");
    namespace.clean().await;
}
