#!/usr/bin/env bash
# Nine packages, each in its newest release of 30 November 2026, and the local days of December 2026.
# Guess:    they agree on the day of an event: each brings its own time zones and is of this year.
# Happens:  the changes of 2026 part them. Vancouver, Edmonton and Winnipeg did not put their clocks
#           back this autumn, Casablanca gave up +01. tzdata 2026.6 (2026f), pytz, DuckDB, Joda-Time
#           and jiff know; chrono-tz still has 2025b, and with it Polars and DataFusion; ClickHouse
#           (2026c) knows all but Winnipeg. An hour of each day goes to another day: 1 event in 24,
#           and the daily totals of two engines do not match from then on.
# Who:      daily budgets, caps and invoices in the payer's zone, with more than one engine. The
#           engines compiled with chrono-tz take no other data: to update the system's changes nothing.
# Instead:  take the local day in one place, of a package whose version of the rules you can see.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"
"$t/v/bin/pip" install -q --disable-pip-version-check tzdata==2026.6 pytz==2026.6 duckdb==2.0.1 chdb==4.4.0 polars==2.1.0 datafusion==55.0.0 pyarrow==26.0.1
mkdir -p "$t/rust/src" "$t/java"; cd "$t/rust"
cat > Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
chrono-tz = "=0.10.4"
chrono = { version = "=0.4.45", default-features = false }
jiff = { version = "=1.0.2", default-features = false, features = ["std", "tzdb-bundle-always"] }
T
cat > src/main.rs <<'R'
fn main() {                                                   // zone, package, local day of each hour of December
    for zone in std::env::args().skip(1) {
        let (old, new) = (zone.parse::<chrono_tz::Tz>().unwrap(), jiff::tz::TimeZoneDatabase::bundled().get(&zone).unwrap());
        let hours = (0..31 * 24).map(|h| 1_796_083_200 + h * 3600 + 1800);
        let days = hours.clone().map(|s| chrono::DateTime::from_timestamp(s, 0).unwrap().with_timezone(&old).date_naive().to_string());
        println!("{zone} chrono-tz-0.10.4 {}", days.collect::<Vec<_>>().join(","));
        let days = hours.map(|s| new.to_datetime(jiff::Timestamp::from_second(s).unwrap()).date().to_string());
        println!("{zone} jiff-1.0.2 {}", days.collect::<Vec<_>>().join(","));
    }
}
R
zones="America/Vancouver America/Edmonton America/Winnipeg Africa/Casablanca"
cargo run -q -- $zones > "$t/days"
cd "$t/java"; cat > pom.xml <<'X'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version>
<dependencies><dependency><groupId>joda-time</groupId><artifactId>joda-time</artifactId><version>2.15.1</version></dependency></dependencies></project>
X
mvn -q dependency:copy-dependencies -DoutputDirectory="$t/jars" >/dev/null
cat > Days.java <<'J'
import java.util.stream.*;
import org.joda.time.*;

class Days {
    public static void main(String[] zones) {
        for (String zone : zones)
            System.out.println(zone + " Joda-Time-2.15.1 " + IntStream.range(0, 31 * 24)
                .mapToObj(h -> new DateTime((1_796_083_200L + h * 3600L + 1800L) * 1000L, DateTimeZone.forID(zone)).toLocalDate().toString())
                .collect(Collectors.joining(",")));
    }
}
J
java -cp "$t/jars/*" Days.java $zones >> "$t/days"
"$t/v/bin/python" - "$t/days" $zones <<'PY'
import sys, zoneinfo
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
import chdb, datafusion, duckdb, polars as pl, pyarrow as pa, pytz

zoneinfo.reset_tzpath([])                                     # the package's zones, not the machine's
hours = [datetime(2026, 12, 1, 0, 30, tzinfo=timezone.utc) + timedelta(hours=h) for h in range(31 * 24)]
events = pa.table({"t": pa.array(hours, pa.timestamp("us", "UTC"))})
ctx = datafusion.SessionContext()
ctx.register_record_batches("events", [events.to_batches()])
texts = [t.strftime("%Y-%m-%d %H:%M:%S") for t in hours]
engines = {
    f"tzdata {version('tzdata')}": lambda z: [t.astimezone(zoneinfo.ZoneInfo(z)).strftime("%F") for t in hours],
    f"pytz {version('pytz')}": lambda z: [t.astimezone(pytz.timezone(z)).strftime("%F") for t in hours],
    f"DuckDB {version('duckdb')}": lambda z: [d for d, in duckdb.sql(f"select strftime(t at time zone '{z}', '%Y-%m-%d') from events").fetchall()],
    f"ClickHouse, chdb {version('chdb')}": lambda z: str(chdb.query(f"select toDate(toDateTime(arrayJoin({texts}), 'UTC'), '{z}')", "TSV")).split(),
    f"Polars {version('polars')}": lambda z: pl.from_arrow(events)["t"].dt.convert_time_zone(z).dt.strftime("%F").to_list(),
    f"DataFusion {version('datafusion')}": lambda z: ctx.sql(
        f"""select to_char(arrow_cast(t, 'Timestamp(Microsecond, Some("{z}"))'), '%Y-%m-%d') d from events""").to_pydict()["d"],
}
days = {z: {name: engine(z) for name, engine in engines.items()} for z in sys.argv[2:]}
for line in open(sys.argv[1]):
    zone, name, found = line.split()
    days[zone][name] = found.split(",")
print(f"guess:  the {len(hours)} hours of December are on the same days by each package")
late = {}
for zone, found in days.items():
    truth = found[f"tzdata {version('tzdata')}"]
    wrong = {name: sum(a != b for a, b in zip(truth, d, strict=True)) for name, d in found.items()}
    late[zone] = {name.split(",")[0].split(" ")[0] for name, n in wrong.items() if n}
    print(f"seen:   {zone:17} another day than tzdata's: " + ", ".join(f"{name} {n}" for name, n in wrong.items() if n))
old = {"Polars", "DataFusion", "chrono-tz-0.10.4"}
sys.exit(late != {z: old | ({"ClickHouse"} if z == "America/Winnipeg" else set()) for z in days})
PY
