#!/usr/bin/env bash
# DuckDB 2.0.1 (Python package): an event log, JSON lines or CSV, whose first rows have whole prices.
# Guess:    the type is guessed from a sample; a later 0.75 in a column taken for BIGINT is an
#           error, or the column becomes DOUBLE. (Of the CSV file, Polars says that it is an error,
#           and pyarrow sees that the column is fractional.)
# Happens:  it is rounded to the column's type, without a word: 0.75 becomes 1 and 0.25 becomes 0,
#           in read_json and in read_csv. The sum is wrong, and depends on which rows stand first.
# Who:      checks of money in event logs: a day that starts with round floors or test bids.
# Instead:  name the columns, or sample_size=-1, or prices as whole micros.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1
"$t/v/bin/python" - "$t" <<'PY'
import json, sys
import duckdb, polars, pyarrow.csv

prices = [1 + i % 5 for i in range(30_000)] + [0.75] * 800 + [0.25] * 200
j, c = sys.argv[1] + "/bids.jsonl", sys.argv[1] + "/bids.csv"
with open(j, "w") as f:
    f.writelines(json.dumps({"bid": i, "price": p}) + "\n" for i, p in enumerate(prices))
with open(c, "w") as f:
    f.write("bid,price\n")
    f.writelines(f"{i},{p}\n" for i, p in enumerate(prices))

one = lambda sql: duckdb.sql(sql).fetchall()[0]
print("duckdb", duckdb.__version__)
true = sum(prices)
kind, plain = one(f"select any_value(typeof(price)), sum(price) from read_json('{j}')")
small = one(f"select count(*), min(price), max(price) from read_json('{j}') where bid >= 30000")
whole = one(f"select sum(price) from read_json('{j}', sample_size=-1)")[0]
named = one(f"select sum(price) from read_json('{j}', columns={{bid: 'bigint', price: 'decimal(18,6)'}})")[0]
csv = one(f"select sum(price) from read_csv('{c}')")[0]
others = {}
for name, read in ("pyarrow", lambda: pyarrow.csv.read_csv(c, read_options=pyarrow.csv.ReadOptions(block_size=1 << 17))["price"].to_pylist()), ("polars", lambda: polars.read_csv(c)["price"].to_list()):
    try:
        others[name] = sum(read())
    except Exception as e:
        others[name] = type(e).__name__
print(f"guess:  an error, or the sum {true}")
print(f"seen:   column {kind}, sum {plain}; the 1,000 last prices (0.75 and 0.25) read as {small[1]} to {small[2]}")
print(f"        all rows sampled: {whole}; columns named: {named}; the same rows as CSV: {csv}")
print("others: the CSV file by " + ", ".join(f"{k} {v}" for k, v in others.items()))
sys.exit(not (kind == "BIGINT" and plain == csv == sum(prices[:30_000]) + 800 and whole == true and float(named) == true))
PY
