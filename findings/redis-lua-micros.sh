#!/usr/bin/env bash
# Redis 7.0 (Debian), Lua scripts, times and amounts in microseconds (16 digits, below 2^53).
# Guess:    Lua's numbers are doubles, so whole numbers are safe up to 2^53 = 9,007,199,254,740,992.
# Happens:  a number handed to redis.call is exact, but cjson.encode, tostring and `..` write 14
#           digits: 1796083199123456 becomes 1.7960831991235e+15. A script that decodes an event,
#           sets one field and encodes it again moves every microsecond time in it by up to 50 us
#           and cuts prices to 14 digits; a key built with `..` ends in "e+15".
# Who:      budget and frequency-cap scripts that keep a small JSON document per key.
# Instead:  keep such numbers as strings in the document, string.format("%.0f", n) for keys.
set -euo pipefail
t=$(mktemp -d); srv=; trap '[ -z "$srv" ] || { kill $srv; wait $srv 2>/dev/null; } || :; rm -rf "$t"' EXIT
bin=$(command -v redis-server) || { (cd "$t" && apt-get download redis-server redis-tools liblzf1 >/dev/null && for d in *.deb; do dpkg -x "$d" .; done); bin="$t/usr/bin/redis-server"; }
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
"$bin" --port "$port" --bind 127.0.0.1 --save '' --dir "$t" >/dev/null & srv=$!
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check redis==8.1.0
"$t/v/bin/python" - "$port" <<'PY'
import json, sys, redis

r = redis.Redis(port=int(sys.argv[1]), decode_responses=True)
micros = 1796083199123456
event = json.dumps({"at": micros, "bid": 0.1234567890123456, "spent": 123456789012345})
mark = "local e = cjson.decode(ARGV[1]); e.seen = true; return cjson.encode(e)"
after = json.loads(r.eval(mark, 0, event))
key = r.eval("return 'cap:' .. math.floor(tonumber(ARGV[1]) / 1000000) * 1000000", 0, micros)
exact = r.eval("redis.call('SET', 'k', tonumber(ARGV[1]) + 1); return redis.call('GET', 'k')", 0, micros)
back = r.eval("return tonumber(ARGV[1]) + 1", 0, micros)
print("redis", r.info("server")["redis_version"])
print(f"guess:  {micros} survives, 2^53 is {2**53}")
print(f"seen:   through cjson: {after['at']:.0f} ({after['at'] - micros:+.0f} us), spent {after['spent']:.0f}, bid {after['bid']}")
print(f"        key by `..`: {key}; redis.call and a returned number, plus 1: {exact}, {back}")
sys.exit(not (after["at"] != micros and after["spent"] != 123456789012345 and key.endswith("e+15") and int(exact) == back == micros + 1))
PY
