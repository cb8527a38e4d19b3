#!/usr/bin/env bash
# Read, write and commit in one transaction, a Kafka 4.4.0 broker: aiokafka 0.14.0, KafkaJS 2.2.4,
# confluent-kafka 2.16.1. Worker A has read ten records and written ten, then stands still (a paused
# VM) past its session time-out. B, of the same group with an own transactional id, takes the
# partition over, does the ten and commits. A goes on and commits.
# Guess:    the offsets in A's transaction are of a member that the group has dropped, so the broker
#           refuses them (KIP-447, Kafka 2.5), A must abort, and ten results are committed.
# Happens:  aiokafka and KafkaJS send the name of the group alone, without member and generation: the
#           broker takes the offsets of anyone, A commits too, and a read-committed reader sees
#           twenty. confluent-kafka, given the group's metadata, is refused.
# Who:      "exactly once" in Python's asyncio or Node with a transactional id per worker: a batch at
#           which a worker pauses is charged twice, without an error.
# Instead:  a transactional id per input partition, so that B's start fences A.
set -euo pipefail
t=$(mktemp -d); srv=; trap '[ -z "$srv" ] || { kill $srv; wait $srv 2>/dev/null; } || :; rm -rf "$t"' EXIT
read -r port ctl < <(python3 -c 'import socket; a=socket.create_server(("127.0.0.1",0)); b=socket.create_server(("127.0.0.1",0)); print(a.getsockname()[1], b.getsockname()[1])'); cd "$t"
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars" >/dev/null
cat > k.properties <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$ctl
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$ctl
controller.listener.names=CONTROLLER
log.dirs=$t/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
P
java -cp 'jars/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAg -c k.properties >/dev/null 2>&1
java -Xmx300m -cp 'jars/*' kafka.Kafka k.properties >/dev/null 2>&1 & srv=$!
python3 -m venv v; v/bin/pip install -q --disable-pip-version-check aiokafka==0.14.0 confluent-kafka==2.16.1
npm init -y >/dev/null; npm i -s --no-fund --no-audit kafkajs@2.2.4
cat > worker.py <<'PY'
import asyncio, sys
client, name, addr = sys.argv[1], sys.argv[2], "127.0.0.1:" + sys.argv[3]
source, sink, group = "in-" + client, "out-" + client, "g-" + client
settings = {"bootstrap_servers": addr, "group_id": group, "enable_auto_commit": False, "auto_offset_reset": "earliest",
            "session_timeout_ms": 6000, "heartbeat_interval_ms": 1000}
def wait(): print("written", flush=True); sys.stdin.readline()

async def aio():
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    c = AIOKafkaConsumer(source, **settings)
    p = AIOKafkaProducer(bootstrap_servers=addr, transactional_id=group + name)
    await c.start(); await p.start()
    records = [await c.getone() for _ in range(10)]
    async with p.transaction():
        for r in records: await p.send_and_wait(sink, r.value)
        await asyncio.to_thread(wait)
        await p.send_offsets_to_transaction({TopicPartition(source, 0): 10}, group)

def confluent():
    from confluent_kafka import Consumer, Producer, TopicPartition
    c = Consumer({k.replace("_", "."): v for k, v in settings.items()})
    p = Producer({"bootstrap.servers": addr, "transactional.id": group + name})
    c.subscribe([source]); p.init_transactions(); records = []
    while len(records) < 10: records += c.consume(10 - len(records), 1)
    p.begin_transaction()
    for r in records: p.produce(sink, r.value())
    p.flush(); wait()
    try: p.send_offsets_to_transaction([TopicPartition(source, 0, 10)], c.consumer_group_metadata()); p.commit_transaction()
    except Exception: p.abort_transaction(); raise

try:
    asyncio.run(aio()) if client == "aiokafka" else confluent()
    print("commits")
except Exception as e:
    print("is refused:", type(e).__name__, str(e)[:70])
PY
cat > worker.mjs <<'JS'
import { Kafka } from 'kafkajs'; import readline from 'readline';
const [client, name, port] = process.argv.slice(2), topic = 'in-' + client, groupId = 'g-' + client;
const kafka = new Kafka({ brokers: ['127.0.0.1:' + port], logLevel: 0 });
const c = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000 });
const p = kafka.producer({ transactionalId: groupId + name, idempotent: true, maxInFlightRequests: 1 });
await c.connect(); await p.connect(); await c.subscribe({ topic, fromBeginning: true });
const messages = []; let full; const ten = new Promise((r) => { full = r; });
await c.run({ autoCommit: false, eachMessage: async ({ message }) => { if (messages.push(message) === 10) full(); } });
await ten; const tx = await p.transaction();
await tx.send({ topic: 'out-' + client, messages: messages.map((m) => ({ value: m.value })) });
console.log('written');
await new Promise((r) => readline.createInterface(process.stdin).once('line', r));
await tx.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions: [{ partition: 0, offset: '10' }] }] })
  .then(() => tx.commit()).then(() => console.log('commits'), (e) => console.log('is refused:', e.type ?? e.message));
process.exit();
JS
cat > drive.py <<'PY'
import atexit, os, signal, subprocess, sys
from confluent_kafka import Consumer, Producer
port, addr = sys.argv[1], "127.0.0.1:" + sys.argv[1]
def start(client, name):
    cmd = (["node", "worker.mjs"] if client == "KafkaJS" else [sys.executable, "worker.py"]) + [client, name, port]
    worker = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    atexit.register(worker.kill)
    assert worker.stdout.readline() == "written\n"
    return worker
def finish(worker):
    worker.stdin.write("\n"); worker.stdin.flush(); said = worker.stdout.readline().strip(); worker.kill(); worker.wait(); return said
seen = {}
print("guess:  B commits, A is refused, 10 results", flush=True)
for client in ("aiokafka", "KafkaJS", "confluent-kafka"):
    p = Producer({"bootstrap.servers": addr})
    for i in range(10): p.produce("in-" + client, str(i))
    p.flush()
    a = start(client, "A")
    os.kill(a.pid, signal.SIGSTOP)                            # A stands still; the group drops it
    said_b = finish(start(client, "B"))
    os.kill(a.pid, signal.SIGCONT); said_a = finish(a)
    c = Consumer({"bootstrap.servers": addr, "group.id": "r", "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    c.subscribe(["out-" + client]); seen[client] = len(c.consume(100, 8)); c.close()
    print(f"seen:   {client:15} B {said_b}, A {said_a}; {seen[client]} results", flush=True)
sys.exit(seen != {"aiokafka": 20, "KafkaJS": 20, "confluent-kafka": 10})
PY
v/bin/python drive.py "$port"
