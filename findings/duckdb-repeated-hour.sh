#!/usr/bin/env bash
# DuckDB 2.0.1, beside Polars 2.1.0, DataFusion 55.0.0 and ClickHouse 26.9 (chdb 4.4.0): hours of the
# night on which the clocks go back (America/New_York, 1 November 2026; one event each ten minutes).
# Guess:    date_trunc('hour', t) of a TIMESTAMPTZ, an instant, is the last full hour: never after
#           t, and 25 hours that day.
# Happens:  in DuckDB the two hours from 1 to 2 fall together, on the *later* one: date_trunc gives
#           an instant up to an hour after t. That day has 24 hours, one with twice the spend, and
#           no row for 05:00 UTC. date_diff('hour', ..) counts 2 across three hours. date_trunc of
#           the minute, and time_bucket of an hour, keep them apart, as the other three engines do.
# Who:      hourly spend, pacing and caps; loads that replace by hour: the second hour of the night
#           overwrites the first, and its spend is gone. In UTC nothing of it shows.
# Instead:  time_bucket(interval '1 hour', t), or set timezone='UTC'.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"
"$t/v/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 datafusion==55.0.0 pyarrow==26.0.1 chdb==4.4.0
"$t/v/bin/python" - <<'PY'
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
import chdb, datafusion, duckdb, polars as pl, pyarrow as pa

zone = "America/New_York"
times = [datetime(2026, 11, 1, 4, tzinfo=timezone.utc) + timedelta(minutes=10 * i) for i in range(25 * 6)]
events = pa.table({"t": pa.array(times, pa.timestamp("us", "UTC"))})
con = duckdb.connect()
con.execute(f"set timezone='{zone}'")
ctx = datafusion.SessionContext()
ctx.register_record_batches("events", [events.to_batches()])

def by_duckdb(hour):
    return Counter(h for h, in con.execute(f"select epoch_ms({hour}) from events").fetchall())
def by_clickhouse():
    texts = [t.strftime("%Y-%m-%d %H:%M:%S") for t in times]
    rows = str(chdb.query(f"select toUnixTimestamp(toStartOfHour(toDateTime(arrayJoin({texts}), 'UTC')::DateTime('{zone}')))", "TSV"))
    return Counter(int(h) * 1000 for h in rows.split())
hours = {
    "DuckDB date_trunc": by_duckdb("date_trunc('hour', t)"),
    "DuckDB time_bucket": by_duckdb("time_bucket(interval '1 hour', t)"),
    "Polars truncate": Counter(pl.from_arrow(events)["t"].dt.convert_time_zone(zone).dt.truncate("1h").dt.epoch("ms").to_list()),
    "DataFusion date_trunc": Counter(int(h.timestamp() * 1000) for h in ctx.sql(
        f"""select date_trunc('hour', arrow_cast(t, 'Timestamp(Microsecond, Some("{zone}"))')) h from events""").to_pydict()["h"]),
    "ClickHouse toStartOfHour": by_clickhouse(),
}
print(f"DuckDB {duckdb.__version__}, 150 events in the 25 hours of the day")
print("guess:  25 hours, 6 events in each")
for name, seen in hours.items():
    print(f"seen:   {name:24} {len(seen)} hours, {max(seen.values())} events in the fullest")
moved = con.execute("""select strftime(t at time zone 'UTC', '%H:%M'), strftime(date_trunc('hour', t) at time zone 'UTC', '%H:%M')
                       from events where date_trunc('hour', t) > t order by t""").fetchall()
print(f"        DuckDB date_trunc gives a time after its argument for {len(moved)} events: " + ", ".join(f"{a} -> {b}" for a, b in moved))
diff, = con.execute("select date_diff('hour', timestamptz '2026-11-01 05:30Z', timestamptz '2026-11-01 08:30Z')").fetchall()[0]
print(f"        DuckDB date_diff('hour', 05:30Z, 08:30Z) = {diff}")
want = {name: (25, 6) for name in hours} | {"DuckDB date_trunc": (24, 12)}
sys.exit(not ({n: (len(s), max(s.values())) for n, s in hours.items()} == want and len(moved) == 6 and diff == 2))
PY
