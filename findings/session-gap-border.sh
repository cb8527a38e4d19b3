#!/usr/bin/env bash
# Session windows of four engines: bytewax 0.21.1, pathway 0.33.0 (Python), Kafka Streams 4.4.0,
# Flink 2.3.0's DataStream windows. Gap 10 s, two events exactly 10 s apart.
# Guess:    one gap, one answer.
# Happens:  one session in bytewax, Kafka Streams and Flink, two in pathway. An event 9.999 s
#           later is the same session in all, one 10.001 s later another in all. Half-second and
#           whole-second clocks, heartbeats and polled data sit on the border all the time.
# Who:      moving a session job from one engine to another, or checking one by the other.
# Instead:  compare with gaps that no pair of events can have (10.0005 s for millisecond times).
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check bytewax==0.21.1 pathway==0.33.0
cd "$t"
cat > b.py <<'PY'
from datetime import datetime, timedelta, timezone
import bytewax.operators as op, bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
out, start = [], datetime(2026, 3, 1, tzinfo=timezone.utc)
flow = Dataflow("f")
s = op.input("in", flow, TestingSource([(k, ms) for k, d in (("under", 9999), ("equal", 10000), ("over", 10001)) for ms in (0, d)]))
clock = win.EventClock(lambda ms: start + timedelta(milliseconds=ms), wait_for_system_duration=timedelta(hours=1))
op.output("out", win.collect_window("w", s, clock, win.SessionWindower(gap=timedelta(seconds=10))).down, TestingSink(out))
run_main(flow)
print(*[len([1 for k, _ in out if k == key]) for key in ("under", "equal", "over")])
PY
cat > p.py <<'PY'
import pathway as pw
rows = [(k, ms) for k, d in (("under", 9999), ("equal", 10000), ("over", 10001)) for ms in (0, d)]
e = pw.debug.table_from_rows(pw.schema_from_types(k=str, ms=int), rows)
r = e.windowby(e.ms, window=pw.temporal.session(max_gap=10000), instance=e.k).reduce(k=pw.this._pw_instance, n=pw.reducers.count())
keys = list(pw.debug.table_to_pandas(r)["k"])
print(*[keys.count(k) for k in ("under", "equal", "over")])
PY
bw=$(v/bin/python b.py); pw=$(v/bin/python p.py 2>/dev/null)
cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams-test-utils</artifactId><version>4.4.0</version></dependency>
<dependency><groupId>org.apache.flink</groupId><artifactId>flink-streaming-java</artifactId><version>2.3.0</version></dependency>
</dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory=jars
cat > S.java <<'J'
import java.time.*; import java.util.*;
import org.apache.kafka.common.serialization.*; import org.apache.kafka.streams.*; import org.apache.kafka.streams.kstream.*;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
public class S {
  static long streams(long apart) {
    StreamsBuilder b = new StreamsBuilder();
    b.stream("in", Consumed.with(Serdes.String(), Serdes.String())).groupByKey()
      .windowedBy(SessionWindows.ofInactivityGapWithNoGrace(Duration.ofSeconds(10))).count(Materialized.as("s"));
    Properties p = new Properties(); p.put("application.id", "f"); p.put("bootstrap.servers", "unused:1");
    try (TopologyTestDriver d = new TopologyTestDriver(b.build(), p)) {
      var in = d.createInputTopic("in", new StringSerializer(), new StringSerializer());
      in.pipeInput("k", "x", 0L); in.pipeInput("k", "x", apart);
      long n = 0;
      try (var i = d.<String, Long>getSessionStore("s").fetch("k")) { while (i.hasNext()) { i.next(); n++; } }
      return n;
    }
  }
  static int flink(long apart) {
    var a = EventTimeSessionWindows.withGap(Duration.ofSeconds(10)); List<TimeWindow> w = new ArrayList<>();
    for (long ms : new long[] {0, apart}) w.addAll(a.assignWindows("x", ms, null));
    int[] merged = {0}; a.mergeWindows(w, (from, into) -> merged[0] += from.size() - 1);
    return w.size() - merged[0];
  }
  public static void main(String[] x) {
    System.out.println(streams(9999) + " " + streams(10000) + " " + streams(10001));
    System.out.println(flink(9999) + " " + flink(10000) + " " + flink(10001));
  }
}
J
javac -proc:none -cp 'jars/*' S.java; { read -r ks; read -r fl; } < <(java -Xmx200m -cp 'jars/*:.' S 2>/dev/null)
echo "sessions of two events 9.999 s, 10 s and 10.001 s apart, gap 10 s"
echo "guess:  one and the same three numbers by each"
echo "seen:   bytewax 0.21.1: $bw; Kafka Streams 4.4.0: $ks; Flink 2.3.0: $fl; pathway 0.33.0: $pw"
[ "$bw / $ks / $fl / $pw" = "1 1 2 / 1 1 2 / 1 1 2 / 1 2 2" ]
