#!/usr/bin/env bash
# segmentio/kafka-go 0.4.51 beside sarama 1.61.1 and franz-go 1.22.3, a Kafka 4.4.0 broker, and a
# topic with a committed, an aborted and an open transaction.
# Guess:    IsolationLevel: ReadCommitted makes a reader see committed records only.
# Happens:  the broker holds back the open transaction, but leaving out the aborted ones is the
#           client's work, and kafka-go does not do it: its Reader gives the aborted records, and
#           the broker's commit and abort markers as messages of their own (six bytes). sarama and
#           franz-go give the committed ones.
# Who:      a Go service behind an exactly-once Kafka sink: it bills what was rolled back.
set -euo pipefail
t=$(mktemp -d); srv=; trap '[ -z "$srv" ] || { kill $srv; wait $srv 2>/dev/null; } || :; rm -rf "$t"' EXIT
free() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
port=$(free); ctl=$(free); mkdir "$t/m"; cd "$t"
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars"
cat > k.properties <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$ctl
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$ctl
controller.listener.names=CONTROLLER
log.dirs=$t/log
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
P
java -cp 'jars/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAg -c k.properties >/dev/null 2>&1
java -Xmx300m -cp 'jars/*' kafka.Kafka k.properties >/dev/null 2>&1 & srv=$!
cd m; export GOPATH="$t/gopath" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

var addr = "127.0.0.1:" + os.Args[1]

func must(err error) { if err != nil { panic(err) } }

func producer(id string) *kgo.Client {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(id), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
	must(err)
	return c
}

func write(c *kgo.Client, values ...string) {
	must(c.BeginTransaction())
	for _, v := range values { must(c.ProduceSync(context.Background(), &kgo.Record{Key: []byte("k"), Value: []byte(v)}).FirstErr()) }
}

func main() {
	a, b := producer("a"), producer("b")
	write(a, "c0", "c1"); must(a.EndTransaction(context.Background(), kgo.TryCommit))
	write(a, "a0", "a1"); must(a.EndTransaction(context.Background(), kgo.TryAbort))
	write(a, "c2"); must(a.EndTransaction(context.Background(), kgo.TryCommit))
	write(b, "open0")                                         // stays open until the end

	seen := map[string][]string{}
	add := func(who string, v []byte) {
		if len(v) == 6 && v[0] == 0 { v = []byte("MARKER") }
		seen[who] = append(seen[who], string(v))
	}
	ctx := func() context.Context { c, _ := context.WithTimeout(context.Background(), 8*time.Second); return c }

	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{addr}, Topic: "t", IsolationLevel: kafka.ReadCommitted, MaxWait: 200 * time.Millisecond})
	for c := ctx(); ; { m, err := r.ReadMessage(c); if err != nil { break }; add("kafka-go", m.Value) }

	conf := sarama.NewConfig(); conf.Version = sarama.V2_8_0_0; conf.Consumer.IsolationLevel = sarama.ReadCommitted
	s, err := sarama.NewConsumer([]string{addr}, conf); must(err)
	p, err := s.ConsumePartition("t", 0, sarama.OffsetOldest); must(err)
	for c := ctx(); c.Err() == nil; { select { case m := <-p.Messages(): add("sarama", m.Value); case <-c.Done(): } }

	f, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted())); must(err)
	for c := ctx(); c.Err() == nil; { f.PollFetches(c).EachRecord(func(r *kgo.Record) { add("franz-go", r.Value) }) }

	must(b.EndTransaction(context.Background(), kgo.TryAbort))
	fmt.Println("guess:  c0 c1 c2 by each")
	ok := true
	for _, who := range []string{"kafka-go", "sarama", "franz-go"} {
		got := strings.Join(seen[who], " ")
		fmt.Printf("seen:   %-8s %s\n", who, got)
		want := "c0 c1 c2"
		if who == "kafka-go" { want = "c0 c1 MARKER a0 a1 MARKER c2 MARKER" }
		ok = ok && got == want
	}
	if !ok { os.Exit(1) }
}
GO
{ go mod init finding; go get github.com/segmentio/kafka-go@v0.4.51 github.com/IBM/sarama@v1.61.1 github.com/twmb/franz-go@v1.22.3; go mod tidy; go build -o "$t/run" .; } >/dev/null 2>&1
go list -m github.com/segmentio/kafka-go github.com/IBM/sarama github.com/twmb/franz-go
"$t/run" "$port" 2>/dev/null
