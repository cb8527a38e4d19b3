#!/usr/bin/env bash
# Four clients, one INCRBY of 100, a server that stands still for a second (a paused VM, a fork, a
# slow script), read time-out 0.3 s: redis-py 8.1.0, ioredis 6.0.0, node-redis 6.3.1, go-redis 9.23.0.
# Guess:    after a time-out the caller gets an error and must find out whether it was applied; a
#           client retries reading commands at most.
# Happens:  redis-py and ioredis send INCRBY again by themselves and report success: 100 cents
#           become 200 to 400 and nobody sees an error. node-redis and go-redis report the
#           time-out, and 100 is applied.
# Who:      spend counters and caps kept by INCRBY/HINCRBY: they over-count just when Redis stalls.
# Instead:  retry=Retry(NoBackoff(), 0); maxRetriesPerRequest 0 and autoResendUnfulfilledCommands
#           false; or write absolute values.
set -euo pipefail
t=$(mktemp -d); srv=; trap '[ -z "$srv" ] || { kill -CONT $srv; kill $srv; wait $srv 2>/dev/null; } || :; rm -rf "$t"' EXIT
bin=$(command -v redis-server) || { (cd "$t" && apt-get download redis-server redis-tools liblzf1 >/dev/null && for d in *.deb; do dpkg -x "$d" .; done); bin="$t/usr/bin/redis-server"; }
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
"$bin" --port "$port" --bind 127.0.0.1 --save '' --dir "$t" >/dev/null & srv=$!
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check redis==8.1.0
mkdir "$t/js" "$t/go"; cd "$t/js"; npm init -y >/dev/null; npm i -s --no-fund --no-audit ioredis@6.0.0 redis@6.3.1
"$bin" --version | cut -d' ' -f1-3
still() { kill -STOP $srv; (sleep 1; kill -CONT $srv) & }      # one second of silence

cat > py.py <<'PY'
import sys, redis
r = redis.Redis(port=int(sys.argv[1]), socket_timeout=0.3)
r.set("py", 0); print("ready", flush=True); sys.stdin.readline()
try: said = f"success, {r.incrby('py', 100)}"
except redis.TimeoutError: said = "time-out"
print(f"redis-py {redis.__version__}: {said}")
PY
cat > js.mjs <<'JS'
import Redis from 'ioredis'; import { createClient } from 'redis'; import fs from 'fs'; import rl from 'readline';
const port = +process.argv[2], which = process.argv[3];
const v = JSON.parse(fs.readFileSync(`node_modules/${which}/package.json`)).version;
const r = which === 'ioredis' ? new Redis({ port, socketTimeout: 300 }) : createClient({ socket: { port, socketTimeout: 300 } });
r.on('error', () => {}); if (which === 'redis') await r.connect();
await r.set(which, 0); console.log('ready');
rl.createInterface(process.stdin).once('line', async () => {
  const said = await (which === 'ioredis' ? r.incrby(which, 100) : r.incrBy(which, 100)).then(n => `success, ${n}`, () => 'time-out');
  console.log(`${which === 'redis' ? 'node-redis' : which} ${v}: ${said}`); process.exit();
});
JS
cd "$t/go"; export GOPATH="$t/gopath" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import ("bufio"; "context"; "fmt"; "os"; "time"; "github.com/redis/go-redis/v9")

func main() {
	ctx := context.Background()
	r := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Args[1], ReadTimeout: 300 * time.Millisecond})
	r.Set(ctx, "go", 0, 0); fmt.Println("ready"); bufio.NewReader(os.Stdin).ReadString('\n')
	n, err := r.IncrBy(ctx, "go", 100).Result()
	said := fmt.Sprintf("success, %d", n)
	if err != nil { said = "time-out" }
	fmt.Printf("go-redis %s: %s\n", redis.Version(), said)
}
GO
{ go mod init finding; go get github.com/redis/go-redis/v9@v9.23.0; go mod tidy; go build -o "$t/gobin" .; } >/dev/null 2>&1

one() {                                                       # key, command...
  local key=$1; shift; coproc C { "$@"; }; local in=${C[1]} out=${C[0]} pid=$C_PID
  read -r <&"$out"; still; echo go >&"$in"; read -r said <&"$out"; wait "$pid" || :; sleep 1.5
  value=$(python3 - "$port" "$key" <<'PY'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1]))); s.sendall(f"GET {sys.argv[2]}\r\n".encode()); print(s.recv(99).split(b"\r\n")[1].decode())
PY
); echo "seen:   $said; the counter stands at $value"; results+="$value "; }
echo "guess:  a time-out each, and 100 in the counter"
results=; cd "$t/js"
one py "$t/v/bin/python" -u py.py "$port"; one ioredis node js.mjs "$port" ioredis
one redis node js.mjs "$port" redis; one go "$t/gobin" "$port"
set -- $results; [ "$1" -gt 100 ] && [ "$2" -gt 100 ] && [ "$3" = 100 ] && [ "$4" = 100 ]
