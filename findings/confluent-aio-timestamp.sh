#!/usr/bin/env bash
# confluent-kafka 2.16.1 (Python), AIOProducer, against librdkafka's own mock cluster.
# Guess:    produce() takes a timestamp, as its documentation says ("partition, timestamp, headers"),
#           and a record that cannot be sent fails alone and at once (as one with headers does).
# Happens:  the timestamp is taken, and when the buffer is sent everything in it fails with "not
#           supported in batch mode": the records of other callers too. The record stays in the
#           buffer and the timer ends: later records without a timestamp wait for ever, and
#           flush() raises each time.
# Who:      back-fills and tests that set event times, sharing a producer with live traffic.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check confluent-kafka==2.16.1
"$t/v/bin/python" - 2>"$t/log" <<'PY'
import asyncio, sys
import confluent_kafka
from confluent_kafka import Producer
from confluent_kafka.aio import AIOProducer

mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 0})
servers = ",".join(f"{b.host}:{b.port}" for b in mock.list_topics(timeout=10).brokers.values())

def state(futures):
    done = [f for f in futures if f.done()]
    return len([f for f in done if not f.exception()]), len([f for f in done if f.exception()]), len(futures) - len(done)

async def main():
    p = AIOProducer({"bootstrap.servers": servers, "log_level": 0}, buffer_timeout=0.2)
    plain = lambda: p.produce("clicks", value=b"click")
    first = [await plain() for _ in range(5)]
    await asyncio.sleep(3)
    second = [await plain() for _ in range(5)]
    dated = await p.produce("clicks", value=b"old click", timestamp=1767225600000)
    await asyncio.sleep(3)
    third = [await plain() for _ in range(5)]
    await asyncio.sleep(5)                                    # 25 times the buffer's time-out
    waited = state(third)
    try: await p.flush(); flushed = "no error"
    except NotImplementedError as e: flushed = f"raises {e}"
    print("confluent-kafka", confluent_kafka.version(), "- delivered, failed, waiting")
    print("guess:  15 records without a timestamp are delivered: (5, 0, 0) three times")
    print(f"seen:   before: {state(first)}; beside one with a timestamp: {state(second)}; after it, for 5 s: {waited}; flush() {flushed}")
    print(f"        the one with a timestamp: {dated.exception()}")
    return state(first) == (5, 0, 0) and state(second) == (0, 5, 0) and waited == (0, 0, 5) and flushed.startswith("raises")
sys.exit(not asyncio.run(main()))
PY
