#!/usr/bin/env bash
# confluent-kafka 2.16.1 (librdkafka), Kafka 4.4.0, and a worker with a fixed name (group.instance.id)
# that is killed (SIGKILL) and started again under its name at once, as a supervisor does it.
# Guess:    static membership is what makes that restart cheap, and the new group protocol (KIP-848,
#           group.protocol=consumer), which is recommended now, keeps it: the same name comes back
#           and goes on with its partitions at once.
# Happens:  with the classic protocol, yes: the newcomer has them within a second, and a former
#           holder that is still alive is fenced. With the new one it is the other way round: the
#           broker protects the holder, dead or not. The newcomer is refused
#           (UNRELEASED_INSTANCE_ID), and librdkafka takes that for fatal: the consumer never gets
#           anything, however long it polls. One made later gets the partitions only when the
#           session of the dead one is over (45 s, set on the broker, not by the client), so that
#           what was made to avoid a pause is the pause; a worker *without* a name waits as long, but
#           is not refused.
# Who:      stateful workers with a name each (a StatefulSet), who move to the new protocol.
set -euo pipefail
t=$(mktemp -d); srv=; trap '[ -z "$srv" ] || { kill -9 $srv; wait $srv; } 2>/dev/null || :; rm -rf "$t"' EXIT
cd "$t"
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars"
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check confluent-kafka==2.16.1
export JDK_JAVA_OPTIONS='-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'
read -r port other < <(python3 -c 'import socket; s=[socket.socket() for _ in range(2)]; [x.bind(("127.0.0.1",0)) for x in s]; print(*[x.getsockname()[1] for x in s])')
cat > broker.properties <<P
process.roles=broker,controller
node.id=0
controller.quorum.voters=0@127.0.0.1:$other
listeners=BROKER://127.0.0.1:$port,CONTROLLER://127.0.0.1:$other
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$t/log
log.cleaner.dedupe.buffer.size=4194304
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
P
java -cp 'jars/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAg -c broker.properties >/dev/null 2>&1
java -cp 'jars/*' kafka.Kafka broker.properties >/dev/null 2>&1 & srv=$!

cat > run.py <<'PY'
import subprocess, sys, time
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

servers, protocol, role = sys.argv[1:4]
def consumer(on_assign):
    config = {"bootstrap.servers": servers, "group.id": protocol, "group.instance.id": "worker-1",
              "group.protocol": protocol, "log_level": 0, "error_cb": lambda _: None}
    if protocol == "classic": config["session.timeout.ms"] = 45000          # what the new protocol has, too
    c = Consumer(config)
    c.subscribe(["t"], on_assign=lambda _, partitions: on_assign(len(partitions)))
    return c

if role == "worker":
    c = consumer(lambda count: print(count, flush=True))
    while True: c.poll(0.1)

admin = AdminClient({"bootstrap.servers": servers})
def is_up():
    try: return admin.list_topics(timeout=5).brokers
    except KafkaException: return False
end = time.monotonic() + 60
while not is_up() and time.monotonic() < end: time.sleep(0.2)
try: admin.create_topics([NewTopic("t", 4, 1)])["t"].result(60)
except KafkaException: pass                                                   # it is there

worker = subprocess.Popen([sys.executable, __file__, servers, protocol, "worker"], stdout=subprocess.PIPE, text=True)
while int(worker.stdout.readline()) < 4: pass
time.sleep(3)
worker.kill(); worker.wait()
began, got, refused = time.monotonic(), [], None
def attempt(patience):                                                        # one consumer, polled for so long
    global refused
    c = consumer(got.append)
    until = time.monotonic() + patience
    while time.monotonic() < until and 4 not in got:
        m = c.poll(0.1)
        if m is not None and m.error() and refused is None: refused = c.memberid() is not None and str(m.error())
    c.close()
attempt(12)                                                                   # as patient as a supervisor's probe
first = time.monotonic() - began
while 4 not in got and time.monotonic() < began + 120: attempt(2)
after = time.monotonic() - began
print(f"{protocol:9} the name came back with its 4 partitions after {after:4.1f} s; refused: {refused or 'no'}")
if protocol == "classic": ok = after < 10 and not refused
else: ok = 30 < after < 80 and "instance ID is still used" in str(refused)
sys.exit(0 if ok else "not as described")
PY
"$t/v/bin/python" run.py "127.0.0.1:$port" classic main 2>/dev/null
"$t/v/bin/python" run.py "127.0.0.1:$port" consumer main 2>/dev/null
