#!/usr/bin/env bash
# bytewax 0.21.1, windows of a key that was quiet for a moment (Python 3.8 to 3.12).
# Guess:    a window that was closed stays closed: a record for it goes to `late`, and each
#           (key, window id) comes out once.
# Happens:  when the last window of a key closes, everything kept for the key is dropped, its
#           watermark too. The next record of that key starts a new clock, is on time whatever its
#           age, and the closed window comes out a second time with that record alone. An upsert
#           by (key, window id) then replaces the full count by the straggler.
# Who:      sparse keys (campaigns, devices): the more keys, the more often. `late` counts none.
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
at = lambda s: start + timedelta(seconds=s)
# Key a: two records in second 0, quiet while key b goes on for four seconds, then a straggler.
# Key c: the same, but kept busy, so that its clock lives on.
events = [(k, at(0.1 + 0.1 * i), f"on time {i}") for i in range(2) for k in "ac"]
events += [(k, at(0.3 + 0.1 * i), "busy") for i in range(40) for k in "bc"]
events += [("a", at(0.25), "straggler"), ("c", at(0.25), "straggler")]

first_window, late = [], []
def pace(e):
    if e[0] == "b":
        time.sleep(0.1)
    return e[0], e

flow = Dataflow("f")
s = op.map("pace", op.input("in", flow, TestingSource(events, batch_size=1)), pace)
clock = win.EventClock(lambda e: e[1], wait_for_system_duration=timedelta(seconds=0.5))
w = win.collect_window("w", s, clock, win.TumblingWindower(length=timedelta(seconds=1), align_to=start))
op.output("out", w.down, TestingSink(first_window))
op.output("late", w.late, TestingSink(late))
run_main(flow)

def results(key):
    return [[m[2] for m in members] for k, (wid, members) in first_window if k == key and wid == 0]
stragglers = [k for k, (_, e) in late if e[2] == "straggler"]
print("bytewax", version("bytewax"))
print("guess:  window 0 of both keys comes out once, both stragglers are late")
print(f"seen:   busy key c: window 0 came {len(results('c'))} time(s), straggler late: {'c' in stragglers}")
print(f"        quiet key a: window 0 came {len(results('a'))} time(s): {results('a')}, straggler late: {'a' in stragglers}")
sys.exit(not (len(results("c")) == 1 and stragglers == ["c"] and results("a")[1:] == [["straggler"]]))
PY
