#!/usr/bin/env bash
# A price in Avro, written with scale 4 and read with a schema of scale 2; a time, written in
# milliseconds and read with a schema of microseconds: avro 1.12.2 (Java), hamba/avro 2.31.0 and
# twmb/avro 1.9.1 (Go), avro 1.12.2 and fastavro 1.13.1 (Python).
# Guess:    Avro resolves the writer's schema to the reader's: the price stays 1.2345 or is rounded,
#           or the two schemas are refused as incompatible.
# Happens:  Java says COMPATIBLE and reads 123.45, hamba too: the writer's digits with the reader's
#           scale. twmb refuses, both Python libraries keep the writer's 1.2345. Milliseconds become
#           a day of January 1970 in Java and in both Go libraries, twmb does not refuse these. And
#           the fingerprint of single-object encoding leaves the scale out: a Java decoder of scale 2
#           takes a message of scale 4 for its own, and never asks the schema store.
# Who:      a price that gets more digits behind a compatibility check like Java's, which leaves
#           logical types out: its old consumers bill a hundredfold, only those in Python are right.
# Instead:  a new field with a new name for a new scale or unit.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; cd "$t"; mkdir go
python3 -m venv v; v/bin/pip install -q --disable-pip-version-check avro==1.12.2 fastavro==1.13.1
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.avro</groupId><artifactId>avro</artifactId><version>1.12.2</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars" >/dev/null
schema() { echo '{"type":"record","name":"Win","fields":[{"name":"v","type":'"$1"'}]}'; }
decimal() { schema '{"type":"bytes","logicalType":"decimal","precision":12,"scale":'"$1"'}'; }
instant() { schema '{"type":"long","logicalType":"timestamp-'"$1"'"}'; }
decimal 4 > price.writer; decimal 2 > price.reader; instant millis > time.writer; instant micros > time.reader
v/bin/python - <<'PY'
import decimal, json, fastavro
from datetime import datetime, timezone
for name, value in ("price", decimal.Decimal("1.2345")), ("time", datetime(2026, 5, 1, tzinfo=timezone.utc)):
    with open(f"{name}.data", "wb") as f:
        fastavro.schemaless_writer(f, fastavro.parse_schema(json.load(open(f"{name}.writer"))), {"v": value})
PY
cat > Read.java <<'J'
import java.nio.file.*;
import org.apache.avro.*;
import org.apache.avro.data.TimeConversions.*; import org.apache.avro.generic.*;
import org.apache.avro.io.*;
import org.apache.avro.message.*;

class Read {
    static Schema schema(String file) throws Exception { return new Schema.Parser().parse(Files.readString(Path.of(file))); }
    public static void main(String[] a) throws Exception {
        GenericData data = new GenericData();
        data.addLogicalTypeConversion(new Conversions.DecimalConversion());
        data.addLogicalTypeConversion(new TimestampMillisConversion());
        data.addLogicalTypeConversion(new TimestampMicrosConversion());
        for (String name : new String[] {"price", "time"}) {
            Schema writer = schema(name + ".writer"), reader = schema(name + ".reader");
            byte[] bytes = Files.readAllBytes(Path.of(name + ".data"));
            GenericRecord r = new GenericDatumReader<GenericRecord>(writer, reader, data).read(null, DecoderFactory.get().binaryDecoder(bytes, null));
            System.out.println(name + " Java " + r.get("v") + " (" + SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getType() + ")");
            if (name.equals("time")) continue;
            GenericRecord own = new GenericDatumReader<GenericRecord>(writer, writer, data).read(null, DecoderFactory.get().binaryDecoder(bytes, null));
            BinaryMessageDecoder<GenericRecord> decoder = new BinaryMessageDecoder<>(data, reader);   // knows the schema of scale 2 only
            System.out.println("price Java, single object " + decoder.decode(new BinaryMessageEncoder<GenericRecord>(data, writer).encode(own)).get("v"));
        }
    }
}
J
cd go; export GOPATH="$t/gopath" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import (
	"fmt"
	"math/big"
	"os"
	"time"

	hamba "github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
)

func show(v any) any {
	if r, ok := v.(*big.Rat); ok { return r.FloatString(4) }
	return v.(time.Time).UTC().Format(time.RFC3339)
}

func main() {
	for _, name := range []string{"price", "time"} {
		read := func(end string) string { b, err := os.ReadFile("../" + name + end); if err != nil { panic(err) }; return string(b) }
		var v map[string]any
		resolved, err := hamba.NewSchemaCompatibility().Resolve(hamba.MustParse(read(".reader")), hamba.MustParse(read(".writer")))
		if err == nil { err = hamba.Unmarshal(resolved, []byte(read(".data")), &v) }
		if err != nil { fmt.Println(name, "hamba refused:", err); continue }
		fmt.Println(name, "hamba", show(v["v"]))
		var w map[string]any
		other, err := twmb.Resolve(twmb.MustParse(read(".writer")), twmb.MustParse(read(".reader")))
		if err == nil { _, err = other.Decode([]byte(read(".data")), &w) }
		if err != nil { fmt.Println(name, "twmb refused:", err); continue }
		fmt.Println(name, "twmb", show(w["v"]))
	}
}
GO
{ go mod init finding; go get github.com/hamba/avro/v2@v2.31.0 github.com/twmb/avro@v1.9.1; go mod tidy; go build -o ../read .; } >/dev/null 2>&1
echo "guess:  price 1.2345, 1.23 or refused; time 2026-05-01T00:00:00Z or refused"
{ ../read; cd ..; java -cp "jars/*" Read.java 2>/dev/null; v/bin/python - <<'PY'
import json, avro.schema, fastavro
from avro.io import BinaryDecoder, DatumReader
for name in "price", "time":
    writer, reader = (open(f"{name}.{side}").read() for side in ("writer", "reader"))
    print(name, "fastavro", fastavro.schemaless_reader(open(f"{name}.data", "rb"), json.loads(writer), json.loads(reader))["v"])
    both = DatumReader(avro.schema.parse(writer), avro.schema.parse(reader))
    print(name, "avro-python", both.read(BinaryDecoder(open(f"{name}.data", "rb")))["v"])
PY
} | tee seen | sort | sed 's/^/seen:   /'
while read -r line; do grep -qF "$line" seen || { echo "CHANGED: $line"; exit 1; }; done <<'W'
price Java 123.45 (COMPATIBLE)
price Java, single object 123.45
price hamba 123.4500
price twmb refused
price fastavro 1.2345
price avro-python 1.2345
time Java 1970-01-21T13:46:33.600Z (COMPATIBLE)
time hamba 1970-01-21T13:46:33Z
time twmb 1970-01-21T13:46:33Z
time fastavro 2026-05-01
time avro-python 2026-05-01
W
