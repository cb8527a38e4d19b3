#!/usr/bin/env bash
# bytewax 0.21.1, EventClock (Python 3.8 to 3.12).
# Guess:    lateness is a matter of event times: of a log that is read in order nothing is ever
#           late, and a second run gives what the first gave.
# Happens:  the watermark also moves with the wall clock since the newest event. A step that
#           stalls for 4 s (a slow query, a full sink) moves it 4 s on, and the events after the
#           stall, in order, are thrown to `late` although their window is still open: 30 of 100
#           here, none without the stall.
# Who:      replays of old topics, and any job whose sink blocks longer than the allowed delay.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check bytewax==0.21.1
"$t/v/bin/python" - <<'PY'
import time, sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
import bytewax.operators as op, bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

start = datetime(2026, 3, 1, tzinfo=timezone.utc)
events = [start + timedelta(milliseconds=100 * i) for i in range(100)]   # ten seconds, in order

def run(stall):
    counted, late = [], []
    def step(e):
        i, at = e
        if i == 50:
            time.sleep(stall)
        return "k", at
    flow = Dataflow("f")
    s = op.input("in", flow, TestingSource(list(enumerate(events)), batch_size=1))
    s = op.map("step", s, step)
    clock = win.EventClock(lambda at: at, wait_for_system_duration=timedelta(seconds=1))
    w = win.collect_window("w", s, clock, win.TumblingWindower(length=timedelta(minutes=1), align_to=start))
    op.output("out", w.down, TestingSink(counted))
    op.output("late", w.late, TestingSink(late))
    run_main(flow)
    return sum(len(members) for _, (_, members) in counted), len(late)

print("bytewax", version("bytewax"))
smooth, stalled = run(0), run(4)
print("guess:  100 counted, 0 late, however long a step takes")
print(f"seen:   no stall: {smooth[0]} counted, {smooth[1]} late; 4 s stall: {stalled[0]} counted, {stalled[1]} late")
sys.exit(not (smooth == (100, 0) and stalled[1] >= 25))
PY
