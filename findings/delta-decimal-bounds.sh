#!/usr/bin/env bash
# deltalake 1.6.6 (delta-rs) writes; its own SQL, a pyarrow dataset, Polars 2.1.0 and ClickHouse 26.9
# (chdb 4.4.0) read: decimals in a Delta table.
# Guess:    a decimal column is exact; the smallest and largest value that the log keeps of each
#           file only help to skip files which cannot have the row.
# Happens:  those bounds are written through a 64-bit float. Rounded to 16 digits, the largest value
#           can lie below the true one (the smallest above it), and the file that has the row is
#           skipped: of prices with 19 digits one in five is not found by delta-rs, pyarrow or Polars.
#           A bound of 2^63 and more becomes 9223372036854775807: of unsigned 64-bit ids, which Delta
#           has as decimal(20,0), none is found. DELETE and UPDATE skip likewise: 0 rows, no error.
#           ClickHouse, and a full scan, see every row.
# Who:      unsigned auction and user ids, prices with 18 decimals: look-ups, corrections, deletion
#           of a person's data.
# Instead:  keep such columns out of delta.dataSkippingStatsColumns (the last line), ids as text.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"
"$t/v/bin/pip" install -q --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1 polars==2.1.0 chdb==4.4.0
cd "$t" && v/bin/python - <<'PY'
import json, pathlib, random, sys
from decimal import Decimal, getcontext
import chdb, deltalake, polars as pl, pyarrow as pa, pyarrow.dataset as ds

getcontext().prec = 40
random.seed(1)
def write(name, kind, values, **options):                     # 20 files of five rows
    for i in range(0, len(values), 5):
        rows = pa.table({"v": pa.array(values[i:i + 5], kind), "n": [1] * 5})
        deltalake.write_deltalake(name, rows, mode="append", **options)

def missed(name, kind, values):
    table = deltalake.DeltaTable(name)
    sql = deltalake.QueryBuilder().register("t", table)
    dataset, frame = table.to_pyarrow_dataset(), pl.scan_delta(name)
    text = lambda v: f"cast('{v}' as decimal({kind.precision},{kind.scale}))"
    readers = {
        "delta-rs SQL": lambda v: pa.table(sql.execute(f"select v from t where v = {text(v)}").read_all()).num_rows,
        "pyarrow": lambda v: dataset.to_table(filter=ds.field("v") == pa.scalar(v, kind)).num_rows,
        "Polars": lambda v: frame.filter(pl.col("v") == pl.lit(v, dtype=pl.Decimal(kind.precision, kind.scale))).collect().height,
        "ClickHouse": lambda v: int(str(chdb.query(f"select count() from deltaLakeLocal('{pathlib.Path(name).absolute()}') where v = {text(v)}", "CSV"))),
    }
    lost = {who: sum(found(v) == 0 for v in values) for who, found in readers.items()}
    lost["DELETE"] = sum(deltalake.DeltaTable(name).delete(f"v = {text(v)}")["num_deleted_rows"] == 0 for v in values)
    return lost

price, big = pa.decimal128(38, 18), pa.decimal128(20, 0)
prices = [Decimal(random.randrange(10**18, 10**19)).scaleb(-18) for _ in range(100)]
ids = [Decimal(random.randrange(2**63, 2**64)) for _ in range(100)]
write("prices", price, prices)
write("ids", big, ids)
write("plain", price, prices, configuration={"delta.dataSkippingStatsColumns": "n"})
add = next(json.loads(line)["add"] for line in pathlib.Path("prices/_delta_log/00000000000000000001.json").open() if '"add"' in line)
bounds = json.loads(add["stats"])["maxValues"]["v"]
print(f"deltalake {deltalake.__version__}; the largest price of a file: {max(prices[5:10])}, in the log: {bounds}")
full = sum(deltalake.DeltaTable(n).to_pyarrow_table().num_rows for n in ("prices", "ids"))
seen = {"price decimal(38,18)": missed("prices", price, prices), "id decimal(20,0)": missed("ids", big, ids),
        "price, no bounds kept": missed("plain", price, prices)}
print(f"a full scan finds {full} of 200 rows")
print("guess:  each of 100 values is found, 0 missed")
for name, lost in seen.items():
    print(f"seen:   {name:21} missed: " + ", ".join(f"{who} {n}" for who, n in lost.items()))
readers = ("delta-rs SQL", "pyarrow", "Polars")
sys.exit(not (full == 200 and all(seen["price decimal(38,18)"][r] > 10 and seen["id decimal(20,0)"][r] == 100 for r in readers)
              and all(seen[n]["ClickHouse"] == 0 for n in seen) and seen["id decimal(20,0)"]["DELETE"] == 100 and not any(seen["price, no bounds kept"].values())))
PY
