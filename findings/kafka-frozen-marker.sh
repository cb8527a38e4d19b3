#!/usr/bin/env bash
# confluent-kafka 2.16.1, a Kafka 4.4.0 cluster (a controller, three brokers, three replicas of
# everything, min.insync.replicas 2), and the leader of a partition which freezes (SIGSTOP) in the
# instant after commit_transaction() has returned.
# Guess:    a commit that has returned is visible to readers, and a broker that freezes costs what
#           an election costs: about 10 s, as it costs a plain producer with acks=all.
# Happens:  commit_transaction() returns when the coordinator has logged the decision; only then
#           does the coordinator, on another broker and in good health, send the marker to the
#           partition's leader. It waits for the frozen one's answer for the *brokers'*
#           request.timeout.ms, 30 s, though the partition has had a new leader for 20 s. Until
#           then read-committed readers stand before the committed record, and no transaction of
#           this transactional.id gets anywhere, on whatever partitions, nor does a successor's
#           init_transactions() come back (CONCURRENT_TRANSACTIONS, which the client retries in
#           silence). And as the sending thread looks at time-outs only when it wakes, and then
#           sleeps for up to 30 s again, one commit of *another* transactional.id of the same
#           coordinator, 20 s later, makes it 50 s. With request.timeout.ms=5000 on the brokers
#           all of it is an election.
# Who:      exactly-once sinks which shortened the clients' time-outs and think that is all of it.
#           The clients here have 5 s; with librdkafka's own 60 s the plain producer waits, too.
set -euo pipefail
t=$(mktemp -d); srv=; stop() { [ -z "$srv" ] || { kill -9 $srv; wait $srv; } 2>/dev/null || :; srv=; }; trap 'stop; rm -rf "$t"' EXIT
cd "$t"
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars"
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check confluent-kafka==2.16.1
export JDK_JAVA_OPTIONS='-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'

start() { # start SETTING: a new cluster; node 0 is the controller
  read -ra port < <(python3 -c 'import socket; s=[socket.socket() for _ in range(4)]; [x.bind(("127.0.0.1",0)) for x in s]; print(*[x.getsockname()[1] for x in s])')
  local n role
  for n in 0 1 2 3; do
    rm -rf "$t/$n"; role=broker; [ $n != 0 ] || role=controller
    cat > $n.properties <<P
process.roles=$role
node.id=$n
controller.quorum.voters=0@127.0.0.1:${port[0]}
listeners=${role^^}://127.0.0.1:${port[n]}
controller.listener.names=CONTROLLER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$t/$n
log.cleaner.dedupe.buffer.size=4194304
min.insync.replicas=2
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
$1
P
    [ $n = 0 ] || echo inter.broker.listener.name=BROKER >> $n.properties
    (java -cp 'jars/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAg -c $n.properties
     exec java -cp 'jars/*' kafka.Kafka $n.properties) >/dev/null 2>&1 & srv+=" $!"
  done
}

cat > run.py <<'PY'
import os, signal, sys, threading, time
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

home, ports, pids = sys.argv[1], sys.argv[2].split()[1:], [int(p) for p in sys.argv[3].split()]
name, low, high, meanwhile = sys.argv[4], int(sys.argv[5]), int(sys.argv[6]), sys.argv[7:]
client = {"bootstrap.servers": ",".join(f"127.0.0.1:{p}" for p in ports), "log_level": 0, "socket.timeout.ms": 5000}
sys.setswitchinterval(0.0001)

def until(done):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if done(): return
        except Exception: pass
        time.sleep(0.2)
    sys.exit("waited for too long")

def transactional(id):
    p = Producer({**client, "transactional.id": id, "transaction.timeout.ms": 300000, "request.timeout.ms": 5000})
    p.init_transactions(60)
    return p
def transaction(p, value, partition): p.begin_transaction(); p.produce("t", value, partition=partition); p.flush()

admin = AdminClient(client)
until(lambda: len(admin.list_topics(timeout=5).brokers) == 3)
admin.create_topics([NewTopic("t", 3, 3)])["t"].result(60)
sink, neighbour = transactional("sink"), transactional("neighbour")
def whole():
    topics = admin.list_topics(timeout=5).topics
    return all(n in topics and topics[n].partitions and all(len(p.isrs) == 3 for p in topics[n].partitions.values()) for n in ("t", "__transaction_state"))
until(whole)
topics = admin.list_topics(timeout=5).topics
coordinator = topics["__transaction_state"].partitions[0].leader
leaders = {i: p.leader for i, p in topics["t"].partitions.items()}
hit = next(i for i, l in leaders.items() if l != coordinator)              # the partition whose leader freezes
other = next(i for i, l in leaders.items() if l != leaders[hit])           # one that has nothing to do with it
followers = {1, 2, 3} - {leaders[hit]}
frozen = pids[leaders[hit]]

def markers():                                                             # in the followers' logs of the partition
    def count(node):
        log = open(f"{home}/{node}/t-{hit}/00000000000000000000.log", "rb").read()
        at = found = 0
        while at + 61 <= len(log):
            found += log[at + 22] >> 5 & 1
            at += 12 + int.from_bytes(log[at + 8:at + 12], "big")
        return found
    return [count(n) for n in followers]

acks, seen, running = [], {}, True
def plain():
    p = Producer({**client, "enable.idempotence": True, "acks": "all", "request.timeout.ms": 5000, "linger.ms": 0})
    while running:
        p.produce("t", b"plain", partition=hit, on_delivery=lambda e, _: e or acks.append(time.monotonic()))
        p.flush(); time.sleep(0.05)
def reader():
    c = Consumer({**client, "group.id": "r", "isolation.level": "read_committed", "fetch.wait.max.ms": 100})
    c.assign([TopicPartition("t", hit, 0)])
    while running:
        m = c.poll(0.1)
        if m and not m.error(): seen.setdefault(m.value(), time.monotonic())
for f in plain, reader: threading.Thread(target=f, daemon=True).start()

for i in range(20):
    transaction(sink, b"before", hit); sink.commit_transaction(60)
for attempt in range(1, 101):
    value = f"committed {attempt}".encode()
    transaction(sink, value, hit)
    before = markers()
    sink.commit_transaction(60); os.kill(frozen, signal.SIGSTOP)           # the commit has returned
    start = time.monotonic()
    time.sleep(0.3)
    if markers() == before: break                                          # frozen before the marker was out
    os.kill(frozen, signal.SIGCONT); time.sleep(0.5)
else: sys.exit("the instant was never met")

def another(): time.sleep(20); transaction(neighbour, b"another", other); neighbour.commit_transaction(60)
if meanwhile: threading.Thread(target=another, daemon=True).start()
transaction(sink, b"next", other); sink.commit_transaction(60)
following = time.monotonic() - start
until(lambda: value in seen and acks[-1] > start + 1)
running = False
near = [a for a in acks if a > start - 1]
silence = max(b - a for a, b in zip(near, near[1:]))
visible = seen[value] - start
print(f"seen:   {name}: {silence:.1f} s, {visible:.1f} s, {following:.1f} s", flush=True)
os._exit(not (silence < 20 and low <= visible <= high and low <= following <= high))
PY
code=0
run() { start "$1"; shift; v/bin/python run.py "$t" "${port[*]}" "$srv" "$@" || code=1; stop; }
echo "Kafka 4.4.0, confluent-kafka 2.16.1"
echo "silence of a plain producer; until the committed record is read; until the next transaction is committed:"
echo "guess:  about 10 s each"
run '' "brokers as they come" 28 65
run '' "brokers as they come, another transactional.id commits after 20 s" 45 65 another
run request.timeout.ms=5000 "brokers with request.timeout.ms=5000" 5 25
exit $code
