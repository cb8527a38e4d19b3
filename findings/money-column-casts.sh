#!/usr/bin/env bash
# One price text into a column of two decimals: DuckDB 2.0.1, ClickHouse 26.9.2 (chdb 4.4.0),
# Polars 2.1.0, DataFusion 55.0.0, pyarrow 26.0.1.
# Guess:    '1.999' as decimal(9,2) is 2.00 everywhere (as in Postgres), or an error.
# Happens:  four answers. ClickHouse cuts: 1.999 is 1.99, always in the payer's favour. Polars
#           rounds half to even (0.125 is 0.12), DuckDB and DataFusion half away from zero (0.13),
#           pyarrow refuses. Over 100,000 prices with three decimals ClickHouse is 450.00 short,
#           DuckDB 50.00 over, Polars exact.
# Who:      reconciling spend between a warehouse and a ledger: the engines differ by design.
# Instead:  keep the source's scale in every column, and round once, in one place.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"
"$t/v/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 chdb==4.4.0 polars==2.1.0 datafusion==55.0.0 pyarrow==26.0.1
"$t/v/bin/python" - "$t" <<'PY'
import sys
from decimal import Decimal
import chdb, datafusion, duckdb, polars as pl, pyarrow as pa, pyarrow.compute as pc

def by_pyarrow(v):
    try: return str(pc.cast(pa.array([v]), pa.decimal128(9, 2))[0])
    except pa.ArrowInvalid: return "refused"
engines = {
    "DuckDB": lambda v: str(duckdb.sql(f"select cast('{v}' as decimal(9,2))").fetchall()[0][0]),
    "DataFusion": lambda v: str(datafusion.SessionContext().sql(f"select cast('{v}' as decimal(9,2)) x").to_pydict()["x"][0]),
    "Polars": lambda v: str(pl.Series([v]).cast(pl.Decimal(9, 2))[0]),
    "ClickHouse": lambda v: str(Decimal(str(chdb.query(f"select cast('{v}' as Decimal(9,2))", "CSV")).strip()).quantize(Decimal("0.01"))),
    "pyarrow": by_pyarrow,
}
texts = ["1.999", "-1.999", "0.125", "0.135"]
print("ClickHouse", str(chdb.query("select version()", "CSV")).strip().strip(chr(34)))
print("guess:  2.00, -2.00, 0.13, 0.14 everywhere")
seen = {name: [cast(v) for v in texts] for name, cast in engines.items()}
for name, answers in seen.items():
    print(f"seen:   {name:10} " + ", ".join(answers))

path = sys.argv[1] + "/prices.csv"                            # 0.000 to 99.999, each once
with open(path, "w") as f:
    f.write("p\n"); f.writelines(f"{i // 1000}.{i % 1000:03}\n" for i in range(100_000))
true = Decimal(sum(range(100_000))) / 1000
sums = {
    "DuckDB": duckdb.sql(f"select sum(cast(p as decimal(9,2))) from read_csv('{path}', all_varchar=true)").fetchall()[0][0],
    "Polars": pl.read_csv(path, infer_schema=False)["p"].cast(pl.Decimal(9, 2)).sum(),
    "ClickHouse": Decimal(str(chdb.query(f"select sum(cast(p as Decimal(9,2))) from file('{path}', CSVWithNames, 'p String')", "CSV")).strip()),
}
print(f"100,000 prices, {true} in all; off by: " + ", ".join(f"{n} {v - true:+}" for n, v in sums.items()))
want = {"DuckDB": ["2.00", "-2.00", "0.13", "0.14"], "Polars": ["2.00", "-2.00", "0.12", "0.14"],
        "ClickHouse": ["1.99", "-1.99", "0.12", "0.13"], "pyarrow": ["refused"] * 4}
want["DataFusion"] = want["DuckDB"]
sys.exit(not (seen == want and sums["ClickHouse"] < sums["Polars"] < sums["DuckDB"]))
PY
