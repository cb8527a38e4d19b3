#!/usr/bin/env bash
# google.protobuf.Timestamp to milliseconds: @bufbuild/protobuf 2.17.0 and google-protobuf 4.0.3
# (JavaScript), protobuf 7.36.2 (Python), google.golang.org/protobuf 1.36.11 (Go).
# Guess:    the well-known type has one conversion to milliseconds, and it cuts.
# Happens:  @bufbuild/protobuf (connect-es) rounds: 23:59:59.999600 is 00:00:00.000 of the next
#           day, a millisecond *later* than the event, while the others give 23:59:59.999. Half of
#           all microsecond times differ by one.
# Who:      windows, days and keys (event id and milliseconds) computed in a Node service and
#           compared with those of a Go, Python or Rust service.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check protobuf==7.36.2
mkdir "$t/js" "$t/m"; cd "$t/js"; npm init -y >/dev/null
npm i -s --no-fund --no-audit @bufbuild/protobuf@2.17.0 google-protobuf@4.0.3
cat > a.mjs <<'JS'
import { create, toBinary } from '@bufbuild/protobuf'; import { TimestampSchema, timestampMs, timestampDate } from '@bufbuild/protobuf/wkt';
import pb from 'google-protobuf/google/protobuf/timestamp_pb.js'; import fs from 'fs';
const s = 1796083199;                                         // 2026-11-30 23:59:59 UTC
const at = n => create(TimestampSchema, { seconds: BigInt(s), nanos: n });
const bytes = toBinary(TimestampSchema, at(999600000)); fs.writeFileSync('t.bin', bytes);
let differ = 0;
for (let micro = 0; micro < 1e6; micro += 7) differ += timestampMs(at(micro * 1000)) !== s * 1000 + Math.floor(micro / 1000);
console.log(timestampMs(at(999600000)), timestampDate(at(999600000)).toISOString(), pb.Timestamp.deserializeBinary(bytes).toDate().getTime(), Math.round(100 * differ / Math.ceil(1e6 / 7)));
JS
read -r buf date goog share < <(node a.mjs)
py=$("$t/v/bin/python" -c 'import sys; from google.protobuf.timestamp_pb2 import Timestamp as T; t = T(); t.ParseFromString(open("t.bin", "rb").read()); print(t.ToMilliseconds())')
cd "$t/m"; export GOPATH="$t/gopath" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import ("fmt"; "os"; "google.golang.org/protobuf/proto"; "google.golang.org/protobuf/types/known/timestamppb")

func main() {
	b, err := os.ReadFile(os.Args[1])
	t := &timestamppb.Timestamp{}
	if err != nil || proto.Unmarshal(b, t) != nil { panic("unreadable") }
	fmt.Println(t.AsTime().UnixMilli())
}
GO
{ go mod init finding; go get google.golang.org/protobuf@v1.36.11; go mod tidy; } >/dev/null 2>&1
go=$(go run . "$t/js/t.bin")
echo "one message: 2026-11-30T23:59:59.999600Z"
echo "guess:  1796083199999 by all"
echo "seen:   google-protobuf (JS) $goog, Python $py, Go $go, @bufbuild/protobuf $buf = $date"
echo "        of microsecond times, @bufbuild/protobuf is one millisecond up in $share %"
[ "$goog $py $go" = "1796083199999 1796083199999 1796083199999" ] && [ "$buf" = 1796083200000 ] && [ "$share" = 50 ]
