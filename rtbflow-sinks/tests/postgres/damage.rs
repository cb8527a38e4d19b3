//! Each bit of what lies in Postgres: what is damaged is an error that names it.

#[path = "../../../rtbflow/tests/stored_state/damage.rs"]
mod bytes;

use rtbflow::Timestamp;
use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, Log, Position, TopicId, Verdict};
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};
use tokio_postgres::Client;

use self::bytes::damaged;
use crate::schema::{Owner, Schema, job};

/// The columns of a position, and how many bits each has.
const NUMBERS: [(&str, u32); 12] = [
    ("next_offset", 64),
    ("event_time_ms", 64),
    ("commits", 64),
    ("owner", 64),
    ("filtered", 64),
    ("late", 64),
    ("duplicates", 64),
    ("dead_lettered", 64),
    ("leader_epoch", 32),
    ("claimed_commits", 64),
    ("claimed_owner", 64),
    ("checksum", 64),
];

/// A position of which each column has a value, and a chunk of state.
async fn stored(schema: &Schema) -> Owner {
    Owner::claim(&schema.place().await, 0, 1).await;
    let mut owner = Owner::claim(&schema.place().await, 0, 2).await;
    let to = Position {
        offset: Some(7),
        event_time: Some(Timestamp::from_millis(1_700_000_000_123)),
        commit: owner.at.commit + 1,
        log: Some(Log { topic_id: TopicId::new(5), leader_epoch: Some(3) }),
        ..owner.at
    };
    let advance = Advance::new(owner.partition, owner.at, to);
    let mut epoch = Epoch::new(owner.task, vec![advance], Gathered::default());
    let mut writer = ChunkWriter::new(1);
    writer.put(&("a".to_owned(), 7_i64));
    let change = BucketChange::Append(writer.finish().unwrap());
    epoch.chunks = vec![Chunk { operator: "windows".into(), bucket: 7, change }];
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    owner
}

async fn set(client: &Client, column: &str, value: &str) {
    let sql = format!("update rtbflow_positions set {column} = {value}");
    client.batch_execute(&sql).await.unwrap();
}

/// What a claim says of the position as it stands, and, where it is asked, a look and a commit.
async fn found(owner: &mut Owner, what: &str, asks_all: bool) {
    let claim = Claim::new(owner.task, vec![owner.partition], 99);
    let next = Position { commit: owner.at.commit + 1, ..owner.at };
    let advance = Advance::new(owner.partition, owner.at, next);
    let epoch = Epoch::new(owner.task, vec![advance], Gathered::default());
    let claimed = owner.postgres.claim(&job(), &claim).await.map(drop);
    let mut outcomes = vec![claimed];
    if asks_all {
        outcomes.push(owner.postgres.probe(&job(), &[owner.partition]).await.map(drop));
        outcomes.push(owner.commit(&epoch).await.map(drop));
    }
    for outcome in outcomes {
        let error = outcome.expect_err(what);
        let report = error.report();
        let named = report.contains("rtbflow_positions") || report.contains("invalid");
        assert!(named && !error.is_transient(), "{what}: {report}");
    }
}

#[tokio::test]
async fn a_position_that_is_damaged_anywhere_is_an_error_that_names_it() {
    let schema = Schema::new().await;
    let mut owner = stored(&schema).await;
    let client = schema.reader().await;
    for (column, bits) in NUMBERS {
        let (kind, last) = if bits == 64 { ("bigint", 63) } else { ("int", 31) };
        for bit in 0..=last {
            let flipped = format!("{column} # (1::{kind} << {bit})");
            set(&client, column, &flipped).await;
            found(&mut owner, &flipped, bit == last).await;
            set(&client, column, &flipped).await;
        }
    }
    let id = TopicId::new(5).to_string();
    // A text of a database is UTF-8, and has no byte of zero.
    let texts = damaged(id.as_bytes()).filter_map(|bytes| String::from_utf8(bytes).ok());
    for text in texts.filter(|text| !text.contains(['\0', '\''])) {
        set(&client, "topic_id", &format!("'{text}'")).await;
        found(&mut owner, &text, false).await;
    }
    set(&client, "topic_id", &format!("'{id}'")).await;
    let claim = Claim::new(owner.task, vec![owner.partition], 99);
    assert_eq!(owner.postgres.claim(&job(), &claim).await.unwrap()[0].offset, Some(7));
}

#[tokio::test]
async fn a_chunk_that_is_damaged_anywhere_is_an_error_that_names_its_bucket() {
    let schema = Schema::new().await;
    let owner = stored(&schema).await;
    let client = schema.reader().await;
    let row = client.query_one("select bytes from rtbflow_state", &[]).await.unwrap();
    let whole: Vec<u8> = row.get(0);
    for bytes in damaged(&whole) {
        client.execute("update rtbflow_state set bytes = $1", &[&bytes]).await.unwrap();
        let page = owner.postgres.restore(&job(), owner.task, None).await.unwrap();
        let error = ChunkReader::open(&page.chunks[0], 1).unwrap_err().to_string();
        assert!(error.contains("\"windows\", bucket 7"), "{error}");
    }
}

/// A row that is missing, and one that says that it is another.
#[tokio::test]
async fn a_log_of_which_a_row_is_missing_is_an_error_that_names_its_bucket() {
    let schema = Schema::new().await;
    let owner = stored(&schema).await;
    let client = schema.reader().await;
    let more = "insert into rtbflow_state select job, task_of, task, operator, bucket, seq + n, false, bytes
        from rtbflow_state, generate_series(1, 2) as n";
    client.batch_execute(more).await.unwrap();
    let page = owner.postgres.restore(&job(), owner.task, None).await.unwrap();
    assert_eq!(page.chunks.len(), 3);
    for damage in [
        "delete from rtbflow_state where seq = 1",
        "delete from rtbflow_state where seq = 2",
        "update rtbflow_state set seq = seq + 1024 where seq = 2",
        "update rtbflow_state set bucket = bucket # 64 where seq = 2",
        "update rtbflow_state set bucket = bucket # 64 where seq = 1",
        "update rtbflow_state set replaces = true where seq = 3",
    ] {
        let kept = "create temp table kept as select * from rtbflow_state";
        client.batch_execute(&format!("{kept}; {damage}")).await.unwrap();
        let error = owner.postgres.restore(&job(), owner.task, None).await.unwrap_err();
        assert!(error.report().contains("\"windows\", bucket 7"), "{damage}: {}", error.report());
        let back = "delete from rtbflow_state; insert into rtbflow_state select * from kept; drop table kept";
        client.batch_execute(back).await.unwrap();
    }
}
