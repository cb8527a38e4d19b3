#!/usr/bin/env bash
# rskafka 0.6.0 (pure Rust client), a Kafka 4.4.0 broker, a topic written in one transaction of
# confluent-kafka 2.16.1.
# Guess:    a client without consumer groups and transactions can still *read* such a topic: as
#           records, perhaps with the aborted ones among them.
# Happens:  the commit marker is taken apart wrongly ("Unknown control batch record version"), and
#           as the whole answer is thrown away with it, no record before it can be read either,
#           from no offset. The same records written without a transaction are read.
# Who:      Rust readers of topics that an exactly-once job or Kafka Streams writes.
set -euo pipefail
t=$(mktemp -d); srv=; trap '[ -z "$srv" ] || { kill $srv; wait $srv 2>/dev/null; } || :; rm -rf "$t"' EXIT
free() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
port=$(free); ctl=$(free); mkdir -p "$t/r/src"; cd "$t"
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars"
cat > k.properties <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$ctl
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$ctl
controller.listener.names=CONTROLLER
log.dirs=$t/log
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
P
java -cp 'jars/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAg -c k.properties >/dev/null 2>&1
java -Xmx300m -cp 'jars/*' kafka.Kafka k.properties >/dev/null 2>&1 & srv=$!
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check confluent-kafka==2.16.1
"$t/v/bin/python" - "$port" <<'PY'
import sys, confluent_kafka
from confluent_kafka import Producer
for topic, more in ("plain", {}), ("transactional", {"transactional.id": "t"}):
    p = Producer({"bootstrap.servers": f"127.0.0.1:{sys.argv[1]}", "log_level": 0, **more})
    if more: p.init_transactions(60); p.begin_transaction()
    for i in range(5): p.produce(topic, f"click {i}".encode(), partition=0)
    p.flush(60)
    if more: p.commit_transaction(60)
PY
cd r
cat > Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
rskafka = { version = "=0.6.0", default-features = false }
tokio = { version = "1", features = ["rt", "macros", "time"] }
T
cat > src/main.rs <<'R'
use rskafka::client::{partition::UnknownTopicHandling, ClientBuilder};
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let client = ClientBuilder::new(vec![format!("127.0.0.1:{}", std::env::args().nth(1).unwrap())]).build().await.unwrap();
    let mut ok = true;
    for topic in ["plain", "transactional"] {
        let p = client.partition_client(topic, 0, UnknownTopicHandling::Error).await.unwrap();
        let mut read = 0;
        let mut error = None;
        for from in 0..5 {
            match p.fetch_records(from, 1..1_000_000, 500).await {
                Ok((records, _)) => read = read.max(records.len()),
                Err(e) => error = Some(e.to_string()),
            }
        }
        println!("seen:   {topic}: {read} of 5 records, {}", error.as_deref().unwrap_or("no error"));
        ok &= if topic == "plain" { read == 5 && error.is_none() } else { read == 0 && error.is_some_and(|e| e.contains("control batch record")) };
    }
    std::process::exit(!ok as i32);
}
R
cargo build -q
echo "rskafka 0.6.0"; echo "guess:  5 of 5 records of both topics"
target/debug/finding "$port"
