#!/usr/bin/env bash
# An address list as a MaxMind DB file written by mmdb-writer 0.2.7 (Python), read by
# maxminddb-golang 1.13.1 and 2.9.0 (Go), maxmind 5.0.7 (Node), maxminddb 3.2.0 (Python).
# Guess:    ::ffff:1.2.3.4, as a dual-stack listener logs an IPv4 client, is 1.2.3.4 for all.
# Happens:  whether it is depends on an alias in the file (the vendor's own files have it, those
#           of this writer have not) and on the reader: Go's version 1 unmaps by itself, its
#           version 2, Node and Python do not, and say "not found" without an error. The upgrade
#           from 1 to 2 loses every IPv4 client of such a listener.
# Who:      own lists (data centres, blocked ranges, carriers) in a click filter: it lets all pass.
# Instead:  unmap addresses where they are logged.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check mmdb-writer==0.2.7 maxminddb==3.2.0
mkdir "$t/js" "$t/m"
"$t/v/bin/python" - "$t/list.mmdb" <<'PY'
import sys
from mmdb_writer import MMDBWriter
from netaddr import IPSet
w = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="own-list")
w.insert_network(IPSet(["1.2.3.0/24"]), {"kind": "datacentre"})
w.to_db_file(sys.argv[1])
PY
ips="1.2.3.4 ::ffff:1.2.3.4"
py=$("$t/v/bin/python" -c 'import sys, maxminddb; r = maxminddb.open_database(sys.argv[1]); print(*["found" if r.get(a) else "none" for a in sys.argv[2:]])' "$t/list.mmdb" $ips)
cd "$t/js"; npm init -y >/dev/null; npm i -s --no-fund --no-audit maxmind@5.0.7
cat > a.mjs <<'JS'
import maxmind from 'maxmind';
const r = await maxmind.open(process.argv[2]);
console.log(...process.argv.slice(3).map(a => r.get(a) ? 'found' : 'none'));
JS
js=$(node a.mjs "$t/list.mmdb" $ips)
cd "$t/m"; export GOPATH="$t/gopath" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	v1 "github.com/oschwald/maxminddb-golang"
	v2 "github.com/oschwald/maxminddb-golang/v2"
)

func main() {
	a, err1 := v1.Open(os.Args[1])
	b, err2 := v2.Open(os.Args[1])
	if err1 != nil || err2 != nil { panic("unreadable") }
	word := func(found bool) string { if found { return "found" }; return "none" }
	var one, two []any
	for _, ip := range os.Args[2:] {
		var x any
		if err := a.Lookup(net.ParseIP(ip), &x); err != nil { panic(err) }
		one = append(one, word(x != nil))
		two = append(two, word(b.Lookup(netip.MustParseAddr(ip)).Found()))
	}
	fmt.Println(append(one, two...)...)
}
GO
{ go mod init finding; go get github.com/oschwald/maxminddb-golang@v1.13.1 github.com/oschwald/maxminddb-golang/v2@v2.9.0; go mod tidy; } >/dev/null 2>&1
read -r a b c d < <(go run . "$t/list.mmdb" $ips)
echo "1.2.3.0/24 is in the list; asked for: $ips"
echo "guess:  found found by all"
echo "seen:   Go 1.13.1 $a $b; Go 2.9.0 $c $d; Node 5.0.7 $js; Python 3.2.0 $py"
[ "$a $b / $c $d / $js / $py" = "found found / found none / found none / found none" ]
