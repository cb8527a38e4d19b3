#!/usr/bin/env bash
# deltalake 1.6.6 (delta-rs, Python) with pyarrow 26.0.1: application transactions of a Delta table.
# Guess:    a commit that carries Transaction("job", 7) is the protocol's means for idempotent
#           writes: a second one with the same id and version is skipped or refused, and an older
#           version too.
# Happens:  delta-rs only records the pair. The batch written again after a restart is appended
#           again, and a commit with version 3 after 7 is taken and moves transaction_version
#           *back*, so that batches 4 to 7 would be written a third time by whoever reads it.
# Who:      streaming writers that rely on it for exactly-once (Spark's writer does skip).
# Instead:  read transaction_version first and skip by yourself, with one writer per application id.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
python3 -m venv "$t/v"; "$t/v/bin/pip" install -q --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
"$t/v/bin/python" - "$t/table" <<'PY'
import sys
import deltalake, pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

path = sys.argv[1]
batch = pa.table({"click_id": ["a", "b", "c"], "cents": [10, 20, 30]})

def write(version):
    write_deltalake(path, batch, mode="append",
                    commit_properties=CommitProperties(app_transactions=[Transaction("job", version)]))
    table = DeltaTable(path)
    return len(table.to_pyarrow_table()), table.transaction_version("job")

print("deltalake", deltalake.__version__)
seen = [write(7), write(7), write(3)]
print("guess:  3 rows at version 7 after each of the writes with versions 7, 7, 3")
print("seen:   " + "; ".join(f"{rows} rows at version {version}" for rows, version in seen))
sys.exit(seen != [(3, 7), (6, 7), (9, 3)])
PY
